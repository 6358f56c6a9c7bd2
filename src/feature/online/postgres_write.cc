#include <algorithm>
#include <array>
#include <cstring>
#include <tuple>
#include <utility>

#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "base/text.h"
#include "feature/online/postgres_rows_internal.h"
#include "sql/wire_bytes.h"

namespace gnomon::feature::internal {
namespace {

using sql::AppendBigEndian;
using sql::Postgres;
using sql::PostgresParameters;

/// The beginning and the end of binary COPY data.
constexpr std::string_view kCopyHeader("PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0\0", 19);
constexpr std::string_view kCopyTrailer("\377\377", 2);
constexpr size_t kCopyPieceBytes = 256 * 1024;

constexpr std::string_view kPackedGuard =
    " ON CONFLICT (entity_key) DO UPDATE SET event_ts = excluded.event_ts, created_ts = "
    "excluded.created_ts, schema_id = excluded.schema_id, value = excluded.value WHERE "
    "(excluded.event_ts, excluded.created_ts) >= (t.event_ts, t.created_ts)";

/// Upserts into Feast's table from `source`, a relation with its columns named as below. A row of
/// an entity that has a newer one is left out as a whole.
std::string FeastMerge(const PostgresTable& table, std::string_view source) {
  const std::string_view numbers = table.feast_numbers ? ", value_num" : "";
  return Concat(
      "INSERT INTO ", table.feast,
      " AS t (entity_key, feature_name, value, value_text, event_ts, created_ts", numbers,
      ") SELECT entity_key, feature_name, value, value_text, event_ts, created_ts", numbers,
      " FROM ", source, " AS r WHERE NOT EXISTS (SELECT 1 FROM ", table.feast,
      " AS n WHERE n.entity_key = r.entity_key AND n.event_ts > r.event_ts) ORDER BY entity_key, "
      "feature_name ON CONFLICT (entity_key, feature_name) DO UPDATE SET value = excluded.value, "
      "value_text = excluded.value_text, vector_value = NULL, event_ts = excluded.event_ts, "
      "created_ts = excluded.created_ts",
      table.feast_numbers ? ", value_num = excluded.value_num" : "",
      " WHERE t.event_ts IS NULL OR excluded.event_ts > t.event_ts OR (excluded.event_ts = "
      "t.event_ts AND (excluded.created_ts IS NULL OR t.created_ts IS NULL OR excluded.created_ts "
      ">= t.created_ts))");
}

/// Of the temporary table's rows each key's newest, the last of equal times.
std::string NewestOf(std::string_view relation, std::string_view key) {
  return Concat("(SELECT DISTINCT ON (", key, ") * FROM ", relation, " ORDER BY ", key,
                ", event_ts DESC, created_ts DESC NULLS LAST, place DESC)");
}

void AppendField(std::string_view bytes, std::string* out) {
  AppendBigEndian(out, static_cast<int32_t>(bytes.size()));
  out->append(bytes);
}

void AppendNullField(std::string* out) { AppendBigEndian(out, int32_t{-1}); }

template <typename T>
void AppendNumberField(T value, std::string* out) {
  AppendBigEndian(out, static_cast<int32_t>(sizeof(T)));
  AppendBigEndian(out, value);
}

int64_t ToPostgresTime(int64_t micros) { return micros - sql::kPostgresEpochMicros; }

}  // namespace

Result<PostgresRows> PostgresRows::Make(const OnlineTable& table, const PostgresTable& place,
                                        const LayoutOptions& options) {
  PostgresRows rows;
  rows.table_ = table;
  rows.place_ = place;
  rows.key_version_ = options.key_version;
  if (place.id != 0) {
    GNOMON_ASSIGN_OR_RETURN(rows.codec_, table::RowCodec::Make(table.schema));
  }
  if (place.layout == OnlineLayout::kFeast) {
    GNOMON_ASSIGN_OR_RETURN(rows.encoder_, FeastEncoder::Make(table));
  }
  return rows;
}

Status PostgresRows::Add(const Context& context, const OnlineRows& rows) {
  GNOMON_RETURN_NOT_OK(CheckShape(rows, *table_.schema));
  std::shared_ptr<arrow::RecordBatch> values;
  if (encoder_.has_value()) {
    GNOMON_ASSIGN_OR_RETURN(values, FeastBatch(context, table_, rows));
  }
  // A cell: u32 length of the value, the value, u8 1 and u32 length and text or u8 0, u8 1 and
  // double or u8 0.
  const auto append_sized = [&](std::string_view part) {
    const auto length = static_cast<uint32_t>(part.size());
    bytes_.append(reinterpret_cast<const char*>(&length), sizeof(length));
    bytes_.append(part);
  };
  std::string part;
  for (const size_t place : NewestByKey(rows)) {
    const auto index = static_cast<int64_t>(place);
    Row row{.key = bytes_.size(),
            .event_time = rows.event_times[place],
            .created_time = rows.created_times[place]};
    bytes_.append(rows.keys[place]);
    row.packed = bytes_.size();
    if (codec_.has_value()) GNOMON_RETURN_NOT_OK(codec_->Encode(*rows.values, index, &bytes_));
    row.feast = bytes_.size();
    for (size_t feature = 0; encoder_.has_value() && feature < encoder_->size(); ++feature) {
      part.clear();
      GNOMON_RETURN_NOT_OK(encoder_->Append(*values, feature, index, &part));
      append_sized(part);
      part.clear();
      // The server's texts hold no zero byte.
      const bool has_text = encoder_->AppendText(*values, feature, index, &part) &&
                            part.find('\0') == std::string::npos;
      bytes_.push_back(has_text ? '\1' : '\0');
      if (has_text) append_sized(part);
      const auto number = encoder_->Number(*values, feature, index);
      bytes_.push_back(number.has_value() ? '\1' : '\0');
      if (number.has_value())
        bytes_.append(reinterpret_cast<const char*>(&*number), sizeof(*number));
    }
    rows_.push_back(row);
  }
  return Status::OK();
}

std::vector<PostgresRows::FeastCell> PostgresRows::CellsOf(const Row& row) const {
  const char* at = bytes_.data() + row.feast;
  const auto take_sized = [&] {
    uint32_t length = 0;
    std::memcpy(&length, at, sizeof(length));
    const std::string_view part(at + sizeof(length), length);
    at += sizeof(length) + length;
    return part;
  };
  std::vector<FeastCell> cells(encoder_->size());
  for (FeastCell& cell : cells) {
    cell.value = take_sized();
    if (*at++ != '\0') cell.text = take_sized();
    if (*at++ == '\0') continue;
    double number = 0;
    std::memcpy(&number, at, sizeof(number));
    at += sizeof(number);
    cell.number = number;
  }
  return cells;
}

std::vector<const PostgresRows::Row*> PostgresRows::NewestRows() const {
  std::vector<const Row*> newest;
  newest.reserve(rows_.size());
  for (const Row& row : rows_) newest.push_back(&row);
  std::ranges::sort(newest, [&](const Row* left, const Row* right) {
    if (const int keys = KeyOf(*left).compare(KeyOf(*right)); keys != 0) return keys < 0;
    return std::tuple(left->event_time, left->created_time, left) <
           std::tuple(right->event_time, right->created_time, right);
  });
  size_t kept = 0;
  for (size_t i = 0; i < newest.size(); ++i) {
    if (i + 1 < newest.size() && KeyOf(*newest[i]) == KeyOf(*newest[i + 1])) continue;
    newest[kept++] = newest[i];
  }
  newest.resize(kept);
  return newest;
}

void PostgresRows::Clear() {
  bytes_.clear();
  rows_.clear();
}

Status PostgresRows::NoteSchema(const Context& context, Postgres* connection) {
  if (!codec_.has_value()) return Status::OK();
  return FindOrAddPostgresSchema(context, place_.id, *table_.schema, connection).Value(&schema_id_);
}

Status PostgresRows::Upsert(const Context& context, Postgres* connection) {
  if (rows_.empty()) return Status::OK();
  const auto rows = NewestRows();
  if (codec_.has_value()) {
    GNOMON_RETURN_NOT_OK(NoteSchema(context, connection));
    GNOMON_RETURN_NOT_OK(UpsertPacked(context, rows, connection));
  }
  return encoder_.has_value() ? UpsertFeast(context, rows, connection) : Status::OK();
}

Status PostgresRows::UpsertPacked(const Context& context, std::span<const Row* const> rows,
                                  Postgres* connection) const {
  std::vector<std::optional<std::string_view>> keys;
  std::vector<std::optional<int64_t>> events;
  std::vector<std::optional<int64_t>> created;
  std::vector<std::optional<std::string_view>> values;
  for (const Row* row : rows) {
    keys.emplace_back(KeyOf(*row));
    events.emplace_back(row->event_time);
    created.emplace_back(row->created_time);
    values.emplace_back(std::string_view(bytes_).substr(row->packed, row->feast - row->packed));
  }
  PostgresParameters parameters;
  parameters.ByteaArray(keys).Int64Array(events).Int64Array(created).ByteaArray(values);
  parameters.Int64(schema_id_);
  return connection
      ->QueryPrepared(context,
                      Concat("INSERT INTO ", place_.packed,
                             " AS t SELECT key, event, created, $5, value FROM unnest($1::bytea[], "
                             "$2::bigint[], $3::bigint[], $4::bytea[]) AS r (key, event, created, "
                             "value)",
                             kPackedGuard),
                      parameters)
      .status();
}

Status PostgresRows::UpsertFeast(const Context& context, std::span<const Row* const> rows,
                                 Postgres* connection) const {
  std::vector<std::string> texts;  // keys of version 2
  texts.reserve(rows.size());
  std::vector<std::optional<std::string_view>> keys;
  std::vector<std::optional<std::string_view>> names;
  std::vector<std::optional<std::string_view>> values;
  std::vector<std::optional<std::string_view>> value_texts;
  std::vector<std::optional<double>> numbers;
  std::vector<std::optional<int64_t>> events;
  std::vector<std::optional<int64_t>> created;
  for (const Row* row : rows) {
    const std::string_view key = texts.emplace_back(FeastKey(KeyOf(*row), key_version_));
    const auto cells = CellsOf(*row);
    for (size_t feature = 0; feature < cells.size(); ++feature) {
      keys.emplace_back(key);
      names.emplace_back(encoder_->names()[feature]);
      values.emplace_back(cells[feature].value);
      value_texts.push_back(cells[feature].text);
      numbers.push_back(cells[feature].number);
      events.emplace_back(row->event_time);
      created.push_back(row->created_time == INT64_MIN ? std::nullopt
                                                       : std::optional(row->created_time));
    }
  }
  PostgresParameters parameters;
  parameters.ByteaArray(keys).TextArray(names).ByteaArray(values).TextArray(value_texts);
  parameters.TimestamptzArray(events).TimestamptzArray(created).DoubleArray(numbers);
  return connection
      ->QueryPrepared(context,
                      FeastMerge(place_,
                                 "(SELECT * FROM unnest($1::bytea[], $2::text[], $3::bytea[], "
                                 "$4::text[], $5::timestamptz[], $6::timestamptz[], "
                                 "$7::double precision[]) AS u (entity_key, feature_name, value, "
                                 "value_text, event_ts, created_ts, value_num))"),
                      parameters)
      .status();
}

Status PostgresRows::BeginCopy(const Context& context, Postgres* connection) const {
  std::string statements;
  if (codec_.has_value()) {
    statements +=
        "CREATE TEMPORARY TABLE gnomon_packed_rows (entity_key BYTEA, event_ts BIGINT, created_ts "
        "BIGINT, schema_id BIGINT, value BYTEA, place BIGINT GENERATED ALWAYS AS IDENTITY) ON "
        "COMMIT DROP; ";
  }
  if (encoder_.has_value()) {
    statements +=
        "CREATE TEMPORARY TABLE gnomon_feast_rows (entity_key BYTEA, feature_name TEXT, value "
        "BYTEA, value_text TEXT, event_ts TIMESTAMPTZ, created_ts TIMESTAMPTZ, value_num DOUBLE "
        "PRECISION, place BIGINT GENERATED ALWAYS AS IDENTITY) ON COMMIT DROP; ";
  }
  return connection->Execute(context, statements);
}

Status PostgresRows::Copy(const Context& context, Postgres* connection) {
  if (codec_.has_value()) {
    GNOMON_RETURN_NOT_OK(NoteSchema(context, connection));
    GNOMON_RETURN_NOT_OK(CopyPacked(context, connection));
  }
  return encoder_.has_value() ? CopyFeast(context, connection) : Status::OK();
}

Status PostgresRows::CopyPacked(const Context& context, Postgres* connection) const {
  GNOMON_ASSIGN_OR_RETURN(
      auto copy, sql::PostgresCopyIn::Begin(
                     context, connection,
                     "COPY gnomon_packed_rows (entity_key, event_ts, created_ts, schema_id, value) "
                     "FROM STDIN (FORMAT binary)"));
  std::string piece(kCopyHeader);
  for (const Row& row : rows_) {
    AppendBigEndian(&piece, int16_t{5});
    AppendField(KeyOf(row), &piece);
    AppendNumberField(row.event_time, &piece);
    AppendNumberField(row.created_time, &piece);
    AppendNumberField(schema_id_, &piece);
    AppendField(std::string_view(bytes_).substr(row.packed, row.feast - row.packed), &piece);
    if (piece.size() < kCopyPieceBytes) continue;
    GNOMON_RETURN_NOT_OK(copy.Write(piece));
    piece.clear();
  }
  piece += kCopyTrailer;
  GNOMON_RETURN_NOT_OK(copy.Write(piece));
  return copy.Finish().status();
}

Status PostgresRows::CopyFeast(const Context& context, Postgres* connection) const {
  GNOMON_ASSIGN_OR_RETURN(
      auto copy,
      sql::PostgresCopyIn::Begin(context, connection,
                                 "COPY gnomon_feast_rows (entity_key, feature_name, value, "
                                 "value_text, event_ts, created_ts, value_num) FROM STDIN (FORMAT "
                                 "binary)"));
  std::string piece(kCopyHeader);
  for (const Row& row : rows_) {
    const std::string key = FeastKey(KeyOf(row), key_version_);
    const auto cells = CellsOf(row);
    for (size_t feature = 0; feature < cells.size(); ++feature) {
      const FeastCell& cell = cells[feature];
      AppendBigEndian(&piece, int16_t{7});
      AppendField(key, &piece);
      AppendField(encoder_->names()[feature], &piece);
      AppendField(cell.value, &piece);
      cell.text.has_value() ? AppendField(*cell.text, &piece) : AppendNullField(&piece);
      AppendNumberField(ToPostgresTime(row.event_time), &piece);
      row.created_time == INT64_MIN ? AppendNullField(&piece)
                                    : AppendNumberField(ToPostgresTime(row.created_time), &piece);
      cell.number.has_value() ? AppendNumberField(*cell.number, &piece) : AppendNullField(&piece);
    }
    if (piece.size() < kCopyPieceBytes) continue;
    GNOMON_RETURN_NOT_OK(copy.Write(piece));
    piece.clear();
  }
  piece += kCopyTrailer;
  GNOMON_RETURN_NOT_OK(copy.Write(piece));
  return copy.Finish().status();
}

Status PostgresRows::Merge(const Context& context, Postgres* connection) const {
  if (codec_.has_value()) {
    GNOMON_RETURN_NOT_OK(connection->Execute(
        context, Concat("INSERT INTO ", place_.packed,
                        " AS t SELECT entity_key, event_ts, created_ts, schema_id, value FROM ",
                        NewestOf("gnomon_packed_rows", "entity_key"), " AS r ORDER BY entity_key",
                        kPackedGuard)));
  }
  if (!encoder_.has_value()) return Status::OK();
  return connection->Execute(
      context, FeastMerge(place_, NewestOf("gnomon_feast_rows", "entity_key, feature_name")));
}

}  // namespace gnomon::feature::internal
