#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "base/text.h"
#include "base/time.h"
#include "feature/online/packed_rows_internal.h"
#include "feature/online/sqlite_catalog_internal.h"
#include "feature/online/sqlite_table_internal.h"

namespace gnomon::feature::internal {
namespace {

constexpr size_t kRowsBetweenChecks = 2 * 1024;

/// Whether Feast's whole seconds of a row let another one replace it.
struct StoredTimes {
  int64_t event = 0;
  std::optional<int64_t> created;
};

class FeastRowWriter : public SqliteRowWriter {
 public:
  static Result<std::unique_ptr<FeastRowWriter>> Make(const OnlineTable& table, int key_version,
                                                      sql::Sqlite* database) {
    GNOMON_ASSIGN_OR_RETURN(auto encoder, FeastEncoder::Make(table));
    GNOMON_ASSIGN_OR_RETURN(const bool numbers, HasFeastColumn(database, table, "value_num"));
    std::unique_ptr<FeastRowWriter> writer(
        new FeastRowWriter(table, std::move(encoder), key_version, numbers));
    const std::string name = sql::QuoteIdentifier(FeastTableName(table));
    // Every feature of an entity has the times of the row that it came with.
    GNOMON_ASSIGN_OR_RETURN(
        writer->select_,
        database->Prepare(Concat("SELECT event_ts, created_ts, typeof(event_ts) FROM ", name,
                                 " WHERE entity_key = ?1 ORDER BY event_ts "
                                 "DESC, created_ts DESC LIMIT 1")));
    const std::string_view more = numbers ? ", value_num" : "";
    GNOMON_ASSIGN_OR_RETURN(
        writer->upsert_,
        database->Prepare(Concat(
            "INSERT INTO ", name,
            " (entity_key, feature_name, value, value_text, event_ts, created_ts", more,
            ") VALUES (?1, ?2, ?3, ?4, ?5, ?6", numbers ? ", ?7" : "",
            ") ON CONFLICT (entity_key, feature_name) DO UPDATE SET value = excluded.value, "
            "value_text = excluded.value_text, vector_value = NULL, event_ts = excluded.event_ts, "
            "created_ts = excluded.created_ts",
            numbers ? ", value_num = excluded.value_num" : "")));
    return writer;
  }

  Status Write(const Context& context, const OnlineRows& rows) override {
    GNOMON_RETURN_NOT_OK(CheckShape(rows, *table_.schema));
    GNOMON_ASSIGN_OR_RETURN(const auto batch, FeastBatch(context, table_, rows));
    size_t written = 0;
    for (const size_t row : NewestByKey(rows)) {
      if (++written % kRowsBetweenChecks == 0) GNOMON_RETURN_NOT_OK(context.Check());
      GNOMON_RETURN_NOT_OK(WriteRow(rows, *batch, row));
    }
    return Status::OK();
  }

  Status Flush(const Context& /*context*/) override { return Status::OK(); }

 private:
  FeastRowWriter(OnlineTable table, FeastEncoder encoder, int key_version, bool numbers)
      : table_(std::move(table)),
        encoder_(std::move(encoder)),
        key_version_(key_version),
        numbers_(numbers) {}

  Status WriteRow(const OnlineRows& rows, const arrow::RecordBatch& batch, size_t row) {
    const std::string key = FeastKey(rows.keys[row], key_version_);
    const int64_t event = FloorSeconds(rows.event_times[row]);
    std::optional<int64_t> created;
    if (rows.created_times[row] != INT64_MIN) created = FloorSeconds(rows.created_times[row]);
    GNOMON_ASSIGN_OR_RETURN(const bool wins, Wins(key, event, created));
    if (!wins) return Status::OK();
    for (size_t feature = 0; feature < encoder_.size(); ++feature) {
      value_.clear();
      text_.clear();
      const auto index = static_cast<int64_t>(row);
      GNOMON_RETURN_NOT_OK(encoder_.Append(batch, feature, index, &value_));
      upsert_.BindBlob(1, key);
      upsert_.BindText(2, encoder_.names()[feature]);
      upsert_.BindBlob(3, value_);
      if (encoder_.AppendText(batch, feature, index, &text_)) {
        upsert_.BindText(4, text_);
      } else {
        upsert_.BindNull(4);
      }
      upsert_.BindInt(5, event);
      created.has_value() ? upsert_.BindInt(6, *created) : upsert_.BindNull(6);
      if (numbers_) {
        const auto number = encoder_.Number(batch, feature, index);
        number.has_value() ? upsert_.BindDouble(7, *number) : upsert_.BindNull(7);
      }
      GNOMON_RETURN_NOT_OK(upsert_.Execute());
    }
    return Status::OK();
  }

  /// Is no stored row of the key newer? Without created times on either side the later write wins.
  Result<bool> Wins(std::string_view key, int64_t event, std::optional<int64_t> created) {
    select_.BindBlob(1, key);
    GNOMON_ASSIGN_OR_RETURN(const bool found, select_.Step());
    bool wins = true;
    if (found) {
      if (select_.Text(2) != "integer") {
        return Error(ErrorKind::kDataLoss, "an event_ts in Feast's table ", FeastTableName(table_),
                     " is no number of seconds: ", select_.Text(0));
      }
      const int64_t stored = select_.Int(0);
      wins = event > stored || (event == stored && (select_.IsNull(1) || !created.has_value() ||
                                                    *created >= select_.Int(1)));
    }
    select_.Reset();
    return wins;
  }

  const OnlineTable table_;
  const FeastEncoder encoder_;
  const int key_version_;
  const bool numbers_;
  sql::SqliteStatement select_;
  sql::SqliteStatement upsert_;
  std::string value_;
  std::string text_;
};

class FeastTable : public SqliteTable {
 public:
  FeastTable(const OnlineTable& table, int key_version, sql::Sqlite* database)
      : name_(sql::QuoteIdentifier(FeastTableName(table))),
        key_version_(key_version),
        database_(database) {}

  Result<OnlineValues> Read(const OnlineRead& read) override {
    GNOMON_RETURN_NOT_OK(Start(read));
    const size_t num_rows = read.keys.size();
    GNOMON_RETURN_NOT_OK(columns_->Reserve(static_cast<int64_t>(num_rows)));
    OnlineValues values;
    values.found.resize(num_rows);
    values.event_times.resize(num_rows);
    for (size_t row = 0; row < num_rows; ++row) {
      const Status status = ReadRow(read.keys[row], row, &values);
      if (!status.ok()) return WithContext(status, Concat("online store ", database_->path()));
      GNOMON_RETURN_NOT_OK(columns_->EndRow());
    }
    GNOMON_ASSIGN_OR_RETURN(values.columns, columns_->Finish());
    return values;
  }

  Result<int64_t> CountRows() override {
    GNOMON_ASSIGN_OR_RETURN(
        auto count, database_->Prepare(Concat("SELECT count(DISTINCT entity_key) FROM ", name_)));
    GNOMON_RETURN_NOT_OK(count.Step().status());
    return count.Int(0);
  }

  Result<std::unique_ptr<SqliteRowWriter>> MakeWriter(const OnlineTable& table) override {
    return FeastRowWriter::Make(table, key_version_, database_);
  }

 private:
  Status Start(const OnlineRead& read) {
    if (schema_ == read.table->schema && fields_ == read.fields) return Status::OK();
    GNOMON_ASSIGN_OR_RETURN(columns_, FeastColumns::Make(*read.table, read.fields));
    GNOMON_ASSIGN_OR_RETURN(
        select_, database_->Prepare(Concat("SELECT feature_name, value, event_ts, typeof(event_ts) "
                                           "= 'integer' FROM ",
                                           name_, " WHERE entity_key = ?1")));
    schema_ = read.table->schema;
    fields_ = read.fields;
    return Status::OK();
  }

  Status ReadRow(std::string_view asked, size_t row, OnlineValues* values) {
    if (asked.empty()) return Status::OK();
    const std::string key = FeastKey(asked, key_version_);
    select_.BindBlob(1, key);
    for (;;) {
      GNOMON_ASSIGN_OR_RETURN(const bool found, select_.Step());
      if (!found) break;
      int64_t micros = 0;
      if (select_.Int(3) == 0 ||
          __builtin_mul_overflow(select_.Int(2), kMicrosPerSecond, &micros)) {
        return Error(ErrorKind::kDataLoss, "an event_ts in Feast's table ", name_,
                     " is no number of seconds: ", select_.Text(2));
      }
      values->event_times[row] =
          values->found[row] ? std::max(values->event_times[row], micros) : micros;
      values->found[row] = true;
      const int place = columns_->PlaceOf(select_.Text(0));
      if (place < 0) continue;
      GNOMON_RETURN_NOT_OK(columns_->Set(static_cast<size_t>(place), select_.Blob(1)));
    }
    select_.Reset();
    return Status::OK();
  }

  const std::string name_;
  const int key_version_;
  sql::Sqlite* const database_;
  sql::SqliteStatement select_;
  std::shared_ptr<arrow::Schema> schema_;
  std::vector<int> fields_;
  std::optional<FeastColumns> columns_;
};

}  // namespace

Result<std::unique_ptr<SqliteTable>> OpenFeastTable(const OnlineTable& table, int key_version,
                                                    sql::Sqlite* database) {
  return std::make_unique<FeastTable>(table, key_version, database);
}

}  // namespace gnomon::feature::internal
