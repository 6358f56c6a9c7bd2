#include "feature/online/online_store.h"

#include <atomic>
#include <map>
#include <mutex>
#include <thread>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <arrow/type.h>
#include <doctest/doctest.h>

#include "base/text.h"
#include "base/time.h"
#include "feature/online/entity_key.h"
#include "feature/online/online_store_suite_internal.h"
#include "tests/support/status.h"
#include "tests/support/table.h"
#include "tests/support/temporary.h"

namespace gnomon::feature {
namespace {

using arrow::int64;
using test::TableOfSchema;
using test::ValueOf;

constexpr int64_t kNoCreated = INT64_MIN;
const std::shared_ptr<arrow::Schema> kTrips =
    arrow::schema({{"trips", int64()}, {"name", arrow::utf8()}});

OnlineTable TripsTable(std::string view = "stats", std::string project = "p") {
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
    batch_ = ValueOf(TableOfSchema(table.schema, values)->CombineChunksToBatch());
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

void WriteRows(OnlineStore& store, const OnlineTable& table, const std::vector<Row>& rows,
               std::string_view values) {
  auto writer = ValueOf(store.BeginWrite({}, table));
  test::RequireOk(writer->Write({}, Rows(table, rows, values).view()));
  test::RequireOk(writer->Commit({}));
}

OnlineRead AllOf(const OnlineTable& table, std::vector<std::string_view> keys) {
  OnlineRead read{.table = &table, .keys = {}, .fields = {}};
  for (const std::string_view key : keys) read.keys.push_back(SuiteKey(key));
  for (int i = 0; i < table.schema->num_fields(); ++i) read.fields.push_back(i);
  return read;
}

OnlineValues ReadRows(OnlineStore& store, const OnlineTable& table,
                      std::vector<std::string_view> keys) {
  const OnlineRead read = AllOf(table, std::move(keys));
  return std::move(ValueOf(store.Read({}, {&read, 1})).front());
}

/// Values as a table, so that they can be compared with a literal.
std::shared_ptr<arrow::Table> ValuesOf(const OnlineTable& table, const OnlineValues& values) {
  return arrow::Table::Make(table.schema, values.columns,
                            static_cast<int64_t>(values.found.size()));
}

#define CHECK_VALUES(table, values, literal) \
  CHECK_TABLE_EQ(ValuesOf(table, values), TableOfSchema((table).schema, literal))

int64_t TripsOf(OnlineStore& store, std::string_view key) {
  const OnlineTable table = TripsTable();
  const OnlineValues values = ReadRows(store, table, {key});
  return values.found[0] ? static_cast<const arrow::Int64Array&>(*values.columns[0]).Value(0) : -1;
}

std::vector<int64_t> Seconds(std::vector<int64_t> times) {
  for (int64_t& time : times) time *= kMicrosPerSecond;
  return times;
}

}  // namespace

std::string_view SuiteKey(std::string_view name) {
  static std::mutex mutex;
  static std::map<std::string, std::string, std::less<>> keys;
  if (name.empty()) return {};
  const std::lock_guard lock(mutex);
  auto known = keys.find(name);
  if (known == keys.end()) {
    const auto encoder = ValueOf(EntityKeyEncoder::Make({"k"}, {ValueType{ValueType::kString}}));
    arrow::BinaryBuilder builder;
    test::RequireOk(builder.Append(name));
    std::string key;
    CHECK(ValueOf(encoder.Encode({ValueOf(builder.Finish())}, 0, &key)));
    known = keys.emplace(name, std::move(key)).first;
  }
  return known->second;
}

void CheckOnlineStore(const OpenStore& open, const OnlineStoreTraits& traits) {
  const std::unique_ptr<OnlineStore> store = open();
  const OnlineTable stats = TripsTable();

  SUBCASE("rows come back in the order of the asked keys, missing ones as null") {
    CHECK_OK(store->Prepare({}, {{stats}}));
    WriteRows(*store, stats,
              {{"b", 20, 1}, {"a", 10, kNoCreated}, {std::string("\0\xff", 2), 5, 1}},
              R"([[2, "two"], [1, null], [3, ""]])");
    const OnlineValues values = ReadRows(*store, stats, {"a", "x", "b", "a"});
    CHECK(values.found == std::vector<bool>{true, false, true, true});
    CHECK(values.event_times == Seconds({10, 0, 20, 10}));
    CHECK_VALUES(stats, values, R"([[1, null], [null, null], [2, "two"], [1, null]])");
    CHECK(ValueOf(store->CountRows({}, stats)) == 3);
  }
  SUBCASE("only the asked fields are read, in the asked order") {
    CHECK_OK(store->Prepare({}, {{stats}}));
    WriteRows(*store, stats, {{"a", 1, 1}}, R"([[7, "seven"]])");
    const OnlineRead read{.table = &stats, .keys = {SuiteKey("a")}, .fields = {1}};
    const auto values = ValueOf(store->Read({}, {&read, 1}));
    REQUIRE(values[0].columns.size() == 1);
    CHECK(values[0].columns[0]->type()->Equals(*arrow::utf8()));
    const OnlineRead swapped{.table = &stats, .keys = {SuiteKey("a")}, .fields = {1, 0}};
    const auto both = ValueOf(store->Read({}, {&swapped, 1}));
    CHECK(both[0].columns[1]->type()->Equals(*int64()));
    const OnlineRead none{.table = &stats, .keys = {SuiteKey("a")}, .fields = {}};
    CHECK(ValueOf(store->Read({}, {&none, 1}))[0].found[0]);
  }
  SUBCASE("several tables are read in one call") {
    const OnlineTable other = TripsTable("other");
    CHECK_OK(store->Prepare({}, {{stats, other}}));
    WriteRows(*store, stats, {{"a", 1, 1}}, R"([[1, "x"]])");
    WriteRows(*store, other, {{"a", 2, 1}, {"b", 3, 1}}, R"([[2, "y"], [3, "z"]])");
    const std::vector<OnlineRead> reads = {AllOf(stats, {"a", "b"}), AllOf(other, {"b"})};
    const auto values = ValueOf(store->Read({}, reads));
    REQUIRE(values.size() == 2);
    CHECK_VALUES(stats, values[0], R"([[1, "x"], [null, null]])");
    CHECK_VALUES(other, values[1], R"([[3, "z"]])");
    CHECK(ValueOf(store->Read({}, {})).empty());
    CHECK(ReadRows(*store, stats, {}).columns.size() == 2);
  }
  SUBCASE("every type comes back as it was") {
    using namespace arrow;
    const auto time = timestamp(TimeUnit::MICRO, "UTC");
    const OnlineTable all{.project = "p",
                          .view = "types",
                          .schema = schema({{"bool", boolean()},
                                            {"i32", int32()},
                                            {"i64", int64()},
                                            {"f32", float32()},
                                            {"f64", float64()},
                                            {"text", utf8()},
                                            {"bytes", binary()},
                                            {"time", time},
                                            {"bools", list(boolean())},
                                            {"i32s", list(int32())},
                                            {"i64s", list(int64())},
                                            {"f64s", list(float64())},
                                            {"texts", list(utf8())},
                                            {"blobs", list(binary())},
                                            {"times", list(time)}})};
    CHECK_OK(store->Prepare({}, {{all}}));
    const std::string_view rows = R"([
      [true, -2, 9007199254740993, 0.5, -1e300, "é", "raw", 1700000000000000, [true, false], [1, -3], [], [0.1],
       ["", "b"], ["x"], [5000000, null]],
      [false, 0, 0, 0.0, 0.0, "", "", 0, [], [], [0], [], [], [], []],
      [null, null, null, null, null, null, null, null, null, null, null, null, null, null, null]])";
    WriteRows(*store, all, {{"a", 1, 1}, {"z", 1, 1}, {"n", 1, 1}}, rows);
    CHECK_VALUES(all, ReadRows(*store, all, {"a", "z", "n"}), rows);
  }
  SUBCASE("what a layout cannot hold is refused by name, the rest comes back as it was") {
    using namespace arrow;
    const OnlineTable prices{.project = "p",
                             .view = "prices",
                             .schema = schema({{"price", decimal128(9, 2)}, {"i8", int8()}})};
    const OnlineTable precise{
        .project = "p",
        .view = "precise",
        .schema = schema({{"time", timestamp(TimeUnit::MICRO, "UTC")}, {"list", list(int64())}})};
    CHECK_OK(store->Prepare({}, {{precise}}));
    if (traits.feast) {
      CHECK_ERROR(store->Prepare({}, {{prices}}), ErrorKind::kUnsupported,
                  "feature 'price' of view 'prices'");
      auto writer = ValueOf(store->BeginWrite({}, precise));
      CHECK_ERROR(writer->Write({}, Rows(precise, {{"a", 1, 1}}, "[[1, [1, null]]]").view()),
                  ErrorKind::kUser, "null inside a list");
      // Which row it is, is told by its place.
      writer = ValueOf(store->BeginWrite({}, precise));
      const Status failed = writer->Write({}, Rows(precise, {{"c", 1, 1}, {"b", 1, 1}, {"a", 1, 1}},
                                                   "[[1, [1]], [1, [null]], [1, [2]]]")
                                                  .view());
      CHECK(LocationOf(failed).row == 1);
      writer.reset();
      WriteRows(*store, precise, {{"a", 1, 1}}, "[[1999999, [1]]]");
      CHECK_VALUES(precise, ReadRows(*store, precise, {"a"}), "[[1000000, [1]]]");
    } else {
      CHECK_OK(store->Prepare({}, {{prices}}));
      WriteRows(*store, prices, {{"a", 1, 1}}, R"([["1.25", -3]])");
      CHECK_VALUES(prices, ReadRows(*store, prices, {"a"}), R"([["1.25", -3]])");
      WriteRows(*store, precise, {{"a", 1, 1}}, "[[1999999, [1, null]]]");
      CHECK_VALUES(precise, ReadRows(*store, precise, {"a"}), "[[1999999, [1, null]]]");
    }
  }
  SUBCASE("of two times that lie nearer than a tick, in one write the newer wins") {
    CHECK_OK(store->Prepare({}, {{stats}}));
    const int64_t tick = traits.tick;
    const std::vector<int64_t> times = {1000 * tick + 1, 1000 * tick, 1001 * tick};
    const auto batch =
        ValueOf(TableOfSchema(kTrips, R"([[1, ""], [2, ""], [3, ""]])")->CombineChunksToBatch());
    auto writer = ValueOf(store->BeginWrite({}, stats));
    test::RequireOk(
        writer->Write({}, {{SuiteKey("a"), SuiteKey("a"), SuiteKey("b")}, times, times, batch}));
    test::RequireOk(writer->Commit({}));
    CHECK(TripsOf(*store, "a") == 1);
    const OnlineValues read = ReadRows(*store, stats, {"a", "b"});
    CHECK(read.event_times[0] == (1000 * tick + 1) / tick * tick);
    CHECK(read.event_times[1] == 1001 * tick);
  }
  SUBCASE("older rows never replace newer ones") {
    CHECK_OK(store->Prepare({}, {{stats}}));
    WriteRows(*store, stats, {{"a", 10, 5}}, R"([[1, ""]])");
    WriteRows(*store, stats, {{"a", 9, 99}}, R"([[2, ""]])");
    CHECK(TripsOf(*store, "a") == 1);
    if (traits.keeps_created_times) {
      WriteRows(*store, stats, {{"a", 10, 4}}, R"([[3, ""]])");
      CHECK(TripsOf(*store, "a") == 1);
    }
    WriteRows(*store, stats, {{"a", 10, 5}}, R"([[4, ""]])");
    CHECK(TripsOf(*store, "a") == 4);
    WriteRows(*store, stats, {{"a", 10, 6}}, R"([[5, ""]])");
    CHECK(TripsOf(*store, "a") == 5);
    WriteRows(*store, stats, {{"a", 11, kNoCreated}}, R"([[6, ""]])");
    CHECK(TripsOf(*store, "a") == 6);
    WriteRows(*store, stats, {{"a", -7, 0}, {"n", -7, 0}}, R"([[7, ""], [8, ""]])");
    CHECK(TripsOf(*store, "a") == 6);
    CHECK(TripsOf(*store, "n") == 8);
  }
  SUBCASE("of equal keys in one write the newest wins, and the last of equal times") {
    CHECK_OK(store->Prepare({}, {{stats}}));
    WriteRows(*store, stats, {{"a", 2, 1}, {"b", 1, 1}, {"a", 1, 1}, {"b", 1, 1}},
              R"([[1, ""], [2, ""], [3, ""], [4, ""]])");
    CHECK(TripsOf(*store, "a") == 1);
    CHECK(TripsOf(*store, "b") == 4);
  }
  SUBCASE("writing the same again changes nothing") {
    CHECK_OK(store->Prepare({}, {{stats}}));
    for (int round = 0; round < 3; ++round) {
      WriteRows(*store, stats, {{"a", 2, 1}, {"b", 1, 1}}, R"([[1, "x"], [2, null]])");
      CHECK_VALUES(stats, ReadRows(*store, stats, {"a", "b"}), R"([[1, "x"], [2, null]])");
      CHECK(ValueOf(store->CountRows({}, stats)) == 2);
    }
  }
  SUBCASE("readers see the old state until the commit, and all of it afterwards") {
    CHECK_OK(store->Prepare({}, {{stats}}));
    WriteRows(*store, stats, {{"a", 1, 1}}, R"([[1, ""]])");
    auto writer = ValueOf(store->BeginWrite({}, stats));
    CHECK_OK(writer->Write({}, Rows(stats, {{"a", 2, 1}}, R"([[2, ""]])").view()));
    CHECK_OK(writer->Write({}, Rows(stats, {{"b", 2, 1}}, R"([[2, ""]])").view()));
    CHECK(TripsOf(*store, "a") == 1);
    CHECK(TripsOf(*store, "b") == -1);
    CHECK(TripsOf(*open(), "a") == 1);
    CHECK_OK(writer->Commit({}));
    CHECK(TripsOf(*store, "a") == 2);
    CHECK(TripsOf(*open(), "b") == 2);
  }
  SUBCASE("a write without commit leaves nothing") {
    CHECK_OK(store->Prepare({}, {{stats}}));
    {
      auto writer = ValueOf(store->BeginWrite({}, stats));
      CHECK_OK(writer->Write({}, Rows(stats, {{"a", 2, 1}}, R"([[2, ""]])").view()));
    }
    CHECK(TripsOf(*store, "a") == -1);
    WriteRows(*store, stats, {{"a", 1, 1}}, R"([[1, ""]])");
    CHECK(TripsOf(*store, "a") == 1);
  }
  SUBCASE("a write ends with its commit") {
    CHECK_OK(store->Prepare({}, {{stats}}));
    auto writer = ValueOf(store->BeginWrite({}, stats));
    CHECK_OK(writer->Commit({}));
    CHECK_ERROR(writer->Commit({}), ErrorKind::kInternal, "has ended");
    CHECK_ERROR(writer->Write({}, Rows(stats, {{"a", 2, 1}}, R"([[2, ""]])").view()),
                ErrorKind::kInternal, "ended");
  }
  SUBCASE("a table that was never prepared is not found, whatever is asked") {
    CHECK_OK(store->Prepare({}, {{stats}}));
    const OnlineTable other = TripsTable("other");
    const OnlineRead read = AllOf(other, {"a"});
    CHECK_ERROR(store->Read({}, {&read, 1}), ErrorKind::kNotFound, "run: gnomon apply");
    CHECK_ERROR(store->BeginWrite({}, other), ErrorKind::kNotFound, "'other'");
    CHECK_ERROR(store->CountRows({}, other), ErrorKind::kNotFound, "'p'");
    CHECK_ERROR(store->Update({}, read, [](const OnlineValues&) { return OnlineRows{}; }),
                ErrorKind::kNotFound, "apply");
    CHECK_OK(store->Prepare({}, {{other}}));
    CHECK(ReadRows(*store, other, {"a"}).found[0] == false);
  }
  SUBCASE("names that differ little are different tables, or refused") {
    const std::vector<OnlineTable> tables = {TripsTable("b_c", "a"), TripsTable("c", "a_b"),
                                             TripsTable("C", "a_b"), TripsTable("x\"y", "a")};
    if (!traits.distinct_tables) {
      CHECK_ERROR(store->Prepare({}, tables), ErrorKind::kConflict,
                  "would share Feast's table a_b_c");
      return;
    }
    CHECK_OK(store->Prepare({}, tables));
    CHECK_OK(store->Prepare({}, tables));
    for (size_t i = 0; i < tables.size(); ++i) {
      WriteRows(*store, tables[i], {{"k", 1, 1}}, Concat("[[", i, ", \"\"]]"));
    }
    for (size_t i = 0; i < tables.size(); ++i) {
      CHECK_VALUES(tables[i], ReadRows(*store, tables[i], {"k"}), Concat("[[", i, ", \"\"]]"));
    }
  }
  SUBCASE("a changed schema keeps its rows: fields match by name and type") {
    CHECK_OK(store->Prepare({}, {{stats}}));
    WriteRows(*store, stats, {{"a", 1, 1}, {"b", 1, 1}}, R"([[1, "x"], [2, "y"]])");
    const OnlineTable changed{.project = "p",
                              .view = "stats",
                              .schema = arrow::schema({{"name", arrow::utf8()},
                                                       {"trips", arrow::float64()},
                                                       {"fresh", arrow::list(int64())}})};
    CHECK_OK(store->Prepare({}, {{changed}}));
    CHECK_VALUES(changed, ReadRows(*store, changed, {"a", "b"}),
                 R"([["x", null, null], ["y", null, null]])");
    WriteRows(*store, changed, {{"b", 2, 1}}, R"([["z", 0.5, [1]]])");
    CHECK_VALUES(changed, ReadRows(*store, changed, {"a", "b"}),
                 R"([["x", null, null], ["z", 0.5, [1]]])");
    CHECK_VALUES(stats, ReadRows(*store, stats, {"b", "a"}), R"([[null, "z"], [1, "x"]])");
  }
  SUBCASE("dropping keeps the named views and other projects") {
    const OnlineTable gone = TripsTable("gone");
    const OnlineTable foreign = TripsTable("gone", "q");
    CHECK_OK(store->Prepare({}, {{stats, gone, foreign}}));
    CHECK(ReadRows(*store, gone, {"a"}).found.size() == 1);
    CHECK_OK(store->DropExcept({}, "p", {{std::string("stats")}}));
    const OnlineRead read = AllOf(gone, {"a"});
    CHECK_ERROR(store->Read({}, {&read, 1}), ErrorKind::kNotFound, "'gone'");
    CHECK(ReadRows(*store, stats, {"a"}).found.size() == 1);
    CHECK(ReadRows(*store, foreign, {"a"}).found.size() == 1);
    CHECK_OK(store->Prepare({}, {{gone}}));
    CHECK(ReadRows(*store, gone, {"a"}).found[0] == false);
  }
  SUBCASE("another store object may drop and make a table again") {
    CHECK_OK(store->Prepare({}, {{stats}}));
    WriteRows(*store, stats, {{"a", 9, 1}}, R"([[1, ""]])");
    CHECK(TripsOf(*store, "a") == 1);
    const auto other = open();
    CHECK_OK(other->DropExcept({}, "p", {}));
    CHECK_OK(other->Prepare({}, {{stats}}));
    CHECK(TripsOf(*store, "a") == -1);
    WriteRows(*other, stats, {{"a", 1, 1}}, R"([[5, ""]])");
    CHECK(TripsOf(*store, "a") == 5);
    const OnlineRead read = AllOf(stats, {"a"});
    CHECK_OK(store->Update({}, read, [](const OnlineValues& values) {
      CHECK(values.found[0]);
      return OnlineRows{};
    }));
  }
  SUBCASE("teardown removes the project, and only that") {
    const OnlineTable foreign = TripsTable("stats", "q");
    CHECK_OK(store->Teardown({}, "p"));
    CHECK_OK(store->Prepare({}, {{stats, foreign}}));
    CHECK_OK(store->Teardown({}, "p"));
    CHECK_ERROR(store->CountRows({}, stats), ErrorKind::kNotFound, "apply");
    CHECK(ValueOf(store->CountRows({}, foreign)) == 0);
    CHECK_OK(store->Teardown({}, "q"));
    CHECK_ERROR(store->CountRows({}, foreign), ErrorKind::kNotFound, "apply");
    CHECK_OK(store->Prepare({}, {{stats}}));
    WriteRows(*store, stats, {{"a", 1, 1}}, R"([[1, ""]])");
    CHECK(TripsOf(*store, "a") == 1);
  }
  SUBCASE("an update reads and writes in one transaction, also beside others") {
    CHECK_OK(store->Prepare({}, {{stats}}));
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
          failed += !add_one(i % 2 == 0 ? *store : *other).ok();
      });
    }
    threads.clear();
    CHECK(failed == 0);
    CHECK(TripsOf(*store, "a") == 40);
    const Status refused = store->Update({}, read, [](const OnlineValues&) -> Result<OnlineRows> {
      return Error(ErrorKind::kUser, "no");
    });
    CHECK_ERROR(refused, ErrorKind::kUser, "no");
    CHECK_OK(add_one(*store));
    CHECK(TripsOf(*store, "a") == 41);
  }
  SUBCASE("writers take turns, readers see whole commits") {
    CHECK_OK(store->Prepare({}, {{stats}}));
    WriteRows(*store, stats, {{"a", 0, 0}, {"b", 0, 0}}, R"([[0, ""], [0, ""]])");
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
      std::jthread reader([&] { watch(*store); });
      std::jthread far_reader([&] { watch(*other); });
      {
        std::jthread first([&] { write(*store, 1); });
        std::jthread second([&] { write(*store, 2); });
        std::jthread third([&] { write(*other, 2); });
      }
      done = true;
    }
    CHECK(failed == 0);
    CHECK((torn == 0 || !traits.commits_at_once));
    CHECK(TripsOf(*store, "b") == 39);
  }
  SUBCASE("readers never see half a row, however many are written at once") {
    CHECK_OK(store->Prepare({}, {{stats}}));
    std::vector<std::string> keys;
    for (int i = 0; i < 300; ++i) keys.push_back(Concat("k", i));
    std::atomic<bool> done = false;
    std::atomic<int> halves = 0;
    std::atomic<int> failed = 0;
    const auto watch = [&] {
      const OnlineRead read = AllOf(stats, {keys.begin(), keys.end()});
      while (!done) {
        const auto values = store->Read({}, {&read, 1});
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
        WriteRows(*store, stats, rows, values + "]");
      }
      done = true;
    }
    CHECK(failed == 0);
    CHECK(halves == 0);
  }
  SUBCASE("a cancelled context ends every call") {
    CHECK_OK(store->Prepare({}, {{stats}}));
    std::stop_source source;
    source.request_stop();
    const Context stopped = Context{}.WithStop(source.get_token());
    const OnlineRead read = AllOf(stats, {"a"});
    CHECK_ERROR(store->Read(stopped, {&read, 1}), ErrorKind::kCancelled, "");
    CHECK_ERROR(store->BeginWrite(stopped, stats), ErrorKind::kCancelled, "");
    auto writer = ValueOf(store->BeginWrite({}, stats));
    CHECK_ERROR(writer->Commit(stopped), ErrorKind::kCancelled, "");
  }
}

}  // namespace gnomon::feature
