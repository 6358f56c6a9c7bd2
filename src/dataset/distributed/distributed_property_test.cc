// Random plans give the same rows in the same order in one process and on many virtual nodes with
// faults. A failure prints its seed; GNOMON_TEST_SEED=<seed> runs that plan alone,
// GNOMON_TEST_CASES=<n> more of them.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <random>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <doctest/doctest.h>

#include "base/files.h"
#include "base/text.h"
#include "dataset/dataset.h"
#include "dataset/distributed/distributed.h"
#include "runtime/simulated/simulated_backend.h"
#include "tests/support/status.h"
#include "tests/support/table.h"
#include "tests/support/temporary.h"

namespace gnomon::dataset {
namespace {

using namespace gnomon::test;  // NOLINT
using pit::AggregateFunction;

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  int64_t Int(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(engine_() % static_cast<uint64_t>(high - low + 1));
  }
  bool Chance(double probability) {
    return static_cast<double>(engine_() >> 11) * 0x1p-53 < probability;
  }
  template <typename T>
  T One(const std::vector<T>& of) {
    return of[static_cast<size_t>(Int(0, static_cast<int64_t>(of.size()) - 1))];
  }

 private:
  std::mt19937_64 engine_;
};

std::shared_ptr<arrow::Table> RandomTable(Random& random) {
  arrow::Int64Builder keys;
  arrow::StringBuilder names;
  arrow::DoubleBuilder reals;
  arrow::Int32Builder numbers;
  const auto time = arrow::timestamp(random.One<arrow::TimeUnit::type>(
      {arrow::TimeUnit::SECOND, arrow::TimeUnit::MILLI, arrow::TimeUnit::MICRO}));
  arrow::TimestampBuilder times(time, arrow::default_memory_pool());
  const int64_t num_keys = random.One<int64_t>({1, 5, 40, 200});
  for (int64_t rows = random.One<int64_t>({0, 1, 20, 100, 300}); rows > 0; --rows) {
    RequireOk(random.Chance(0.9) ? keys.Append(random.Int(-num_keys / 2, num_keys))
                                 : keys.AppendNull());
    RequireOk(random.Chance(0.9)
                  ? names.Append(std::string(static_cast<size_t>(random.Int(0, 3)), 'a'))
                  : names.AppendNull());
    double real = static_cast<double>(random.Int(-40, 40)) / 7;
    if (random.Chance(0.05))
      real = random.One<double>({-0.0, 0.0, NAN, INFINITY, -INFINITY, 1e300});
    RequireOk(random.Chance(0.8) ? reals.Append(real) : reals.AppendNull());
    RequireOk(random.Chance(0.9) ? numbers.Append(static_cast<int32_t>(random.Int(-100, 100)))
                                 : numbers.AppendNull());
    RequireOk(random.Chance(0.9) ? times.Append(random.Int(0, 60)) : times.AppendNull());
  }
  return arrow::Table::Make(
      arrow::schema({arrow::field("k", arrow::int64()), arrow::field("name", arrow::utf8()),
                     arrow::field("x", arrow::float64()), arrow::field("n", arrow::int32()),
                     arrow::field("t", time)}),
      {*keys.Finish(), *names.Finish(), *reals.Finish(), *numbers.Finish(), *times.Finish()});
}

// Depends on the rows of its call: not row-wise.
BatchFunction CallRows() {
  return {.output_schema = [](const arrow::Schema& input,
                              std::string_view) -> Result<std::shared_ptr<arrow::Schema>> {
            return input.AddField(input.num_fields(), arrow::field("call_rows", arrow::int64()));
          },
          .apply = [](const Context&, const std::shared_ptr<arrow::RecordBatch>& batch,
                      std::string_view) -> Result<std::shared_ptr<arrow::RecordBatch>> {
            arrow::Int64Builder counts;
            for (int64_t i = 0; i < batch->num_rows(); ++i) {
              GNOMON_RETURN_NOT_OK(counts.Append(batch->num_rows()));
            }
            GNOMON_ASSIGN_OR_RETURN(const auto column, counts.Finish());
            return batch->AddColumn(batch->num_columns(), "call_rows", column);
          }};
}

class PlanMaker {
 public:
  PlanMaker(Random& random, const FunctionRegistry& functions, const std::string& folder)
      : random_(random), functions_(functions), folder_(folder) {}

  Dataset Make() {
    Dataset plan = Source();
    for (int64_t steps = random_.Int(1, 6); steps > 0; --steps) plan = Step(plan);
    return plan;
  }

 private:
  Dataset Source() {
    const int64_t kind = random_.Int(0, 3);
    if (kind == 0) {
      return Dataset::Range(-7, random_.Int(-10, 120), random_.Int(1, 3), "k")
          .Derive({{"name", "case when k % 3 = 0 then 'a' else null end"},
                   {"x", "cast(k as double) / 3"},
                   {"n", "cast(k % 5 as int32)"}});
    }
    if (kind > 1) return Dataset::Of(RandomTable(random_));
    const std::string folder = Concat(folder_, "/", ++counter_);
    for (int64_t file = random_.Int(1, 5); file > 0; --file) {
      RequireOk(Dataset::Of(RandomTable(random_))
                    .WriteTo({}, {.path = Concat(folder, "/", file, ".parquet"),
                                  .row_group_rows = random_.Int(5, 100)})
                    .status());
    }
    return Dataset::Read({}, folder);
  }

  std::vector<std::string> Columns(const Dataset& plan, const std::vector<arrow::Type::type>& of) {
    std::vector<std::string> names;
    for (const auto& field : ValueOf(plan.plan())->schema()->fields()) {
      if (of.empty() || std::ranges::find(of, field->type()->id()) != of.end()) {
        names.push_back(field->name());
      }
    }
    return names;
  }

  Dataset Step(const Dataset& plan) {
    const auto all = Columns(plan, {});
    const auto numbers = Columns(plan, {arrow::Type::INT64, arrow::Type::INT32});
    switch (random_.Int(0, 14)) {
      case 0:
        return numbers.empty()
                   ? plan
                   : plan.Filter(Concat(random_.One(numbers), " > ", random_.Int(-20, 20)));
      case 1:
        return numbers.empty() ? plan
                               : plan.Derive(Concat("d", ++counter_),
                                             Concat("coalesce(", random_.One(numbers), ", 7) + 1"));
      case 2:
      case 3:
        return Join(plan);
      case 12:
      case 13:
      case 14:
        return MatchInTime(plan);
      case 4:
      case 5:
        return Aggregate(plan);
      case 6:
        return Sort(plan);
      case 7:
        return plan.Limit(random_.Int(0, 150), random_.Chance(0.6) ? 0 : random_.Int(0, 40));
      case 8:
        return plan.Repartition(
            static_cast<int>(random_.Int(1, 6)),
            random_.Chance(0.7) ? std::vector{random_.One(all)} : std::vector<std::string>{});
      case 9:
        return plan.Union(random_.Chance(0.5) ? plan : plan.Sample(0.5, 3));
      case 10:
        return plan.Sample(0.8, static_cast<uint64_t>(random_.Int(0, 9)));
      default: {
        if (std::ranges::find(all, "call_rows") != all.end()) return plan.Select({all[0]});
        return plan.MapBatches(functions_, "call_rows", "", random_.Int(1, 50));
      }
    }
  }

  Dataset Sort(const Dataset& plan) {
    std::vector<SortKey> keys;
    for (const std::string& name : Columns(plan, {})) {
      if (random_.Chance(0.3)) keys.push_back({name, random_.Chance(0.5), random_.Chance(0.3)});
    }
    const Dataset sorted = plan.Sort(keys);
    // Together they become a sort with a limit.
    return random_.Chance(0.4) ? sorted.Limit(random_.Int(0, 50)) : sorted;
  }

  Dataset Join(const Dataset& plan) {
    Dataset right = Source();
    if (random_.Chance(0.4)) right = Step(right);
    const auto left_keys = Columns(plan, {arrow::Type::INT64, arrow::Type::INT32});
    const auto right_keys = Columns(right, {arrow::Type::INT64, arrow::Type::INT32});
    if (left_keys.empty() || right_keys.empty()) return plan;
    return plan.Join(
        right, {.type = random_.One<JoinType>({JoinType::kInner, JoinType::kLeft, JoinType::kSemi,
                                               JoinType::kAnti, JoinType::kFull}),
                .left_keys = {random_.One(left_keys)},
                .right_keys = {random_.One(right_keys)},
                .right_suffix = Concat("_r", ++counter_)});
  }

  // As-of join or window aggregates.
  Dataset MatchInTime(const Dataset& plan) {
    const Dataset events = random_.Chance(0.5) ? Source() : Dataset::Of(RandomTable(random_));
    const auto left_times = Columns(plan, {arrow::Type::TIMESTAMP});
    const auto right_times = Columns(events, {arrow::Type::TIMESTAMP});
    if (left_times.empty() || right_times.empty()) return plan;
    TimeMatch match{.left_time = random_.One(left_times), .right_time = random_.One(right_times)};
    const auto left_keys = Columns(plan, {arrow::Type::INT64, arrow::Type::INT32});
    if (!left_keys.empty() && random_.Chance(0.9)) {
      match.left_keys = {random_.One(left_keys)};
      match.right_keys = {"k"};
    }
    if (random_.Chance(0.5)) {
      match.created = "t";
      match.filter_by_created = random_.Chance(0.5);
    }
    if (random_.Chance(0.5)) {
      return plan.AsOfJoin(
          events,
          {.match = match,
           .tolerance = random_.Chance(0.5) ? 0 : random_.Int(1, 40'000'000),
           .features = {{"x", Concat("f", ++counter_)}, {"name", Concat("f", ++counter_)}}});
    }
    WindowAggregateSpec windows{.match = match};
    for (const auto function : {AggregateFunction::kSum, AggregateFunction::kLast,
                                AggregateFunction::kMedian, AggregateFunction::kCount}) {
      WindowItem item{.function = function, .column = "x", .name = Concat("w", ++counter_)};
      if (random_.Chance(0.8)) item.window = random_.Int(1, 40'000'000);
      windows.items.push_back(std::move(item));
    }
    return plan.WindowAggregate(events, std::move(windows));
  }

  Dataset Aggregate(const Dataset& plan) {
    const auto all = Columns(plan, {});
    std::vector<std::string> keys;
    for (const std::string& name : all) {
      if (random_.Chance(0.3)) keys.push_back(name);
    }
    // Half of them of functions that are merged from partial results.
    const bool merges = random_.Chance(0.5);
    std::vector<AggregateItem> items;
    for (int64_t i = random_.Int(1, 4); i > 0; --i) {
      AggregateItem item{.column = random_.One(all), .name = Concat("a", ++counter_)};
      item.function = random_.One<AggregateFunction>(
          {AggregateFunction::kCount, AggregateFunction::kMin, AggregateFunction::kMax,
           AggregateFunction::kFirst, AggregateFunction::kLast});
      if (!merges) {
        item.function = random_.One<AggregateFunction>(
            {AggregateFunction::kSum, AggregateFunction::kMean, AggregateFunction::kStd,
             AggregateFunction::kCountDistinct, AggregateFunction::kFirst,
             AggregateFunction::kMedian, AggregateFunction::kMostFrequent,
             AggregateFunction::kLastK});
        item.k = random_.Int(1, 3);
      }
      const auto& type = *ValueOf(plan.plan())->schema()->GetFieldByName(item.column)->type();
      if (!pit::ResultType({.function = item.function}, type).ok()) {
        item.function = AggregateFunction::kLast;
      }
      if (item.function == AggregateFunction::kCount && random_.Chance(0.5)) item.column = "";
      items.push_back(std::move(item));
    }
    return plan.Aggregate(keys, items);
  }

  Random& random_;
  const FunctionRegistry& functions_;
  const std::string folder_;
  int counter_ = 0;
};

Result<std::shared_ptr<arrow::Table>> Collect(BatchSource& source,
                                              const std::shared_ptr<arrow::Schema>& schema) {
  arrow::RecordBatchVector batches;
  while (true) {
    GNOMON_ASSIGN_OR_RETURN(auto batch, source.Next());
    if (batch == nullptr) return arrow::Table::FromRecordBatches(schema, batches);
    batches.push_back(std::move(batch));
  }
}

std::string BytesBelow(const std::string& path) {
  if (!std::filesystem::is_directory(path)) return ValueOf(ReadFile(path));
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(path)) {
    if (!entry.is_regular_file()) continue;
    files[std::filesystem::relative(entry.path(), path).string()] =
        ValueOf(ReadFile(entry.path().string()));
  }
  std::string bytes;
  for (const auto& [name, contents] : files) bytes += Concat(name, "\n", contents);
  return bytes;
}

struct Cluster {
  explicit Cluster(const FunctionRegistry& functions, uint64_t seed) {
    RequireOk(RegisterPlanStages(registry, &functions));
    backend =
        runtime::MakeSimulatedBackend(registry, {.seed = seed,
                                                 .num_nodes = 1 + static_cast<int>(seed % 5),
                                                 .faults = runtime::SimulatedFaults::Everything(),
                                                 .block_memory = seed % 3 == 0 ? 5000 : 0});
  }

  runtime::StageRegistry registry;
  std::unique_ptr<runtime::SimulatedBackend> backend;
};

DistributionOptions RandomOptions(Random& random) {
  return {
      .num_partitions = static_cast<int>(random.Int(1, 7)),
      .partition_bytes = random.One<int64_t>({0, 3000, 1 << 20}),
      .min_part_bytes = random.One<int64_t>({1, 1000}),
      .broadcast_bytes = random.Chance(0.5) ? 0 : int64_t{1} << 30,
      .optimize = random.Chance(0.8),
      .job = {.retry = {.max_attempts = 500, .max_lost_attempts = 500, .first_delay_seconds = 0.01},
              .speculate_after_seconds = 1.5}};
}

uint64_t FirstSeed() {
  const char* replay = std::getenv("GNOMON_TEST_SEED");
  return replay != nullptr ? std::strtoull(replay, nullptr, 10) : 1;
}

uint64_t NumCases(uint64_t usual) {
  if (std::getenv("GNOMON_TEST_SEED") != nullptr) return 1;
  const char* more = std::getenv("GNOMON_TEST_CASES");
  return more != nullptr ? std::strtoull(more, nullptr, 10) : usual;
}

TEST_CASE("random plans give the same rows in one process and on many nodes with faults") {
  FunctionRegistry functions;
  RequireOk(functions.Register("call_rows", CallRows()));
  const auto folder = MakeTemporaryFolder();
  for (uint64_t seed = FirstSeed(), end = seed + NumCases(60); seed < end; ++seed) {
    INFO("GNOMON_TEST_SEED=", seed);
    Random random(seed);
    const Dataset dataset = PlanMaker(random, functions, Concat(folder.path(), "/", seed)).Make();
    const Plan plan = ValueOf(dataset.plan());
    const auto expected = dataset.Collect({}, {.functions = &functions});
    if (!expected.ok()) continue;  // an overflow
    if ((*expected)->num_rows() > 20000) continue;
    Cluster cluster(functions, seed);
    const DistributionOptions options = RandomOptions(random);
    const std::string explain = ValueOf(ExplainDistributed(plan, options));
    auto result = ExecuteDistributed({}, *cluster.backend, plan, options);
    INFO(FormatPlan(plan), explain);
    RequireOk(result.status());
    const auto actual = ValueOf(Collect(**result, (*result)->schema()));
    CHECK(actual->schema()->Equals(*plan->schema()));
    const std::string difference = TableDifference(actual, *expected);
    REQUIRE_MESSAGE(difference.empty(), difference);
    result->reset();
    CHECK(cluster.backend->blocks().stats().blocks == 0);
  }
}

TEST_CASE("random plans write the same files in one process and on many nodes with faults") {
  FunctionRegistry functions;
  RequireOk(functions.Register("call_rows", CallRows()));
  const auto folder = MakeTemporaryFolder();
  for (uint64_t seed = FirstSeed() + 5000, end = seed + NumCases(12); seed < end; ++seed) {
    INFO("GNOMON_TEST_SEED=", seed - 5000);
    Random random(seed);
    const std::string sources = Concat(folder.path(), "/", seed);
    // Few rows: each file of a partition is synced to the disk.
    const Dataset dataset = PlanMaker(random, functions, sources).Make().Limit(12);
    const auto schema = ValueOf(dataset.plan())->schema();
    const std::string one = Concat(folder.path(), "/", seed, "-one/out");
    const std::string many = Concat(folder.path(), "/", seed, "-many/out");
    RequireOk(MakeFolders(std::filesystem::path(many).parent_path().string()));
    WriteSpec spec{.path = one, .format = table::FileFormat::kParquet, .row_group_rows = 50};
    const auto& first = schema->field(0);
    if (schema->num_fields() > 1 && first->type()->id() == arrow::Type::INT64) {
      spec.partition_by = {first->name()};
    }
    if (!dataset.WriteTo({}, spec, {.functions = &functions}).ok()) continue;
    spec.path = many;
    const Plan plan = ValueOf(MakeNode(spec, {ValueOf(dataset.plan())}));
    Cluster cluster(functions, seed);
    DistributionOptions options = RandomOptions(random);
    options.job.journal = Concat(folder.path(), "/", seed, ".journal");
    const auto result = ExecuteDistributed({}, *cluster.backend, plan, options);
    RequireOk(result.status());
    REQUIRE(BytesBelow(many) == BytesBelow(one));
    // Nothing else lies beside them.
    const auto beside = std::filesystem::path(many).parent_path();
    CHECK(std::distance(std::filesystem::directory_iterator(beside), {}) == 1);
    // The journal knows the rows of the write node.
    const auto rows = ValueOf(Collect(**result, (*result)->schema()));
    const auto again = ValueOf(ExecuteDistributed({}, *cluster.backend, plan, options));
    CHECK(again->stats().tasks == 0);
    CHECK_TABLE_EQ(Collect(*again, again->schema()), rows);
  }
}

}  // namespace
}  // namespace gnomon::dataset
