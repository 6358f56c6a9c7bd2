#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "base/text.h"
#include "base/time.h"
#include "feature/online/online_store.h"
#include "feature/online/online_store_suite_internal.h"
#include "tests/support/status.h"

/// What the tests of the read cache share: a store that is watched, and rows that tell their time.
namespace gnomon::feature::internal {

inline const OnlineTable kTable{
    .project = "p",
    .view = "v",
    .schema = arrow::schema({{"x", arrow::int64()}, {"name", arrow::utf8()}})};

/// Passes everything on to a store that it shares, counts the rows that are read, and runs `after`
/// when a read has ended in the store and before the reader hears of it.
class WatchedStore : public OnlineStore {
 public:
  explicit WatchedStore(std::shared_ptr<OnlineStore> store) : store_(std::move(store)) {}

  Status Prepare(const Context& context, std::span<const OnlineTable> tables) override {
    return store_->Prepare(context, tables);
  }
  Status DropExcept(const Context& context, const std::string& project,
                    std::span<const std::string> keep) override {
    return store_->DropExcept(context, project, keep);
  }
  Status Teardown(const Context& context, const std::string& project) override {
    return store_->Teardown(context, project);
  }
  Result<std::unique_ptr<OnlineWriter>> BeginWrite(const Context& context,
                                                   const OnlineTable& table) override {
    return store_->BeginWrite(context, table);
  }
  Result<std::vector<OnlineValues>> Read(const Context& context,
                                         std::span<const OnlineRead> reads) override {
    for (const OnlineRead& read : reads) rows_read += std::ssize(read.keys);
    auto values = store_->Read(context, reads);
    if (after) std::exchange(after, nullptr)();
    return values;
  }
  Status Update(const Context& context, const OnlineRead& read,
                const std::function<Result<OnlineRows>(const OnlineValues&)>& change) override {
    return store_->Update(context, read, change);
  }
  Result<int64_t> CountRows(const Context& context, const OnlineTable& table) override {
    return store_->CountRows(context, table);
  }

  std::atomic<int64_t> rows_read = 0;
  std::function<void()> after;

 private:
  std::shared_ptr<OnlineStore> store_;
};

/// Rows whose value is their event time.
struct TimedRows {
  TimedRows(const std::vector<std::string>& names, int64_t time)
      : times(names.size(), time * kMicrosPerSecond) {
    arrow::Int64Builder x;
    arrow::StringBuilder text;
    for (const std::string& name : names) {
      keys.push_back(SuiteKey(name));
      test::RequireOk(x.Append(time));
      test::RequireOk(text.Append(Concat(time)));
    }
    values = arrow::RecordBatch::Make(kTable.schema, std::ssize(names),
                                      {test::ValueOf(x.Finish()), test::ValueOf(text.Finish())});
  }
  OnlineRows view() const { return {keys, times, times, values}; }

  std::vector<std::string_view> keys;
  std::vector<int64_t> times;
  std::shared_ptr<arrow::RecordBatch> values;
};

inline Status WriteAt(OnlineStore& store, const std::vector<std::string>& names, int64_t time) {
  const TimedRows rows(names, time);
  GNOMON_ASSIGN_OR_RETURN(auto writer, store.BeginWrite({}, kTable));
  GNOMON_RETURN_NOT_OK(writer->Write({}, rows.view()));
  return writer->Commit({});
}

/// The event times in seconds, -1 of missing rows.
inline Result<std::vector<int64_t>> TimesOf(OnlineStore& store,
                                            const std::vector<std::string>& names,
                                            const Context& context = {}) {
  OnlineRead read{.table = &kTable, .keys = {}, .fields = {0}};
  for (const std::string& name : names) read.keys.push_back(SuiteKey(name));
  GNOMON_ASSIGN_OR_RETURN(const auto values, store.Read(context, {&read, 1}));
  std::vector<int64_t> times;
  for (size_t i = 0; i < names.size(); ++i) {
    const int64_t time = values[0].event_times[i] / kMicrosPerSecond;
    times.push_back(values[0].found[i] ? time : -1);
    const auto& x = static_cast<const arrow::Int64Array&>(*values[0].columns[0]);
    if (values[0].found[i] && x.Value(static_cast<int64_t>(i)) != time)
      return Error(ErrorKind::kInternal, "a value is not its row's: ", x.ToString());
  }
  return times;
}

}  // namespace gnomon::feature::internal
