// What every online store must do for several threads at once.

#include <atomic>
#include <map>
#include <thread>

#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <doctest/doctest.h>

#include "base/text.h"
#include "feature/online/online_rows_test.h"

namespace gnomon::feature {
namespace {

using suite::AllOf;
using suite::Row;
using suite::Rows;
using suite::TripsOf;
using suite::WriteRows;

}  // namespace

void CheckOnlineStoreThreads(OnlineStore& store, const OpenStore& open,
                             const OnlineStoreTraits& traits) {
  const OnlineTable stats = suite::TripsTable();
  SUBCASE("an update reads and writes in one transaction, also beside others") {
    CHECK_OK(store.Prepare({}, {{stats}}));
    const OnlineRead read = AllOf(stats, {"a"});
    const auto add_one = [&](OnlineStore& own) {
      std::optional<Rows> rows;
      return own.Update({}, read, [&](const OnlineValues& values) -> Result<OnlineRows> {
        const int64_t old = values.found[0]
                                ? static_cast<const arrow::Int64Array&>(*values.columns[0]).Value(0)
                                : 0;
        rows.emplace(stats, std::vector<Row>{{"a", 1, 1}}, Concat("[[", old + 1, ", \"\"]]"));
        return rows->view();
      });
    };
    const auto other = open();
    std::vector<std::jthread> threads;
    std::atomic<int> failed = 0;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&, i] {
        for (int round = 0; round < 10; ++round)
          failed += !add_one(i % 2 == 0 ? store : *other).ok();
      });
    }
    threads.clear();
    CHECK(failed == 0);
    CHECK(TripsOf(store, "a") == 40);
    const Status refused = store.Update({}, read, [](const OnlineValues&) -> Result<OnlineRows> {
      return Error(ErrorKind::kUser, "no");
    });
    CHECK_ERROR(refused, ErrorKind::kUser, "no");
    CHECK_OK(add_one(store));
    CHECK(TripsOf(store, "a") == 41);
  }
  SUBCASE("writers take turns, readers see whole commits") {
    CHECK_OK(store.Prepare({}, {{stats}}));
    WriteRows(store, stats, {{"a", 0, 0}, {"b", 0, 0}}, R"([[0, ""], [0, ""]])");
    const auto other = open();
    std::atomic<bool> done = false;
    std::atomic<int> torn = 0;
    std::atomic<int> failed = 0;
    const auto write = [&](OnlineStore& own, int64_t first) {
      for (int64_t time = first; time < 40; time += 2) {
        auto writer = own.BeginWrite({}, stats);
        const std::string value = Concat("[[", time, ", \"\"]]");
        Status status = writer.status();
        if (status.ok()) status = (*writer)->Write({}, Rows(stats, {{"a", time, 0}}, value).view());
        if (status.ok()) status = (*writer)->Write({}, Rows(stats, {{"b", time, 0}}, value).view());
        if (status.ok()) status = (*writer)->Commit({});
        failed += !status.ok();
      }
    };
    const auto watch = [&](OnlineStore& own) {
      const OnlineRead read = AllOf(stats, {"a", "b"});
      while (!done) {
        const auto values = own.Read({}, {&read, 1});
        failed += !values.ok();
        torn += values.ok() && values->front().event_times[0] != values->front().event_times[1];
      }
    };
    {
      std::jthread reader([&] { watch(store); });
      std::jthread far_reader([&] { watch(*other); });
      {
        std::jthread first([&] { write(store, 1); });
        std::jthread second([&] { write(store, 2); });
        std::jthread third([&] { write(*other, 2); });
      }
      done = true;
    }
    CHECK(failed == 0);
    CHECK((torn == 0 || !traits.commits_at_once));
    CHECK(TripsOf(store, "b") == 39);
  }
  SUBCASE("readers never see half a row, however many are written at once") {
    CHECK_OK(store.Prepare({}, {{stats}}));
    std::vector<std::string> keys;
    for (int i = 0; i < 300; ++i) keys.push_back(Concat("k", i));
    std::atomic<bool> done = false;
    std::atomic<int> halves = 0;
    std::atomic<int> failed = 0;
    const auto watch = [&] {
      const OnlineRead read = AllOf(stats, {keys.begin(), keys.end()});
      while (!done) {
        const auto values = store.Read({}, {&read, 1});
        failed += !values.ok();
        for (int64_t row = 0; values.ok() && row < std::ssize(keys); ++row) {
          if (!values->front().found[static_cast<size_t>(row)]) continue;
          const auto& columns = values->front().columns;
          const auto& trips = static_cast<const arrow::Int64Array&>(*columns[0]);
          const auto& names = static_cast<const arrow::StringArray&>(*columns[1]);
          const bool whole = trips.IsValid(row) && names.IsValid(row) &&
                             Concat(trips.Value(row)) == names.GetView(row);
          halves += !whole;
        }
      }
    };
    {
      const std::jthread reader(watch);
      for (int64_t time = 1; time <= 8; ++time) {
        std::vector<Row> rows;
        std::string values;
        for (const std::string& key : keys) {
          rows.push_back({key, time, 0});
          values += Concat(values.empty() ? "[" : ", ", "[", time, ", \"", time, "\"]");
        }
        WriteRows(store, stats, rows, values + "]");
      }
      done = true;
    }
    CHECK(failed == 0);
    CHECK(halves == 0);
  }
}

}  // namespace gnomon::feature
