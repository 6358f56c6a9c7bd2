#include "dataset/plan.h"

#include <arrow/table.h>
#include <arrow/type.h>

#include "tests/support/status.h"
#include "tests/support/table.h"

namespace gnomon::dataset {

namespace {

using test::TableOf;
using test::ValueOf;

Plan Sales() {
  return ValueOf(MakeNode(TableSpec{TableOf({{"store", arrow::int64()},
                                             {"dept", arrow::int32()},
                                             {"sales", arrow::float64()},
                                             {"note", arrow::utf8()}},
                                            R"([[1, 2, 3.5, "a"], [2, 2, null, "b"]])")}));
}

Plan Stores() {
  return ValueOf(MakeNode(
      TableSpec{TableOf({{"store", arrow::int32()}, {"note", arrow::utf8()}}, R"([[1, "x"]])")}));
}

std::string SchemaOf(const Plan& plan) { return plan->schema()->ToString(); }

TEST_CASE("a node knows its schema when it is made") {
  const Plan derived = ValueOf(
      MakeNode(DeriveSpec{{{"half", "sales / 2"}, {"dept", "cast(dept as string)"}}}, {Sales()}));
  CHECK(SchemaOf(derived) ==
        "store: int64\ndept: string\nsales: double\nnote: string\nhalf: double");
  const Plan joined = ValueOf(MakeNode(
      JoinSpec{.type = JoinType::kLeft, .left_keys = {"store"}, .right_suffix = "_of_store"},
      {Sales(), Stores()}));
  CHECK(SchemaOf(joined) ==
        "store: int64\ndept: int32\nsales: double\nnote: string\nnote_of_store: string");
  const Plan grouped =
      ValueOf(MakeNode(AggregateSpec{.keys = {"dept"},
                                     .items = {{pit::AggregateFunction::kCount},
                                               {pit::AggregateFunction::kMean, "sales"}}},
                       {Sales()}));
  CHECK(SchemaOf(grouped) == "dept: int32\ncount: int64 not null\nsales_mean: double");
}

TEST_CASE("a wrong column is refused with the nearest one") {
  CHECK_ERROR(MakeNode(FilterSpec{"slaes > 1"}, {Sales()}), ErrorKind::kUser, "sales");
  CHECK_ERROR(MakeNode(SortSpec{.keys = {{.column = "stroe"}}}, {Sales()}), ErrorKind::kUser,
              "did you mean 'store'?");
  CHECK_ERROR(MakeNode(AggregateSpec{.keys = {"dep"}}, {Sales()}), ErrorKind::kUser,
              "did you mean 'dept'?");
}

TEST_CASE("what a node cannot do is refused when it is made") {
  CHECK_ERROR(MakeNode(FilterSpec{"sales + 1"}, {Sales()}), ErrorKind::kUser, "true or false");
  CHECK_ERROR(MakeNode(JoinSpec{.left_keys = {"store"}}, {Sales(), Stores()}), ErrorKind::kUser,
              "set right_suffix");
  CHECK_ERROR(
      MakeNode(JoinSpec{.left_keys = {"sales"}, .right_keys = {"store"}}, {Sales(), Stores()}),
      ErrorKind::kUser, "cannot be a key");
  CHECK_ERROR(
      MakeNode(JoinSpec{.left_keys = {"note"}, .right_keys = {"store"}}, {Sales(), Stores()}),
      ErrorKind::kUser, "cannot be compared");
  CHECK_ERROR(MakeNode(AggregateSpec{.keys = {}, .items = {{pit::AggregateFunction::kSum, "note"}}},
                       {Sales()}),
              ErrorKind::kUser, "sum does not take values of type string");
  CHECK_ERROR(MakeNode(UnionSpec{}, {Sales(), Stores()}), ErrorKind::kUser, "other columns");
  CHECK_ERROR(MakeNode(LimitSpec{-1}, {Sales()}), ErrorKind::kUser, "negative");
  CHECK_ERROR(MakeNode(LimitSpec{1}), ErrorKind::kUser, "expected 1 inputs");
  CHECK_ERROR(MakeNode(SampleSpec{.fraction = 1.5}, {Sales()}), ErrorKind::kUser, "[0, 1]");
  CHECK_ERROR(MakeNode(RangeSpec{0, 10, 0}), ErrorKind::kUser, "not positive");
  CHECK_ERROR(MakeNode(ProjectSpec{{{"a", "dept"}, {"a", "store"}}}, {Sales()}), ErrorKind::kUser,
              "same name");
}

TEST_CASE("a union widens integers") {
  const Plan narrow =
      ValueOf(MakeNode(ProjectSpec{{{"store", "store"}, {"note", "note"}}}, {Sales()}));
  CHECK(SchemaOf(ValueOf(MakeNode(UnionSpec{}, {Stores(), narrow}))) ==
        "store: int64\nnote: string");
}

std::vector<Plan> EveryNode() {
  ScanSpec scan{.file_schema =
                    arrow::schema({arrow::field("ts", arrow::timestamp(arrow::TimeUnit::MICRO)),
                                   arrow::field("old", arrow::utf8())})};
  scan.files = {
      {"b/day=1/x.parquet", table::FileFormat::kParquet, 10, 20, {"1"}},
      {"b/day=__HIVE_DEFAULT_PARTITION__/y.csv", table::FileFormat::kCsv, -1, -1, {std::nullopt}}};
  scan.files[0].part = 2;
  scan.files[0].num_parts = 3;
  scan.declared = true;
  scan.field_mapping = {{"old", "new"}};
  scan.partition_schema = arrow::schema({arrow::field("day", arrow::int64())});
  scan.columns = {"day", "new"};
  scan.predicates = {"ts > timestamp '2024-01-01'"};
  scan.limit = 7;
  const Plan sales = Sales();
  std::vector<Plan> plans = {sales, ValueOf(MakeNode(scan)),
                             ValueOf(MakeNode(RangeSpec{-3, 9, 2, "n"}))};
  const auto add = [&](NodeSpec spec, std::vector<Plan> inputs) {
    plans.push_back(ValueOf(MakeNode(std::move(spec), std::move(inputs))));
  };
  add(InputSpec{"left", sales->schema()}, {});
  add(ProjectSpec{{{"x y", "sales * 2"}}}, {sales});
  add(FilterSpec{"sales > 1"}, {sales});
  add(DeriveSpec{{{"twice", "sales * 2"}}}, {sales});
  add(MapBatchesSpec{"f", std::string("\0\xff", 2), 10, true, sales->schema()}, {sales});
  add(JoinSpec{JoinType::kFull, {"store"}, {"store"}, "_r"}, {sales, Stores()});
  add(AggregateSpec{{"dept"}, {{pit::AggregateFunction::kStd, "sales", "s", 0}}}, {sales});
  add(SortSpec{{{"sales", true, true}, {"store"}}, 3}, {sales});
  add(RepartitionSpec{4, {"store"}}, {sales});
  add(UnionSpec{}, {sales, sales});
  add(LimitSpec{5, 2}, {sales});
  add(SampleSpec{0.25, 42, 7}, {sales});
  add(WriteSpec{"out", table::FileFormat::kCsv, {"dept"}, "none", 100, 20, 3}, {sales});
  const auto at = arrow::field("at", arrow::timestamp(arrow::TimeUnit::MILLI));
  const Plan labels = ValueOf(
      MakeNode(InputSpec{"labels", arrow::schema({arrow::field("id", arrow::int64()), at})}));
  const Plan events = ValueOf(MakeNode(InputSpec{
      "events", arrow::schema({arrow::field("key", arrow::int32()), at->WithName("ts"),
                               at->WithName("made"), arrow::field("v", arrow::int32())})}));
  const TimeMatch match{.left_keys = {"id"},
                        .right_keys = {"key"},
                        .left_time = "at",
                        .right_time = "ts",
                        .created = "made",
                        .filter_by_created = true,
                        .created_before = -5};
  add(LatestSpec{{"key"}, "ts", "made", -7, 9, {}}, {events});
  add(TimeRangeSpec{"ts", -7, 9, "made", -1, "instant", arrow::TimeUnit::NANO}, {events});
  add(AsOfJoinSpec{match, 7'000'000, {{"v", "v"}, {"v", "real", arrow::float64()}}},
      {labels, events});
  WindowAggregateSpec windows{.match = match};
  windows.items = {{.function = pit::AggregateFunction::kLastK, .column = "v", .k = 3},
                   {.function = pit::AggregateFunction::kQuantile,
                    .column = "v",
                    .name = "q",
                    .window = 60'000'000,
                    .quantile = 0.25,
                    .input_type = arrow::int64(),
                    .type = arrow::float64()}};
  add(windows, {labels, events});
  return plans;
}

TEST_CASE("a plan survives its bytes") {
  const auto plans = EveryNode();
  // External nodes, which need their source or sink, are in external_test.cc and
  // external_write_test.cc.
  CHECK(plans.size() + 2 == std::variant_size_v<NodeSpec>);
  for (const Plan& plan : plans) {
    CAPTURE(plan->Describe());
    const std::string bytes = ValueOf(SerializePlan(plan));
    const Plan back = ValueOf(ParsePlan(bytes));
    CHECK(FormatPlan(back) == FormatPlan(plan));
    CHECK(back->schema()->Equals(*plan->schema()));
    CHECK(ValueOf(SerializePlan(back)) == bytes);
  }
}

TEST_CASE("a shared part of a plan is written once") {
  Plan plan = ValueOf(MakeNode(RangeSpec{0, 10}));
  for (int i = 0; i < 40; ++i) plan = ValueOf(MakeNode(UnionSpec{}, {plan, plan}));
  const Plan back = ValueOf(ParsePlan(ValueOf(SerializePlan(plan))));
  CHECK(back->inputs()[0] == back->inputs()[1]);
}

TEST_CASE("broken bytes are no plan") {
  const std::string bytes = ValueOf(SerializePlan(EveryNode().back()));
  CHECK_ERROR(ParsePlan(""), ErrorKind::kDataLoss, "not a plan");
  CHECK_ERROR(ParsePlan("\x08\x02"), ErrorKind::kUnsupported, "newer");
  for (size_t length = 0; length < bytes.size(); ++length)
    CHECK(!ParsePlan(bytes.substr(0, length)).ok());
}

TEST_CASE("bytes that were changed give an error or a plan, never a crash") {
  uint64_t random = 1;
  const auto next = [&random](uint64_t below) {
    random = random * 6364136223846793005U + 1442695040888963407U;
    return (random >> 33) % below;
  };
  int64_t errors = 0;
  for (const Plan& plan : EveryNode()) {
    const std::string bytes = ValueOf(SerializePlan(plan));
    for (int i = 0; i < 200; ++i) {
      std::string changed = bytes;
      for (uint64_t k = next(3); k < 3; ++k)
        changed[next(changed.size())] = static_cast<char>(next(256));
      errors += ParsePlan(changed).ok() ? 0 : 1;
    }
  }
  CHECK(errors > 500);
}

TEST_CASE("a column name becomes an expression whatever its letters are") {
  CHECK(ColumnExpression("a") == "a");
  CHECK(ColumnExpression("a b") == "\"a b\"");
  CHECK(ColumnExpression("and") == "\"and\"");
  CHECK(ColumnExpression("say \"x\"") == "\"say \"\"x\"\"\"");
}

}  // namespace

}  // namespace gnomon::dataset
