#include "feature/online/online_store.h"

#include <map>
#include <mutex>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <arrow/type.h>
#include <doctest/doctest.h>

#include "base/text.h"
#include "base/time.h"
#include "feature/online/entity_key.h"
#include "feature/online/online_rows_test.h"
#include "tests/support/status.h"
#include "tests/support/table.h"
#include "tests/support/temporary.h"

namespace gnomon::feature {
namespace {

using arrow::int64;
using suite::AllOf;
using suite::kNoCreated;
using suite::kTrips;
using suite::ReadRows;
using suite::Rows;
using suite::Seconds;
using suite::TripsOf;
using suite::TripsTable;
using suite::WriteRows;
using test::TableOfSchema;
using test::ValueOf;

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
  CheckOnlineStoreTables(*store, open, traits);
  CheckOnlineStoreThreads(*store, open, traits);
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
