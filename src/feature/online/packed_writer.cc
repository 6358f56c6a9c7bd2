#include <algorithm>
#include <limits>
#include <utility>

#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "base/memory.h"
#include "base/text.h"
#include "feature/online/packed_rows_internal.h"
#include "feature/online/packed_writer_internal.h"
#include "feature/online/sqlite_catalog_internal.h"

namespace gnomon::feature::internal {
namespace {

constexpr size_t kRowsBetweenChecks = 16 * 1024;

constexpr size_t kPartBytes = size_t{4} << 20;
/// Room that an open part has for one more row; a longer row makes its part larger.
constexpr size_t kRowRoom = size_t{16} << 10;

/// The rest of a limited budget is for those who make the rows.
constexpr int64_t kShareOfBudget = 4;

/// Up to eight bytes as a number that orders as they do.
uint64_t RankOf(std::string_view bytes) {
  uint64_t rank = 0;
  for (size_t i = 0; i < 8; ++i)
    rank = rank << 8 | (i < bytes.size() ? static_cast<unsigned char>(bytes[i]) : 0);
  return rank;
}

}  // namespace

PackedWriter::PackedWriter(std::shared_ptr<arrow::Schema> schema, table::RowCodec codec,
                           sql::SqliteStatement upsert)
    : schema_(std::move(schema)), codec_(std::move(codec)), upsert_(std::move(upsert)) {}

Result<PackedWriter> PackedWriter::Make(const OnlineTable& table, int64_t id,
                                        sql::Sqlite* database) {
  GNOMON_ASSIGN_OR_RETURN(const int64_t schema_id, FindOrAddSchema(database, id, *table.schema));
  GNOMON_ASSIGN_OR_RETURN(auto codec, table::RowCodec::Make(table.schema));
  const std::string name = sql::QuoteIdentifier(PackedTableName(id, table.project, table.view));
  GNOMON_ASSIGN_OR_RETURN(
      auto upsert, database->Prepare(Concat("INSERT INTO ", name, " VALUES (?1, ?2, ?3, ",
                                            schema_id, ", ?4) ON CONFLICT (entity_key) DO UPDATE ",
                                            "SET event_ts = excluded.event_ts, created_ts = "
                                            "excluded.created_ts, schema_id = excluded.schema_id, ",
                                            "value = excluded.value WHERE (excluded.event_ts, "
                                            "excluded.created_ts) >= (event_ts, created_ts)")));
  return PackedWriter(table.schema, std::move(codec), std::move(upsert));
}

std::string& PackedWriter::OpenPart() {
  if (!parts_.empty() && parts_.back().size() + kRowRoom <= kPartBytes) return parts_.back();
  if (!parts_.empty()) closed_bytes_ += parts_.back().capacity();
  std::string& part = parts_.emplace_back();
  // The first grows with its rows: most writes have few.
  if (parts_.size() > 1) part.reserve(kPartBytes);
  return part;
}

Status PackedWriter::Write(const Context& context, const OnlineRows& rows) {
  GNOMON_RETURN_NOT_OK(CheckShape(rows, *schema_));
  for (size_t row = 0; row < rows.keys.size(); ++row) {
    std::string& part = OpenPart();
    const size_t place = part.size();
    part.append(rows.keys[row]);
    const size_t value = part.size();
    GNOMON_RETURN_NOT_OK(codec_.Encode(*rows.values, static_cast<int64_t>(row), &part));
    const size_t length = part.size() - value;
    if (length > static_cast<size_t>(std::numeric_limits<int32_t>::max())) {
      return MakeError(ErrorKind::kExhausted, Concat("online row is too long: ", length, " bytes"),
                       {.file = {}, .line = 0, .column = 0, .row = static_cast<int64_t>(row)});
    }
    rows_.push_back({.rank = 0,
                     .part = static_cast<uint32_t>(parts_.size() - 1),
                     .place = static_cast<uint32_t>(place),
                     .key_bytes = static_cast<uint32_t>(rows.keys[row].size()),
                     .value_bytes = static_cast<uint32_t>(length),
                     .event_time = rows.event_times[row],
                     .created_time = rows.created_times[row]});
    gathered_bytes_ += part.size() - place;
    GNOMON_RETURN_NOT_OK(Hold(context));
    if (gathered_bytes_ + rows_.size() * sizeof(Row) > kBufferBytes)
      GNOMON_RETURN_NOT_OK(Flush(context));
  }
  return Status::OK();
}

int64_t PackedWriter::MemoryBytes() const {
  const size_t open = parts_.empty() ? 0 : parts_.back().capacity();
  return static_cast<int64_t>(closed_bytes_ + open + rows_.capacity() * sizeof(Row));
}

Status PackedWriter::Hold(const Context& context) {
  const int64_t needed = MemoryBytes();
  if (needed <= held_.bytes()) [[likely]]
    return Status::OK();
  if (held_.budget() != context.memory) held_ = MemoryReservation(context.memory);
  const int64_t limit = context.memory == nullptr ? 0 : context.memory->limit();
  const bool fits = limit == 0 || needed <= limit / kShareOfBudget;
  if (fits && held_.TryGrow(needed - held_.bytes())) return Status::OK();
  GNOMON_RETURN_NOT_OK(Flush(context));
  parts_ = {};
  rows_ = {};
  held_.Clear();
  return Status::OK();
}

void PackedWriter::Sort() {
  const std::string_view first = KeyOf(rows_.front());
  size_t shared = first.size();
  for (const Row& row : rows_) {
    const std::string_view key = KeyOf(row);
    shared = std::min(shared, key.size());
    if (key.substr(0, shared) == first.substr(0, shared)) continue;
    shared = static_cast<size_t>(std::ranges::mismatch(key, first).in1 - key.begin());
  }
  for (Row& row : rows_) row.rank = RankOf(KeyOf(row).substr(shared));
  // Equal keys keep their order, so that the last of them wins.
  std::ranges::sort(rows_, [&](const Row& left, const Row& right) {
    if (left.rank != right.rank) return left.rank < right.rank;
    const int order = KeyOf(left).compare(KeyOf(right));
    if (order != 0) return order < 0;
    return left.part != right.part ? left.part < right.part : left.place < right.place;
  });
}

Status PackedWriter::Flush(const Context& context) {
  if (rows_.empty()) return Status::OK();
  Sort();
  size_t written = 0;
  for (const Row& row : rows_) {
    if (++written % kRowsBetweenChecks == 0) GNOMON_RETURN_NOT_OK(context.Check());
    upsert_.BindBlob(1, KeyOf(row));
    upsert_.BindInt(2, row.event_time);
    upsert_.BindInt(3, row.created_time);
    upsert_.BindBlob(4, ValueOf(row));
    GNOMON_RETURN_NOT_OK(upsert_.Execute());
  }
  rows_.clear();
  parts_.resize(1);
  parts_.front().clear();
  closed_bytes_ = 0;
  gathered_bytes_ = 0;
  held_.Shrink(std::max<int64_t>(0, held_.bytes() - MemoryBytes()));
  return Status::OK();
}

}  // namespace gnomon::feature::internal
