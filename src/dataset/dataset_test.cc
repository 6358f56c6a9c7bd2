#include "dataset/dataset.h"

#include <stop_token>

#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <arrow/type.h>

#include "base/files.h"
#include "base/memory.h"
#include "base/text.h"
#include "tests/support/status.h"
#include "tests/support/table.h"
#include "tests/support/temporary.h"

namespace gnomon::dataset {

namespace {

using pit::AggregateFunction;
using test::TableOf;
using test::ValueOf;

Dataset Sales() {
  return Dataset::Of(
      TableOf({{"store", arrow::int32()}, {"dept", arrow::utf8()}, {"sales", arrow::float64()}},
              R"([[2, "food", 5.5], [1, "toys", 1.25], [2, "food", null],
                                 [null, "toys", 2], [1, null, -0.0], [2, "toys", 3]])"));
}

Dataset Stores() {
  return Dataset::Of(
      TableOf({{"id", arrow::int64()}, {"city", arrow::utf8()}},
              R"([[3, "Rome"], [1, "Oslo"], [2, "Bonn"], [1, "Omsk"], [null, "?"]])"));
}

TEST_CASE("a filter keeps rows that are true, a projection evaluates") {
  CHECK_TABLE_EQ(
      Sales().Filter("sales > 1").Project({{"half", "sales / 2"}, {"dept", "dept"}}).Collect({}),
      TableOf({{"half", arrow::float64()}, {"dept", arrow::utf8()}},
              R"([[2.75, "food"], [0.625, "toys"], [1, "toys"], [1.5, "toys"]])"));
}

TEST_CASE("a column under another name keeps its type, also a time in seconds") {
  const auto seconds = arrow::timestamp(arrow::TimeUnit::SECOND);
  CHECK_TABLE_EQ(Dataset::Of(test::TableOf({{"at", seconds}}, "[[7], [null]]"))
                     .Project({{"then", "at"}})
                     .Collect({}),
                 TableOf({{"then", seconds}}, "[[7], [null]]"));
}

TEST_CASE("joins give matches in order of the left row, then the right row") {
  const auto join = [](JoinType type) {
    return Sales()
        .Select({"store", "sales"})
        .Join(Stores(), {.type = type, .left_keys = {"store"}, .right_keys = {"id"}});
  };
  const std::vector<test::Column> left = {{"store", arrow::int32()}, {"sales", arrow::float64()}};
  std::vector<test::Column> both = left;
  both.push_back({"city", arrow::utf8()});
  CHECK_TABLE_EQ(join(JoinType::kInner).Collect({}),
                 TableOf(both, R"([[2, 5.5, "Bonn"], [1, 1.25, "Oslo"], [1, 1.25, "Omsk"],
                                   [2, null, "Bonn"], [1, -0.0, "Oslo"], [1, -0.0, "Omsk"],
                                   [2, 3, "Bonn"]])"));
  CHECK_TABLE_EQ(join(JoinType::kLeft).Filter("city is null").Collect({}),
                 TableOf(both, "[[null, 2, null]]"));
  CHECK_TABLE_EQ(join(JoinType::kSemi).Collect({}),
                 TableOf(left, "[[2, 5.5], [1, 1.25], [2, null], [1, -0.0], [2, 3]]"));
  CHECK_TABLE_EQ(join(JoinType::kAnti).Collect({}), TableOf(left, "[[null, 2]]"));
  both[0].type = arrow::int64();
  CHECK_TABLE_EQ(join(JoinType::kFull).Filter("sales is null or sales = 2").Collect({}),
                 TableOf(both, R"([[2, null, "Bonn"], [null, 2, null], [3, null, "Rome"],
                                   [null, null, "?"]])"));
}

TEST_CASE("groups come in the order of their first rows, and null is a key") {
  CHECK_TABLE_EQ(Sales()
                     .Aggregate({"store"}, {{AggregateFunction::kCount},
                                            {AggregateFunction::kSum, "sales"},
                                            {AggregateFunction::kMin, "sales", "least"},
                                            {AggregateFunction::kLast, "dept"},
                                            {AggregateFunction::kCountDistinct, "dept", "depts"}})
                     .Collect({}),
                 TableOf({{"store", arrow::int32()},
                          {"count", arrow::int64(), false},
                          {"sales_sum", arrow::float64()},
                          {"least", arrow::float64()},
                          {"dept_last", arrow::utf8()},
                          {"depts", arrow::int64(), false}},
                         R"([[2, 3, 8.5, 3, "toys", 2], [1, 2, 1.25, 0, "toys", 1],
                             [null, 1, 2, 2, "toys", 1]])"));
}

TEST_CASE("an aggregate of no rows has one row without keys and none with keys") {
  const Dataset none = Sales().Filter("false");
  CHECK_TABLE_EQ(
      none.Aggregate({}, {{AggregateFunction::kCount}, {AggregateFunction::kMax, "dept"}})
          .Collect({}),
      TableOf({{"count", arrow::int64(), false}, {"dept_max", arrow::utf8()}}, "[[0, null]]"));
  CHECK(ValueOf(none.Aggregate({"dept"}, {}).Collect({}))->num_rows() == 0);
}

TEST_CASE("a sum of integers beyond int64 is an error, not a wrong number") {
  const auto big =
      Dataset::Of(TableOf({{"x", arrow::int64()}}, "[[9223372036854775807], [1], [-5]]"));
  CHECK_TABLE_EQ(big.Aggregate({}, {{AggregateFunction::kSum, "x"}}).Collect({}),
                 TableOf({{"x_sum", arrow::int64()}}, "[[9223372036854775803]]"));
  CHECK_ERROR(big.Limit(2).Aggregate({}, {{AggregateFunction::kSum, "x"}}).Collect({}),
              ErrorKind::kUser, "beyond what int64 holds");
}

TEST_CASE("a sort is total: by keys, then by position") {
  CHECK_TABLE_EQ(Sales()
                     .Sort({{.column = "store", .descending = true, .nulls_first = true}})
                     .Select({"store", "sales"})
                     .Collect({}),
                 TableOf({{"store", arrow::int32()}, {"sales", arrow::float64()}},
                         "[[null, 2], [2, 5.5], [2, null], [2, 3], [1, 1.25], [1, -0.0]]"));
}

TEST_CASE("sort, group and distinct take every type that has an order") {
  const auto nested = TableOf(
      {{"l", arrow::list(arrow::int64())},
       {"s", arrow::struct_({arrow::field("a", arrow::int64()), arrow::field("b", arrow::utf8())})},
       {"d", arrow::decimal128(9, 2)},
       {"c", arrow::dictionary(arrow::int8(), arrow::utf8())},
       {"t", arrow::timestamp(arrow::TimeUnit::SECOND)}},
      R"([[[1, 2], [2, "x"], "1.50", "b", 5], [[1], [1, "y"], "-3.00", "a", -7],
          [[1, null], null, null, null, null], [[], [1, null], "0.10", "c", 0]])");
  for (const std::string key : {"l", "s", "d", "c", "t"}) {
    CAPTURE(key);
    const Dataset doubled = Dataset::Of(nested).Union(Dataset::Of(nested));
    const auto sorted = ValueOf(Dataset::Of(nested).Sort({{.column = key}}).Collect({}));
    // Distinct rows of the doubled table, sorted, are those of the table.
    CHECK_TABLE_EQ(doubled.Sort({{.column = key}})
                       .Aggregate({key}, {{AggregateFunction::kFirst, "l", "first"},
                                          {AggregateFunction::kCount}})
                       .Select({key})
                       .Collect({}),
                   ValueOf(sorted->SelectColumns({sorted->schema()->GetFieldIndex(key)})));
  }
  const auto by_list = Dataset::Of(nested).Sort({{.column = "l"}}).Select({"l"});
  CHECK_TABLE_EQ(by_list.Collect({}), TableOf({{"l", arrow::list(arrow::int64())}},
                                              "[[[]], [[1]], [[1, 2]], [[1, null]]]"));
  const auto by_decimal = Dataset::Of(nested).Sort({{.column = "d", .descending = true}});
  CHECK_TABLE_EQ(
      by_decimal.Select({"d"}).Collect({}),
      TableOf({{"d", arrow::decimal128(9, 2)}}, R"([["1.50"], ["0.10"], ["-3.00"], [null]])"));
}

TEST_CASE("a range, a union and a sample") {
  CHECK_TABLE_EQ(Dataset::Range(-2, 5, 3).Union(Dataset::Range(7, 8)).Collect({}),
                 TableOf({{"id", arrow::int64(), false}}, "[[-2], [1], [4], [7]]"));
  const Dataset range = Dataset::Range(0, 10'000);
  const auto sample = ValueOf(range.Sample(0.3, 7).Collect({}));
  CHECK(sample->num_rows() > 2800);
  CHECK(sample->num_rows() < 3200);
  CHECK_TABLE_EQ(range.Sample(0.3, 7).Collect({}, {.batch_rows = 13}), sample);
  CHECK(!ValueOf(range.Sample(0.3, 8).Collect({}))->Equals(*sample));
  CHECK(ValueOf(range.Sample(1).Collect({}))->num_rows() == 10'000);
  CHECK(ValueOf(range.Sample(0).Collect({}))->num_rows() == 0);
}

TEST_CASE("repartition puts equal keys into one partition and deals rows out without keys") {
  CHECK_TABLE_EQ(Dataset::Range(0, 7).Repartition(3).Collect({}),
                 TableOf({{"id", arrow::int64(), false}}, "[[0], [3], [6], [1], [4], [2], [5]]"));
}

TEST_CASE("the first wrong step is reported at the end") {
  const Dataset wrong = Sales().Filter("slaes > 1").Limit(3).Sort({{.column = "store"}});
  CHECK_ERROR(wrong.Collect({}), ErrorKind::kUser, "sales");
  CHECK_ERROR(Stores().Union(wrong).plan(), ErrorKind::kUser, "sales");
}

TEST_CASE("rows before one that fails come out, whatever the batch size") {
  const Dataset failing = Dataset::Range(0, 100).Project({{"x", "10 // (20 - id)"}});
  for (const int64_t batch_rows : {1, 7, 1000}) {
    CAPTURE(batch_rows);
    const auto stream = ValueOf(failing.Stream({}, {.batch_rows = batch_rows}));
    int64_t rows = 0;
    Status status;
    while (status.ok()) {
      const auto batch = stream->Next();
      status = batch.status();
      if (status.ok()) rows += (*batch)->num_rows();
    }
    CHECK(rows == 20);
    CHECK_ERROR(status, ErrorKind::kUser, "zero");
  }
}

TEST_CASE("a predicate that may fail is not asked about rows that it never saw") {
  const Dataset left =
      Dataset::Of(TableOf({{"k", arrow::int64()}, {"a", arrow::int64()}}, "[[1, 0], [2, 5]]"));
  const Dataset right = Dataset::Of(
      TableOf({{"k", arrow::int64()}, {"b", arrow::int64()}}, "[[1, 0], [2, 3], [3, 0]]"));
  const Dataset joined =
      left.Join(right, {.left_keys = {"k"}}).Filter("a != 0 and 10 // b > 1 and b < 9");
  CHECK_TABLE_EQ(joined.Collect({}),
                 TableOf({{"k", arrow::int64()}, {"a", arrow::int64()}, {"b", arrow::int64()}},
                         "[[2, 5, 3]]"));
  const std::string text = ValueOf(joined.Explain({}));
  CAPTURE(text);
  // What cannot fail went to its side.
  CHECK(text.find("    filter: a != 0\n") != std::string::npos);
  CHECK(text.find("    filter: b < 9\n") != std::string::npos);
  CHECK(text.find("  filter: 10 // b > 1\n") != std::string::npos);
}

TEST_CASE("a cancelled execution stops at the next batch") {
  std::stop_source source;
  Context context;
  context.stop = source.get_token();
  const auto stream = ValueOf(Dataset::Range(0, 1'000'000).Stream(context, {.batch_rows = 10}));
  CHECK(ValueOf(stream->Next())->num_rows() == 10);
  source.request_stop();
  CHECK_ERROR(stream->Next(), ErrorKind::kCancelled, "");
}

TEST_CASE("explain shows the three plans and stats what each operator did") {
  const Dataset plan =
      Sales().Derive("twice", "sales * 2").Filter("store = 2").Sort({{.column = "sales"}}).Limit(1);
  const std::string text = ValueOf(plan.Explain({}));
  CAPTURE(text);
  for (const char* part : {"logical plan", "optimised plan", "limit into a sort", "physical plan",
                           "filter + derive", "[keeps the first 1 only]", "6 rows in memory"}) {
    CAPTURE(part);
    CHECK(text.find(part) != std::string::npos);
  }
  ExecutionReport report;
  CHECK(ValueOf(plan.Collect({}, {}, &report))->num_rows() == 1);
  CHECK(report.stats[0].name == "limit");
  CHECK(report.stats[1].rows == 1);
  CHECK(report.stats.back().rows == 6);
  CHECK(FormatStats(report.stats).find("table: 6 rows") != std::string::npos);
}

TEST_CASE("a part of a plan runs on batches that are handed over") {
  class Two : public BatchSource {
   public:
    Result<std::shared_ptr<arrow::RecordBatch>> Next() override {
      if (given_++ > 1) return nullptr;
      const auto table = TableOf({{"x", arrow::int64()}}, "[[1], [2]]");
      return arrow::TableBatchReader(*table).Next();
    }

   private:
    int given_ = 0;
  };
  const Plan input =
      ValueOf(MakeNode(InputSpec{"in", arrow::schema({arrow::field("x", arrow::int64())})}));
  ExecutionOptions options;
  options.inputs["in"] = [] { return std::make_unique<Two>(); };
  CHECK_TABLE_EQ(Dataset(input).Filter("x > 1").Collect({}, options),
                 TableOf({{"x", arrow::int64()}}, "[[2], [2]]"));
  CHECK_ERROR(Dataset(input).Collect({}), ErrorKind::kUser, "no input of this name: 'in'");
}

TEST_CASE("functions are checked before anything runs") {
  FunctionRegistry functions;
  const BatchFunction same{
      .output_schema = [](const arrow::Schema& input, std::string_view)
          -> Result<std::shared_ptr<arrow::Schema>> { return arrow::schema(input.fields()); },
      .apply = [](const Context&, const std::shared_ptr<arrow::RecordBatch>& batch,
                  std::string_view parameters) -> Result<std::shared_ptr<arrow::RecordBatch>> {
        if (parameters == "half") return batch->Slice(0, batch->num_rows() / 2);
        return batch;
      },
      .row_wise = true};
  CHECK_OK(functions.Register("same", same));
  CHECK_ERROR(functions.Register("same", same), ErrorKind::kConflict, "'same'");
  CHECK_TABLE_EQ(Sales().MapBatches(functions, "same").Collect({}, {.functions = &functions}),
                 ValueOf(Sales().Collect({})));
  CHECK_ERROR(Sales().MapBatches(functions, "sane").Collect({}), ErrorKind::kNotFound,
              "did you mean 'same'?");
  CHECK_ERROR(Sales().MapBatches(functions, "same").Collect({}), ErrorKind::kNotFound, "registry");
  CHECK_ERROR(Sales().MapBatches(functions, "same", "half").Collect({}, {.functions = &functions}),
              ErrorKind::kUser, "gave 3 rows for 6");
}

TEST_CASE("a spill folder that cannot be used is named with its setting") {
  MemoryBudget memory("test", 1);
  Context context;
  context.memory = &memory;
  const auto folder = test::MakeTemporaryFolder();
  const std::string missing = folder.path() + "/missing";
  const auto sorted = Dataset::Range(0, 10'000).Sort({{.column = "id", .descending = true}});
  const auto failed = sorted.Collect(context, {.batch_rows = 1000, .spill_folder = missing});
  CHECK_ERROR(failed, ErrorKind::kNotFound, missing);
  CHECK_ERROR(failed, ErrorKind::kNotFound, "spill_folder");
  const std::string file = folder.path() + "/file";
  CHECK_OK(WriteFileAtomic(file, "x"));
  CHECK(!sorted.Collect(context, {.batch_rows = 1000, .spill_folder = file}).ok());
  CHECK(memory.used() == 0);
}

TEST_CASE("memory reserved by a plan stays within the limit, and results with it are the same") {
  const Dataset plan =
      Dataset::Range(0, 60'000)
          .Derive("key", "id % 7919")
          .Aggregate({"key"}, {{AggregateFunction::kSum, "id"}, {AggregateFunction::kVar, "id"}})
          .Join(Dataset::Range(0, 9000, 1, "key").Derive("text", "cast(key as string)"),
                {.left_keys = {"key"}})
          .Sort({{.column = "id_sum", .descending = true}});
  const auto expected = ValueOf(plan.Collect({}));
  CHECK(expected->num_rows() == 7919);
  MemoryBudget memory("test", 300'000);
  Context context;
  context.memory = &memory;
  ExecutionReport report;
  CHECK_TABLE_EQ(plan.Collect(context, {.batch_rows = 500}, &report), expected);
  CHECK(memory.peak() <= 300'000);
  for (const OperatorStats& stats : report.stats) {
    if (stats.name != "sort" && stats.name != "join" && stats.name != "aggregate") continue;
    CAPTURE(stats.name);
    CHECK(stats.spilled_bytes > 0);
    CHECK(stats.spill_files > 0);
  }
}

TEST_CASE("many rows of one key are joined although no partition makes them fewer") {
  const Dataset one_key = Dataset::Range(0, 700).Derive("key", "1");
  const Dataset right = Dataset::Range(0, 300, 1, "other").Derive("key", "1");
  for (const JoinType type : {JoinType::kInner, JoinType::kSemi, JoinType::kFull}) {
    CAPTURE(NameOf(type));
    const Dataset plan = one_key.Join(right, {.type = type, .left_keys = {"key"}});
    MemoryBudget memory("test", 1000);
    Context context;
    context.memory = &memory;
    CHECK_TABLE_EQ(plan.Collect(context, {.batch_rows = 64}), ValueOf(plan.Collect({})));
  }
}

}  // namespace

}  // namespace gnomon::dataset
