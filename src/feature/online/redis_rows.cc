#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "base/text.h"
#include "base/time.h"
#include "feature/online/redis_rows_internal.h"

namespace gnomon::feature::internal {
namespace {

/// Of a packed row: event time, created time (both big-endian with the sign flipped, so that their
/// bytes order as they do), the schema's id.
constexpr size_t kHeaderBytes = 24;
/// Rows of one script: it runs well under a millisecond, and others wait for it.
constexpr size_t kRowsOfPiece = 128;
constexpr size_t kPiecesInFlight = 16;

void AppendOrdered(int64_t value, std::string* out) {
  const uint64_t bits = static_cast<uint64_t>(value) ^ uint64_t { 1 } << 63;
  for (int shift = 56; shift >= 0; shift -= 8) out->push_back(static_cast<char>(bits >> shift));
}

int64_t LoadOrdered(std::string_view bytes) {
  uint64_t bits = 0;
  for (size_t i = 0; i < 8; ++i) bits = bits << 8 | static_cast<unsigned char>(bytes[i]);
  return static_cast<int64_t>(bits ^ uint64_t{1} << 63);
}

std::string FeastHashKey(std::string_view key, const OnlineTable& table, int version) {
  return FeastKey(key, version) + table.project;
}

}  // namespace

void RedisRowReader::Ask(std::span<const RedisTable> tables, RedisConnection* connection) const {
  std::string keys;
  std::vector<size_t> ends;
  for (size_t i = 0; i < reads_.size(); ++i) {
    const OnlineRead& read = reads_[i];
    if (tables[i].id == 0) continue;
    const std::string prefix = RedisRowPrefix(read.table->project, tables[i].id);
    for (const std::string_view key : read.keys) {
      keys.append(prefix).append(key);
      ends.push_back(keys.size());
    }
  }
  if (!ends.empty()) {
    std::vector<std::string_view> words{"MGET"};
    size_t begin = 0;
    for (const size_t end : ends) {
      words.push_back(std::string_view(keys).substr(begin, end - begin));
      begin = end;
    }
    connection->Append(words);
  }
  for (size_t i = 0; i < reads_.size(); ++i) {
    const OnlineRead& read = reads_[i];
    if (tables[i].id != 0) continue;
    std::vector<std::string> fields{RedisTimeField(read.table->view)};
    for (const int field : read.fields)
      fields.push_back(FeastFieldName(read.table->view, read.table->schema->field(field)->name()));
    std::vector<std::string_view> words{"HMGET", ""};
    words.insert(words.end(), fields.begin(), fields.end());
    for (const std::string_view key : read.keys) {
      const std::string hash = FeastHashKey(key, *read.table, options_.key_version);
      words[1] = hash;
      connection->Append(words);
    }
  }
}

size_t RedisRowReader::NumAnswers(std::span<const RedisTable> tables) const {
  size_t packed = 0;
  size_t feast = 0;
  for (size_t i = 0; i < reads_.size(); ++i)
    (tables[i].id != 0 ? packed : feast) += reads_[i].keys.size();
  return (packed > 0 ? 1 : 0) + feast;
}

Status RedisRowReader::Skip(const Context& context, std::span<const RedisTable> tables,
                            RedisConnection* connection) const {
  for (size_t i = NumAnswers(tables); i > 0; --i)
    GNOMON_RETURN_NOT_OK(connection->Next(context).status());
  return Status::OK();
}

Result<std::vector<OnlineValues>> RedisRowReader::Take(const Context& context,
                                                       std::span<const RedisTable> tables,
                                                       RedisClient* client) const {
  bool any_packed = false;
  for (size_t i = 0; i < reads_.size(); ++i)
    any_packed = any_packed || (tables[i].id != 0 && !reads_[i].keys.empty());
  RedisReply packed;
  if (any_packed) {
    GNOMON_ASSIGN_OR_RETURN(packed, client->connection->NextOk(context));
  }
  std::vector<OnlineValues> values(reads_.size());
  // Feast's answers are taken first: a packed row may ask for its schema.
  for (size_t i = 0; i < reads_.size(); ++i) {
    if (tables[i].id != 0) continue;
    GNOMON_ASSIGN_OR_RETURN(values[i], TakeFeast(context, reads_[i], client->connection.get()));
  }
  size_t first = 0;
  for (size_t i = 0; i < reads_.size(); ++i) {
    if (tables[i].id == 0) continue;
    auto taken = TakePacked(context, reads_[i], tables[i].id, packed, first, client);
    if (!taken.ok()) {
      client->packed.erase(tables[i].id);
      return WithContext(taken.status(), Concat("redis ", client->connection->place(), ", view ",
                                                Quoted(reads_[i].table->view)));
    }
    values[i] = *std::move(taken);
    first += reads_[i].keys.size();
  }
  return values;
}

Result<OnlineValues> RedisRowReader::TakePacked(const Context& context, const OnlineRead& read,
                                                int64_t id, const RedisReply& rows, size_t first,
                                                RedisClient* client) const {
  PackedRows& decoder = client->packed[id];
  GNOMON_RETURN_NOT_OK(decoder.Start(read));
  const PackedRows::LoadSchema load = [&](int64_t schema) {
    return LoadRedisSchema(context, read.table->project, id, schema, client);
  };
  OnlineValues values;
  values.found.resize(read.keys.size());
  values.event_times.resize(read.keys.size());
  for (size_t row = 0; row < read.keys.size(); ++row) {
    const auto stored = rows.TextAt(first + row);
    if (!stored.has_value() || read.keys[row].empty()) {
      GNOMON_RETURN_NOT_OK(decoder.AppendMissing());
      continue;
    }
    const std::string_view bytes = *stored;
    if (bytes.size() < kHeaderBytes)
      return Error(ErrorKind::kDataLoss, "a stored row is truncated: ", bytes.size(), " bytes");
    values.found[row] = true;
    values.event_times[row] = LoadOrdered(bytes);
    GNOMON_RETURN_NOT_OK(
        decoder.Append(LoadOrdered(bytes.substr(16)), bytes.substr(kHeaderBytes), load));
  }
  GNOMON_ASSIGN_OR_RETURN(values.columns, decoder.Finish());
  return values;
}

Result<OnlineValues> RedisRowReader::TakeFeast(const Context& context, const OnlineRead& read,
                                               RedisConnection* connection) const {
  GNOMON_ASSIGN_OR_RETURN(auto columns, FeastColumns::Make(*read.table, read.fields));
  GNOMON_RETURN_NOT_OK(columns.Reserve(static_cast<int64_t>(read.keys.size())));
  OnlineValues values;
  values.found.resize(read.keys.size());
  values.event_times.resize(read.keys.size());
  Status failed;  // the answers behind it are taken nevertheless
  for (size_t row = 0; row < read.keys.size(); ++row) {
    GNOMON_ASSIGN_OR_RETURN(const auto hash, connection->Next(context));
    if (failed.ok()) failed = hash.ToStatus(connection->place());
    const auto stamp = hash.TextAt(0);
    if (!failed.ok() || !stamp.has_value() || read.keys[row].empty()) {
      GNOMON_RETURN_NOT_OK(columns.EndRow());
      continue;
    }
    const auto time = ParseTimestampBytes(*stamp);
    if (!time.has_value()) {
      failed = Error(ErrorKind::kDataLoss, "redis ", connection->place(), ", view ",
                     Quoted(read.table->view), ": a stored event time is damaged");
      continue;
    }
    values.found[row] = true;
    values.event_times[row] = *time;
    for (size_t i = 0; failed.ok() && i < read.fields.size(); ++i) {
      const auto value = hash.TextAt(i + 1);
      if (!value.has_value()) continue;
      failed = columns.Set(i, *value);
      if (!failed.ok()) failed = WithContext(failed, Concat("redis ", connection->place()));
    }
    if (failed.ok()) GNOMON_RETURN_NOT_OK(columns.EndRow());
  }
  GNOMON_RETURN_NOT_OK(failed);
  GNOMON_ASSIGN_OR_RETURN(values.columns, columns.Finish());
  return values;
}

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

void RedisRowWriter::AppendPacked(std::span<const Row> rows, RedisClient* client) const {
  const std::string prefix = RedisRowPrefix(table_.project, place_.id);
  const std::string_view bytes = bytes_;
  std::vector<std::string> keys;
  keys.reserve(rows.size());
  for (const Row& row : rows)
    keys.push_back(prefix + std::string(bytes.substr(row.key, row.packed - row.key)));
  const std::string num_keys = Concat(keys.size());
  std::vector<std::string_view> words{"EVALSHA", client->packed_script, num_keys};
  words.insert(words.end(), keys.begin(), keys.end());
  words.push_back(ttl_);
  for (const Row& row : rows) words.push_back(bytes.substr(row.packed, row.feast - row.packed));
  client->connection->Append(words);
}

void RedisRowWriter::AppendFeast(std::span<const Row> rows, RedisClient* client) const {
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
    keys.push_back(FeastHashKey(bytes.substr(row.key, row.packed - row.key), table_, key_version_));
    const int64_t seconds = FloorSeconds(row.event_time);
    times.push_back({Concat(seconds), Concat((row.event_time - seconds * kMicrosPerSecond) * 1000),
                     TimestampBytes(row.event_time)});
  }
  const std::string num_keys = Concat(keys.size());
  const std::string time_field = RedisTimeField(table_.view);
  const std::string num_fields = Concat(field_names_.size());
  std::vector<std::string_view> words{"EVALSHA", client->feast_script, num_keys};
  words.insert(words.end(), keys.begin(), keys.end());
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
  client->connection->Append(words);
}

size_t RedisRowWriter::Append(size_t begin, RedisClient* client) const {
  const size_t count = std::min(kRowsOfPiece, rows_.size() - begin);
  const auto piece = std::span(rows_).subspan(begin, count);
  if (packed_) AppendPacked(piece, client);
  if (feast_) AppendFeast(piece, client);
  return count;
}

Status RedisRowWriter::Send(const Context& context, RedisClient* client) {
  if (rows_.empty()) return Status::OK();
  GNOMON_RETURN_NOT_OK(Begin(context, client));
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
    begin += Append(begin, client);
    in_flight += num_answers_of_piece();
    if (in_flight >= kPiecesInFlight) GNOMON_RETURN_NOT_OK(take(kPiecesInFlight / 2));
  }
  GNOMON_RETURN_NOT_OK(take(0));
  return WithContext(failed, Concat("writing view ", Quoted(table_.view)));
}

void RedisRowWriter::Clear() {
  bytes_.clear();
  rows_.clear();
}

}  // namespace gnomon::feature::internal
