#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <arrow/type.h>

#include "base/time.h"
#include "feature/online/online_store.h"
#include "feature/online/online_store_suite_internal.h"
#include "tests/support/status.h"
#include "tests/support/table.h"

/// Rows for the suite that every online store must pass.
namespace gnomon::feature::suite {

inline constexpr int64_t kNoCreated = INT64_MIN;
inline const std::shared_ptr<arrow::Schema> kTrips =
    arrow::schema({{"trips", arrow::int64()}, {"name", arrow::utf8()}});

inline OnlineTable TripsTable(std::string view = "stats", std::string project = "p") {
  return {.project = std::move(project), .view = std::move(view), .schema = kTrips};
}

/// Times in seconds, which every layout keeps.
struct Row {
  std::string key;
  int64_t time;
  int64_t created;
};

/// Rows with values from a JSON literal; what OnlineRows borrows lives here.
class Rows {
 public:
  Rows(const OnlineTable& table, const std::vector<Row>& rows, std::string_view values)
      : rows_(rows) {
    batch_ = test::ValueOf(test::TableOfSchema(table.schema, values)->CombineChunksToBatch());
    for (const Row& row : rows_) {
      keys_.push_back(SuiteKey(row.key));
      times_.push_back(row.time * kMicrosPerSecond);
      created_.push_back(row.created == kNoCreated ? kNoCreated : row.created * kMicrosPerSecond);
    }
  }
  OnlineRows view() const { return {keys_, times_, created_, batch_}; }

 private:
  std::vector<Row> rows_;
  std::shared_ptr<arrow::RecordBatch> batch_;
  std::vector<std::string_view> keys_;
  std::vector<int64_t> times_;
  std::vector<int64_t> created_;
};

inline void WriteRows(OnlineStore& store, const OnlineTable& table, const std::vector<Row>& rows,
                      std::string_view values) {
  auto writer = test::ValueOf(store.BeginWrite({}, table));
  test::RequireOk(writer->Write({}, Rows(table, rows, values).view()));
  test::RequireOk(writer->Commit({}));
}

inline OnlineRead AllOf(const OnlineTable& table, std::vector<std::string_view> keys) {
  OnlineRead read{.table = &table, .keys = {}, .fields = {}};
  for (const std::string_view key : keys) read.keys.push_back(SuiteKey(key));
  for (int i = 0; i < table.schema->num_fields(); ++i) read.fields.push_back(i);
  return read;
}

inline OnlineValues ReadRows(OnlineStore& store, const OnlineTable& table,
                             std::vector<std::string_view> keys) {
  const OnlineRead read = AllOf(table, std::move(keys));
  return std::move(test::ValueOf(store.Read({}, {&read, 1})).front());
}

/// Values as a table, so that they can be compared with a literal.
inline std::shared_ptr<arrow::Table> ValuesOf(const OnlineTable& table,
                                              const OnlineValues& values) {
  return arrow::Table::Make(table.schema, values.columns,
                            static_cast<int64_t>(values.found.size()));
}

#define CHECK_VALUES(table, values, literal) \
  CHECK_TABLE_EQ(suite::ValuesOf(table, values), test::TableOfSchema((table).schema, literal))

inline int64_t TripsOf(OnlineStore& store, std::string_view key) {
  const OnlineTable table = TripsTable();
  const OnlineValues values = ReadRows(store, table, {key});
  return values.found[0] ? static_cast<const arrow::Int64Array&>(*values.columns[0]).Value(0) : -1;
}

inline std::vector<int64_t> Seconds(std::vector<int64_t> times) {
  for (int64_t& time : times) time *= kMicrosPerSecond;
  return times;
}

}  // namespace gnomon::feature::suite
