// What every online store must do when tables are made, changed and dropped.

#include <arrow/array.h>
#include <arrow/table.h>
#include <arrow/type.h>
#include <doctest/doctest.h>

#include "base/text.h"
#include "feature/online/online_rows_test.h"

namespace gnomon::feature {
namespace {

using arrow::int64;
using suite::AllOf;
using suite::ReadRows;
using suite::TripsOf;
using suite::TripsTable;
using suite::WriteRows;
using test::ValueOf;

}  // namespace

void CheckOnlineStoreTables(OnlineStore& store, const OpenStore& open,
                            const OnlineStoreTraits& traits) {
  const OnlineTable stats = TripsTable();
  SUBCASE("a table that was never prepared is not found, whatever is asked") {
    CHECK_OK(store.Prepare({}, {{stats}}));
    const OnlineTable other = TripsTable("other");
    const OnlineRead read = AllOf(other, {"a"});
    CHECK_ERROR(store.Read({}, {&read, 1}), ErrorKind::kNotFound, "run: gnomon apply");
    CHECK_ERROR(store.BeginWrite({}, other), ErrorKind::kNotFound, "'other'");
    CHECK_ERROR(store.CountRows({}, other), ErrorKind::kNotFound, "'p'");
    CHECK_ERROR(store.Update({}, read, [](const OnlineValues&) { return OnlineRows{}; }),
                ErrorKind::kNotFound, "apply");
    CHECK_OK(store.Prepare({}, {{other}}));
    CHECK(ReadRows(store, other, {"a"}).found[0] == false);
  }
  SUBCASE("names that differ little are different tables, or refused") {
    const std::vector<OnlineTable> tables = {TripsTable("b_c", "a"), TripsTable("c", "a_b"),
                                             TripsTable("C", "a_b"), TripsTable("x\"y", "a")};
    if (!traits.distinct_tables) {
      CHECK_ERROR(store.Prepare({}, tables), ErrorKind::kConflict,
                  "would share Feast's table a_b_c");
      return;
    }
    CHECK_OK(store.Prepare({}, tables));
    CHECK_OK(store.Prepare({}, tables));
    for (size_t i = 0; i < tables.size(); ++i) {
      WriteRows(store, tables[i], {{"k", 1, 1}}, Concat("[[", i, ", \"\"]]"));
    }
    for (size_t i = 0; i < tables.size(); ++i) {
      CHECK_VALUES(tables[i], ReadRows(store, tables[i], {"k"}), Concat("[[", i, ", \"\"]]"));
    }
  }
  SUBCASE("a changed schema keeps its rows: fields match by name and type") {
    CHECK_OK(store.Prepare({}, {{stats}}));
    WriteRows(store, stats, {{"a", 1, 1}, {"b", 1, 1}}, R"([[1, "x"], [2, "y"]])");
    const OnlineTable changed{.project = "p",
                              .view = "stats",
                              .schema = arrow::schema({{"name", arrow::utf8()},
                                                       {"trips", arrow::float64()},
                                                       {"fresh", arrow::list(int64())}})};
    CHECK_OK(store.Prepare({}, {{changed}}));
    CHECK_VALUES(changed, ReadRows(store, changed, {"a", "b"}),
                 R"([["x", null, null], ["y", null, null]])");
    WriteRows(store, changed, {{"b", 2, 1}}, R"([["z", 0.5, [1]]])");
    CHECK_VALUES(changed, ReadRows(store, changed, {"a", "b"}),
                 R"([["x", null, null], ["z", 0.5, [1]]])");
    CHECK_VALUES(stats, ReadRows(store, stats, {"b", "a"}), R"([[null, "z"], [1, "x"]])");
  }
  SUBCASE("dropping keeps the named views and other projects") {
    const OnlineTable gone = TripsTable("gone");
    const OnlineTable foreign = TripsTable("gone", "q");
    CHECK_OK(store.Prepare({}, {{stats, gone, foreign}}));
    CHECK(ReadRows(store, gone, {"a"}).found.size() == 1);
    CHECK_OK(store.DropExcept({}, "p", {{std::string("stats")}}));
    const OnlineRead read = AllOf(gone, {"a"});
    CHECK_ERROR(store.Read({}, {&read, 1}), ErrorKind::kNotFound, "'gone'");
    CHECK(ReadRows(store, stats, {"a"}).found.size() == 1);
    CHECK(ReadRows(store, foreign, {"a"}).found.size() == 1);
    CHECK_OK(store.Prepare({}, {{gone}}));
    CHECK(ReadRows(store, gone, {"a"}).found[0] == false);
  }
  SUBCASE("another store object may drop and make a table again") {
    CHECK_OK(store.Prepare({}, {{stats}}));
    WriteRows(store, stats, {{"a", 9, 1}}, R"([[1, ""]])");
    CHECK(TripsOf(store, "a") == 1);
    const auto other = open();
    CHECK_OK(other->DropExcept({}, "p", {}));
    CHECK_OK(other->Prepare({}, {{stats}}));
    CHECK(TripsOf(store, "a") == -1);
    WriteRows(*other, stats, {{"a", 1, 1}}, R"([[5, ""]])");
    CHECK(TripsOf(store, "a") == 5);
    const OnlineRead read = AllOf(stats, {"a"});
    CHECK_OK(store.Update({}, read, [](const OnlineValues& values) {
      CHECK(values.found[0]);
      return OnlineRows{};
    }));
  }
  SUBCASE("teardown removes the project, and only that") {
    const OnlineTable foreign = TripsTable("stats", "q");
    CHECK_OK(store.Teardown({}, "p"));
    CHECK_OK(store.Prepare({}, {{stats, foreign}}));
    CHECK_OK(store.Teardown({}, "p"));
    CHECK_ERROR(store.CountRows({}, stats), ErrorKind::kNotFound, "apply");
    CHECK(ValueOf(store.CountRows({}, foreign)) == 0);
    CHECK_OK(store.Teardown({}, "q"));
    CHECK_ERROR(store.CountRows({}, foreign), ErrorKind::kNotFound, "apply");
    CHECK_OK(store.Prepare({}, {{stats}}));
    WriteRows(store, stats, {{"a", 1, 1}}, R"([[1, ""]])");
    CHECK(TripsOf(store, "a") == 1);
  }
}

}  // namespace gnomon::feature
