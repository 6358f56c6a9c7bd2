#include <algorithm>
#include <cstring>
#include <utility>

#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "base/text.h"
#include "base/time.h"
#include "feature/online/redis_rows_internal.h"
#include "feature/online/redis_scripts_internal.h"

namespace gnomon::feature::internal {
namespace {

/// Rows of one script: it runs well under a millisecond, and others wait for it.
constexpr size_t kRowsOfPiece = 128;
constexpr size_t kPiecesInFlight = 16;
constexpr size_t kRowsInFlight = 2048;  ///< where a piece is one row

void AppendOrdered(int64_t value, std::string* out) {
  const uint64_t bits = static_cast<uint64_t>(value) ^ uint64_t { 1 } << 63;
  for (int shift = 56; shift >= 0; shift -= 8) out->push_back(static_cast<char>(bits >> shift));
}

}  // namespace

Result<RedisRowWriter> RedisRowWriter::Make(const OnlineTable& table, const RedisTable& place,
                                            const LayoutOptions& options, int64_t key_ttl_seconds) {
  RedisRowWriter writer;
  writer.table_ = table;
  writer.place_ = place;
  writer.key_version_ = options.key_version;
  writer.ttl_ = Concat(key_ttl_seconds);
  writer.packed_ = place.id != 0;
  writer.feast_ = place.layout == OnlineLayout::kFeast;
  if (writer.packed_) {
    GNOMON_ASSIGN_OR_RETURN(writer.codec_, table::RowCodec::Make(table.schema));
  }
  if (writer.feast_) {
    GNOMON_ASSIGN_OR_RETURN(writer.encoder_, FeastEncoder::Make(table));
    for (const std::string& name : writer.encoder_->names())
      writer.field_names_.push_back(FeastFieldName(table.view, name));
  }
  return writer;
}

Status RedisRowWriter::Add(const Context& context, const OnlineRows& rows) {
  GNOMON_RETURN_NOT_OK(CheckShape(rows, *table_.schema));
  std::shared_ptr<arrow::RecordBatch> values;
  if (feast_) {
    GNOMON_ASSIGN_OR_RETURN(values, FeastBatch(context, table_, rows));
  }
  std::string value;
  for (const size_t place : NewestByKey(rows)) {
    const auto index = static_cast<int64_t>(place);
    Row row{.key = bytes_.size(), .event_time = rows.event_times[place]};
    bytes_.append(rows.keys[place]);
    row.packed = bytes_.size();
    if (packed_) {
      AppendOrdered(rows.event_times[place], &bytes_);
      AppendOrdered(rows.created_times[place], &bytes_);
      bytes_.append(8, '\0');  // the schema's id, which Begin learns
      GNOMON_RETURN_NOT_OK(codec_->Encode(*rows.values, index, &bytes_));
    }
    row.feast = bytes_.size();
    for (size_t feature = 0; feast_ && feature < encoder_->size(); ++feature) {
      value.clear();
      GNOMON_RETURN_NOT_OK(encoder_->Append(*values, feature, index, &value));
      const size_t length = value.size();
      bytes_.append(reinterpret_cast<const char*>(&length), sizeof(length));
      bytes_.append(value);
    }
    rows_.push_back(row);
  }
  return Status::OK();
}

Status RedisRowWriter::Begin(const Context& context, RedisClient* client) {
  AskForTable(table_, client->connection.get());
  GNOMON_ASSIGN_OR_RETURN(const auto entry, client->connection->Next(context));
  GNOMON_ASSIGN_OR_RETURN(const auto present,
                          TableOf(entry, {.asked = place_.layout, .key_version = key_version_},
                                  table_, client->connection->place()));
  if (!present.has_value() || *present != place_)
    return Error(ErrorKind::kConflict, "redis ", client->connection->place(),
                 ": the online table of view ", Quoted(table_.view),
                 " was dropped or replaced during the write");
  if (!packed_) return Status::OK();
  GNOMON_ASSIGN_OR_RETURN(
      schema_id_, NoteRedisSchema(context, table_.project, place_.id, *table_.schema, client));
  std::string id;
  AppendOrdered(schema_id_, &id);
  for (const Row& row : rows_) bytes_.replace(row.packed + 16, id.size(), id);
  return Status::OK();
}

std::string RedisRowWriter::PackedKey(const Row& row) const {
  return RedisRowPrefix(table_.project, place_.id)
      .append(std::string_view(bytes_).substr(row.key, row.packed - row.key));
}

std::string RedisRowWriter::FeastHash(const Row& row) const {
  return RedisFeastKey(std::string_view(bytes_).substr(row.key, row.packed - row.key), table_,
                       key_version_);
}

std::string RedisRowWriter::KeyOf(size_t row) const {
  return packed_ ? PackedKey(rows_[row]) : FeastHash(rows_[row]);
}

void RedisRowWriter::AppendPacked(std::span<const Row> rows, std::optional<std::string_view> digest,
                                  RedisCommands* connection) const {
  const std::string_view bytes = bytes_;
  std::vector<std::string> keys;
  keys.reserve(rows.size());
  for (const Row& row : rows) keys.push_back(PackedKey(row));
  const std::string num_keys = Concat(keys.size());
  std::vector<std::string_view> words{
      "EVALSHA", digest ? GetRedisScripts().packed_unchanged : GetRedisScripts().packed, num_keys};
  words.insert(words.end(), keys.begin(), keys.end());
  if (digest.has_value()) words.push_back(*digest);
  words.push_back(ttl_);
  for (const Row& row : rows) words.push_back(bytes.substr(row.packed, row.feast - row.packed));
  connection->Append(words);
}

void RedisRowWriter::AppendFeast(std::span<const Row> rows, std::optional<std::string_view> digest,
                                 RedisCommands* connection) const {
  const std::string_view bytes = bytes_;
  struct Times {
    std::string seconds;
    std::string nanos;
    std::string message;
  };
  std::vector<std::string> keys;
  std::vector<Times> times;
  keys.reserve(rows.size());
  times.reserve(rows.size());
  for (const Row& row : rows) {
    keys.push_back(FeastHash(row));
    const int64_t seconds = FloorSeconds(row.event_time);
    times.push_back({Concat(seconds), Concat((row.event_time - seconds * kMicrosPerSecond) * 1000),
                     TimestampBytes(row.event_time)});
  }
  const std::string num_keys = Concat(keys.size());
  const std::string time_field = RedisTimeField(table_.view);
  const std::string num_fields = Concat(field_names_.size());
  std::vector<std::string_view> words{
      "EVALSHA", digest ? GetRedisScripts().feast_unchanged : GetRedisScripts().feast, num_keys};
  words.insert(words.end(), keys.begin(), keys.end());
  if (digest.has_value()) words.push_back(*digest);
  words.insert(words.end(), {ttl_, time_field, num_fields});
  words.insert(words.end(), field_names_.begin(), field_names_.end());
  for (size_t i = 0; i < rows.size(); ++i) {
    words.insert(words.end(), {times[i].seconds, times[i].nanos, times[i].message});
    size_t at = rows[i].feast;
    for (size_t feature = 0; feature < field_names_.size(); ++feature) {
      size_t length = 0;
      std::memcpy(&length, bytes.data() + at, sizeof(length));
      words.push_back(bytes.substr(at + sizeof(length), length));
      at += sizeof(length) + length;
    }
  }
  connection->Append(words);
}

size_t RedisRowWriter::Append(size_t begin, RedisCommands* connection) const {
  const size_t most = connection->keeps_keys_apart() ? 1 : kRowsOfPiece;
  const size_t count = std::min(most, rows_.size() - begin);
  const auto piece = std::span(rows_).subspan(begin, count);
  if (packed_) AppendPacked(piece, std::nullopt, connection);
  if (feast_) AppendFeast(piece, std::nullopt, connection);
  return count;
}

void RedisRowWriter::AppendUnlessChanged(size_t row, std::string_view digest,
                                         RedisCommands* connection) const {
  const auto piece = std::span(rows_).subspan(row, 1);
  packed_ ? AppendPacked(piece, digest, connection) : AppendFeast(piece, digest, connection);
}

void RedisRowWriter::AppendSecondKey(size_t row, RedisCommands* connection) const {
  AppendFeast(std::span(rows_).subspan(row, 1), std::nullopt, connection);
}

Status RedisRowWriter::Send(const Context& context, RedisClient* client) {
  if (rows_.empty()) return Status::OK();
  GNOMON_RETURN_NOT_OK(Begin(context, client));
  const size_t most = client->connection->keeps_keys_apart() ? kRowsInFlight : kPiecesInFlight;
  size_t in_flight = 0;
  Status failed;
  const auto take = [&](size_t down_to) -> Status {
    for (; in_flight > down_to; --in_flight) {
      GNOMON_ASSIGN_OR_RETURN(const auto reply, client->connection->Next(context));
      if (failed.ok()) failed = reply.ToStatus(client->connection->place());
    }
    return Status::OK();
  };
  for (size_t begin = 0; begin < rows_.size() && failed.ok();) {
    begin += Append(begin, client->connection.get());
    in_flight += num_answers_of_piece();
    if (in_flight >= most) GNOMON_RETURN_NOT_OK(take(most / 2));
  }
  GNOMON_RETURN_NOT_OK(take(0));
  return WithContext(failed, Concat("writing view ", Quoted(table_.view)));
}

void RedisRowWriter::Clear() {
  bytes_.clear();
  rows_.clear();
}

}  // namespace gnomon::feature::internal
