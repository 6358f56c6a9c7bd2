#include <algorithm>
#include <bit>
#include <charconv>
#include <functional>
#include <iterator>
#include <utility>

#include <arrow/type.h>

#include "base/ids.h"
#include "base/text.h"
#include "feature/online/postgres_rows_internal.h"

namespace gnomon::feature::internal {
namespace {

using sql::Postgres;
using sql::PostgresParameters;
using sql::PostgresResult;

constexpr size_t kMaxIdleDecoders = 16;  // of a table

/// Where the one statement has its columns; what it does not need it does not ask for, since the
/// server describes each of them in every answer.
struct Columns {
  int read = -1;   ///< of several reads, which one
  int key = -1;    ///< of reads of several keys
  int event = -1;  ///< of packed rows
  int schema = -1;
  int value = 0;
  int time = -1;  ///< of Feast's rows
  int feature = -1;
};

Columns ColumnsOf(std::span<const OnlineRead> reads,
                  std::span<const std::shared_ptr<const PostgresTable>> tables) {
  const auto is_packed = [](const auto& table) { return table->id != 0; };
  const bool packed = std::ranges::any_of(tables, is_packed);
  const bool feast = !std::ranges::all_of(tables, is_packed);
  int count = 0;
  Columns columns;
  if (tables.size() > 1) columns.read = count++;
  if (std::ranges::any_of(reads, [](const OnlineRead& read) { return read.keys.size() != 1; }))
    columns.key = count++;
  columns.value = count++;
  if (packed) columns.event = count++;
  if (packed) columns.schema = count++;
  if (feast) columns.time = count++;
  if (feast) columns.feature = count++;
  return columns;
}

/// All features are found faster by the key alone. Without a feature to read, any of them tells
/// that the entity is there.
bool FiltersFeatures(const OnlineRead& read) {
  return !read.fields.empty() &&
         std::cmp_less(read.fields.size(), read.table->schema->num_fields());
}

/// One key is compared as it is, which spares the server the array.
std::string StatementOf(std::span<const OnlineRead> reads,
                        std::span<const std::shared_ptr<const PostgresTable>> tables,
                        const Columns& columns) {
  std::string text;
  text.reserve(reads.size() * 256);
  char digits[24];
  const auto append_number = [&](size_t number) {
    text.append(digits, std::to_chars(digits, std::end(digits), number).ptr);
  };
  size_t parameter = 0;
  for (size_t i = 0; i < reads.size(); ++i) {
    const PostgresTable& table = *tables[i];
    const bool packed = table.id != 0;
    text += i > 0 ? " UNION ALL SELECT " : "SELECT ";
    if (columns.read >= 0) append_number(i);
    if (columns.read >= 0) text += ", ";
    text += columns.key >= 0 ? "entity_key, value" : "value";
    if (columns.event >= 0)
      text += packed ? ", event_ts, schema_id" : ", NULL::bigint, NULL::bigint";
    if (columns.time >= 0)
      text += packed ? ", NULL::timestamptz, NULL::text" : ", event_ts, feature_name";
    text += " FROM ";
    text += packed ? table.packed : table.feast;
    text += reads[i].keys.size() == 1 ? " WHERE entity_key = ($" : " WHERE entity_key = ANY($";
    append_number(++parameter);
    text += ')';
    if (packed || !FiltersFeatures(reads[i])) continue;
    text += " AND feature_name = ANY($";
    append_number(++parameter);
    text += ')';
  }
  return text;
}

/// The asked keys as they are stored; the texts live as long as this.
struct StoredKeys {
  std::vector<std::string> texts;
  std::vector<std::string_view> keys;

  StoredKeys(const OnlineRead& read, const PostgresTable& table, const LayoutOptions& options) {
    if (table.id != 0 || options.key_version >= 3) {
      keys.assign(read.keys.begin(), read.keys.end());
      return;
    }
    texts.reserve(read.keys.size());
    for (const std::string_view key : read.keys)
      texts.push_back(FeastKey(key, options.key_version));
    keys.assign(texts.begin(), texts.end());
  }
};

/// The result's rows of one read by key: a key's rows are a chain. An open-addressing table of the
/// chains' first rows, at most half full. Without a key column all rows are of one key.
class RowsByKey {
 public:
  RowsByKey(const PostgresResult& result, int key_column, std::span<const int64_t> rows)
      : result_(result),
        key_column_(key_column),
        base_(rows.empty() ? 0 : rows.front()),
        links_(rows.empty() ? 0 : static_cast<size_t>(rows.back() - base_ + 1)),
        slots_(key_column < 0 ? 1 : std::bit_ceil(rows.size() * 2 + 1), -1) {
    std::string_view last_key;
    int64_t first = -1;  // of the last row's chain
    for (const int64_t row : rows) {
      LinkOf(row) = {.next = -1, .last = row};
      const std::string_view key = KeyOf(row);
      if (first < 0 || key != last_key) {  // a key's rows mostly come together
        last_key = key;
        int64_t& slot = slots_[SlotOf(key)];
        first = slot;
        if (slot < 0) first = slot = row;
      }
      if (first != row) LinkOf(std::exchange(LinkOf(first).last, row)).next = row;
    }
  }
  /// -1: there is none.
  int64_t First(std::string_view key) const { return slots_[SlotOf(key)]; }
  int64_t Next(int64_t row) const { return links_[static_cast<size_t>(row - base_)].next; }

 private:
  struct Link {
    int64_t next;
    int64_t last;  ///< of the chain that this row begins
  };
  Link& LinkOf(int64_t row) { return links_[static_cast<size_t>(row - base_)]; }
  std::string_view KeyOf(int64_t row) const {
    return key_column_ < 0 ? std::string_view() : result_.Bytes(row, key_column_);
  }
  /// The key's slot, or the free one where it would be.
  size_t SlotOf(std::string_view key) const {
    if (key_column_ < 0) return 0;
    size_t slot = HashBytes(key) & (slots_.size() - 1);
    while (slots_[slot] >= 0 && KeyOf(slots_[slot]) != key) slot = (slot + 1) & (slots_.size() - 1);
    return slot;
  }

  const PostgresResult& result_;
  const int key_column_;
  const int64_t base_;
  std::vector<Link> links_;
  std::vector<int64_t> slots_;
};

Result<OnlineValues> TakePacked(const PostgresResult& result, const Columns& columns,
                                const RowsByKey& rows, const OnlineRead& read, int64_t table,
                                const PackedRows::LoadSchema& load, PostgresSchemas* schemas) {
  PackedRows decoder = schemas->TakeDecoder(table);
  GNOMON_RETURN_NOT_OK(decoder.Start(read));
  OnlineValues values;
  values.found.resize(read.keys.size());
  values.event_times.resize(read.keys.size());
  for (size_t i = 0; i < read.keys.size(); ++i) {
    const int64_t row = rows.First(read.keys[i]);
    if (row < 0 || read.keys[i].empty()) {
      GNOMON_RETURN_NOT_OK(decoder.AppendMissing());
      continue;
    }
    values.found[i] = true;
    GNOMON_ASSIGN_OR_RETURN(values.event_times[i], result.Int64(row, columns.event));
    GNOMON_ASSIGN_OR_RETURN(const int64_t schema, result.Int64(row, columns.schema));
    GNOMON_RETURN_NOT_OK(decoder.Append(schema, result.Bytes(row, columns.value), load));
  }
  GNOMON_ASSIGN_OR_RETURN(values.columns, decoder.Finish());
  schemas->GiveBack(table, std::move(decoder));
  return values;
}

Result<OnlineValues> TakeFeast(const PostgresResult& result, const Columns& columns,
                               const RowsByKey& rows, const OnlineRead& read,
                               const StoredKeys& keys) {
  GNOMON_ASSIGN_OR_RETURN(auto features, FeastColumns::Make(*read.table, read.fields));
  GNOMON_RETURN_NOT_OK(features.Reserve(static_cast<int64_t>(read.keys.size())));
  OnlineValues values;
  values.found.resize(read.keys.size());
  values.event_times.resize(read.keys.size());
  for (size_t i = 0; i < read.keys.size(); ++i) {
    int64_t row = keys.keys[i].empty() ? -1 : rows.First(keys.keys[i]);
    for (; row >= 0; row = rows.Next(row)) {
      GNOMON_ASSIGN_OR_RETURN(const int64_t time, result.Timestamptz(row, columns.time));
      values.event_times[i] = values.found[i] ? std::max(values.event_times[i], time) : time;
      values.found[i] = true;
      const int place = features.PlaceOf(result.Bytes(row, columns.feature));
      if (place >= 0)
        GNOMON_RETURN_NOT_OK(
            features.Set(static_cast<size_t>(place), result.Bytes(row, columns.value)));
    }
    GNOMON_RETURN_NOT_OK(features.EndRow());
  }
  GNOMON_ASSIGN_OR_RETURN(values.columns, features.Finish());
  return values;
}

}  // namespace

Result<std::shared_ptr<arrow::Schema>> PostgresSchemas::Find(const Context& context, int64_t id,
                                                             Postgres* connection) {
  {
    const MutexLock lock(mutex_);
    const auto known = schemas_.find(id);
    if (known != schemas_.end()) return known->second;
  }
  GNOMON_ASSIGN_OR_RETURN(auto schema, LoadPostgresSchema(context, id, connection));
  const MutexLock lock(mutex_);
  return schemas_.emplace(id, std::move(schema)).first->second;
}

PackedRows PostgresSchemas::TakeDecoder(int64_t table) {
  const MutexLock lock(mutex_);
  const auto idle = decoders_.find(table);
  if (idle == decoders_.end()) return {};
  PackedRows decoder = std::move(idle->second);
  decoders_.erase(idle);
  return decoder;
}

void PostgresSchemas::GiveBack(int64_t table, PackedRows decoder) {
  const MutexLock lock(mutex_);
  if (decoders_.count(table) < kMaxIdleDecoders) decoders_.emplace(table, std::move(decoder));
}

Result<std::vector<OnlineValues>> ReadPostgresRows(
    const Context& context, const LayoutOptions& options, std::span<const OnlineRead> reads,
    std::span<const std::shared_ptr<const PostgresTable>> tables, PostgresSchemas* schemas,
    Postgres* connection) {
  std::vector<StoredKeys> keys;
  keys.reserve(reads.size());
  PostgresParameters parameters;
  for (size_t i = 0; i < reads.size(); ++i) {
    const StoredKeys& stored = keys.emplace_back(reads[i], *tables[i], options);
    if (stored.keys.size() == 1) {
      parameters.Bytea(stored.keys[0]);
    } else {
      parameters.ByteaArray(
          std::vector<std::optional<std::string_view>>(stored.keys.begin(), stored.keys.end()));
    }
    if (tables[i]->id != 0 || !FiltersFeatures(reads[i])) continue;
    std::vector<std::optional<std::string_view>> names;
    for (const int field : reads[i].fields)
      names.emplace_back(reads[i].table->schema->field(field)->name());
    parameters.TextArray(names);
  }
  const Columns columns = ColumnsOf(reads, tables);
  GNOMON_ASSIGN_OR_RETURN(
      const auto result,
      connection->QueryPrepared(context, StatementOf(reads, tables, columns), parameters));
  std::vector<std::vector<int64_t>> rows(reads.size());
  for (auto& each : rows) each.reserve(static_cast<size_t>(result.num_rows()) / reads.size());
  for (int64_t row = 0; row < result.num_rows(); ++row) {
    int64_t read = 0;
    if (columns.read >= 0) {
      GNOMON_ASSIGN_OR_RETURN(read, result.Int64(row, columns.read));
    }
    rows[static_cast<size_t>(read)].push_back(row);
  }
  const auto find = [&](int64_t schema) { return schemas->Find(context, schema, connection); };
  const PackedRows::LoadSchema load = std::ref(find);
  std::vector<OnlineValues> values;
  values.reserve(reads.size());
  for (size_t i = 0; i < reads.size(); ++i) {
    const RowsByKey by_key(result, columns.key, rows[i]);
    auto taken = tables[i]->id != 0
                     ? TakePacked(result, columns, by_key, reads[i], tables[i]->id, load, schemas)
                     : TakeFeast(result, columns, by_key, reads[i], keys[i]);
    if (!taken.ok()) {
      return WithContext(taken.status(), Concat("postgres ", connection->place(), ", view ",
                                                Quoted(reads[i].table->view)));
    }
    values.push_back(*std::move(taken));
  }
  return values;
}

}  // namespace gnomon::feature::internal
