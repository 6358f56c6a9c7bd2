#include <algorithm>
#include <cstdlib>
#include <random>
#include <set>

#include <arrow/buffer.h>
#include <arrow/record_batch.h>

#include "base/memory.h"
#include "base/parallel.h"
#include "base/text.h"
#include "dataset/dataset.h"
#include "dataset/naive_table_test.h"
#include "dataset/partition_hash.h"
#include "table/column.h"
#include "tests/support/status.h"
#include "tests/support/table.h"
#include "tests/support/temporary.h"

/// Random plans against the naive interpreter, with random batches, threads and memory. A failure
/// prints its seed; GNOMON_TEST_SEED=<seed> runs that plan alone, GNOMON_TEST_CASES=<n> more of
/// them.
namespace gnomon::dataset {

namespace {

using gnomon::test::TableDifference;
using pit::AggregateFunction;
using test::NaiveTable;
using test::Row;
using test::Value;
using test::ValueOf;

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  int64_t Int(int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(engine_);
  }
  bool Chance(double probability) { return std::bernoulli_distribution(probability)(engine_); }
  template <typename T>
  T One(const std::vector<T>& of) {
    return of[static_cast<size_t>(Int(0, static_cast<int64_t>(of.size()) - 1))];
  }

 private:
  std::mt19937_64 engine_;
};

NaiveTable RandomTable(Random* random) {
  NaiveTable table{{"k", "name", "x", "n"},
                   {arrow::int64(), arrow::utf8(), arrow::float64(), arrow::int64()}};
  const int64_t keys = random->One<int64_t>({1, 5, 40, 300});
  for (int64_t rows = random->One<int64_t>({0, 1, 20, 120, 400}); rows > 0; --rows) {
    Row row(4);
    if (random->Chance(0.9)) row[0] = random->Int(-keys / 2, keys);
    if (random->Chance(0.9))
      row[1] = random->Chance(0.1) ? std::string("a\0b", 3)
                                   : std::string(static_cast<size_t>(random->Int(0, 3)), 'a');
    if (random->Chance(0.8)) row[2] = static_cast<double>(random->Int(-40, 40)) / 4;
    if (random->Chance(0.05)) row[2] = random->One<double>({-0.0, NAN, INFINITY, -INFINITY});
    if (random->Chance(0.9)) row[3] = random->Int(-100, 100);
    table.rows.push_back(std::move(row));
  }
  return table;
}

std::shared_ptr<arrow::Table> InChunks(const NaiveTable& naive, Random* random) {
  const auto table = naive.ToArrow();
  std::vector<std::shared_ptr<arrow::Table>> pieces = {table->Slice(0, 0)};
  for (int64_t begin = 0; begin < table->num_rows();) {
    const int64_t rows = random->Int(1, std::max<int64_t>(1, table->num_rows() / 2));
    pieces.push_back(table->Slice(begin, rows));
    begin += rows;
  }
  return ValueOf(arrow::ConcatenateTables(pieces));
}

/// Adds the number of rows of its call, and so is not row-wise.
BatchFunction CountRows() {
  return {.output_schema = [](const arrow::Schema& input,
                              std::string_view) -> Result<std::shared_ptr<arrow::Schema>> {
            return input.AddField(input.num_fields(), arrow::field("call_rows", arrow::int64()));
          },
          .apply = [](const Context&, const std::shared_ptr<arrow::RecordBatch>& batch,
                      std::string_view) -> Result<std::shared_ptr<arrow::RecordBatch>> {
            const std::vector<int64_t> counts(static_cast<size_t>(batch->num_rows()),
                                              batch->num_rows());
            return batch->AddColumn(batch->num_columns(), arrow::field("call_rows", arrow::int64()),
                                    std::make_shared<arrow::Int64Array>(
                                        batch->num_rows(), arrow::Buffer::FromVector(counts)));
          }};
}

/// A plan and what it should give.
struct Case {
  Dataset dataset;
  NaiveTable expected;
};

class PlanMaker {
 public:
  /// Files are written below `folder`.
  PlanMaker(Random* random, const FunctionRegistry* functions, std::string folder)
      : random_(*random), functions_(functions), folder_(std::move(folder)) {}

  Case Make() {
    Case plan = Source();
    for (int64_t steps = random_.Int(1, 6); steps > 0; --steps) plan = Step(std::move(plan));
    return plan;
  }

 private:
  Case Source() {
    NaiveTable table = RandomTable(&random_);
    if (random_.Chance(0.6)) return {Dataset::Of(InChunks(table, &random_)), std::move(table)};
    // Sorted, so that row groups can be pruned.
    if (random_.Chance(0.6)) table = NaiveSort(std::move(table), {{.column = "k"}});
    Case read{Dataset::Read({}, Save(*InChunks(table, &random_))), std::move(table)};
    return random_.Chance(0.5) ? Filter(std::move(read)) : std::move(read);
  }

  /// A folder of files with small row groups.
  std::string Save(const arrow::Table& table) {
    const std::string folder = Concat(folder_, "/", ++counter_);
    const int64_t rows_per_file = random_.Int(table.num_rows() / 3 + 1, table.num_rows() + 1);
    for (int64_t row = 0; row == 0 || row < table.num_rows(); row += rows_per_file) {
      const char* suffix = random_.Chance(0.8) ? "parquet" : "arrow";
      test::RequireOk(table::WriteTable({}, *table.Slice(row, rows_per_file),
                                        Concat(folder, "/", 1000 + row, ".", suffix),
                                        {.row_group_rows = random_.Int(1, 60)}));
    }
    return folder;
  }

  Case Step(Case plan) {
    switch (random_.Int(0, 9)) {
      case 0:
      case 1:
        return Filter(std::move(plan));
      case 2:
        return Derive(std::move(plan));
      case 3:
        return Join(std::move(plan));
      case 4:
        return Aggregate(std::move(plan));
      case 5:
        return Sort(std::move(plan));
      case 6:
        return Limit(std::move(plan));
      case 7:
        return Repartition(std::move(plan));
      case 8:
        return Union(std::move(plan));
      default:
        return random_.Chance(0.5) ? Select(std::move(plan)) : MapBatches(std::move(plan));
    }
  }

  std::vector<std::string> Columns(const NaiveTable& table, arrow::Type::type type) {
    std::vector<std::string> names;
    for (size_t i = 0; i < table.names.size(); ++i) {
      if (table.types[i]->id() == type) names.push_back(table.names[i]);
    }
    return names;
  }

  Case Filter(Case plan) {
    const auto numbers = Columns(plan.expected, arrow::Type::INT64);
    const auto reals = Columns(plan.expected, arrow::Type::DOUBLE);
    const auto texts = Columns(plan.expected, arrow::Type::STRING);
    std::string text = "true";
    std::function<bool(const Row&)> passes = [](const Row&) { return true; };
    const int64_t bound = random_.Int(-20, 20);
    if (!numbers.empty() && random_.Chance(0.4)) {
      const std::string name = random_.One(numbers);
      const size_t at = plan.expected.Place(name);
      const bool guarded = random_.Chance(0.5);
      text = guarded ? Concat(name, " != 0 and 100 // ", name, " > ", bound)
                     : Concat(name, " > ", bound);
      passes = [at, bound, guarded](const Row& row) {
        const auto* value = std::get_if<int64_t>(&row[at]);
        if (value == nullptr) return false;
        if (!guarded) return *value > bound;
        if (*value == 0) return false;
        const auto quotient = std::floor(100.0 / static_cast<double>(*value));
        return quotient > static_cast<double>(bound);
      };
    } else if (!reals.empty() && random_.Chance(0.5)) {
      const std::string name = random_.One(reals);
      const size_t at = plan.expected.Place(name);
      text = Concat(name, " <= ", bound, " or ", name, " is null");
      passes = [at, bound](const Row& row) {
        const auto* value = std::get_if<double>(&row[at]);
        return value == nullptr || *value <= static_cast<double>(bound);
      };
    } else if (!texts.empty()) {
      const std::string name = random_.One(texts);
      const size_t at = plan.expected.Place(name);
      text = Concat(name, " in ('a', 'aa') and ", name, " != ''");
      passes = [at](const Row& row) {
        const auto* value = std::get_if<std::string>(&row[at]);
        return value != nullptr && (*value == "a" || *value == "aa");
      };
    }
    std::erase_if(plan.expected.rows, [&](const Row& row) { return !passes(row); });
    return {plan.dataset.Filter(text), std::move(plan.expected)};
  }

  Case Derive(Case plan) {
    const auto numbers = Columns(plan.expected, arrow::Type::INT64);
    if (numbers.empty()) return plan;
    const std::string from = random_.One(numbers);
    const size_t at = plan.expected.Place(from);
    const bool replaces = random_.Chance(0.3);
    const std::string to = replaces ? from : Concat("d", ++counter_);
    if (!replaces) {
      plan.expected.names.push_back(to);
      plan.expected.types.push_back(arrow::int64());
    }
    for (Row& row : plan.expected.rows) {
      const auto* value = std::get_if<int64_t>(&row[at]);
      const Value derived = value == nullptr ? Value() : Value(*value % 1000 + 1);
      if (replaces) {
        row[at] = derived;
      } else {
        row.push_back(derived);
      }
    }
    // `%` rounds down here and towards zero in C++.
    return {plan.dataset.Derive(to, Concat("case when ", from, " >= 0 then ", from,
                                           " % 1000 else -((-", from, ") % 1000) end + 1")),
            std::move(plan.expected)};
  }

  Case Select(Case plan) {
    std::vector<std::string> names;
    for (const std::string& name : plan.expected.names) {
      if (random_.Chance(0.7)) names.push_back(name);
    }
    if (names.empty()) names = {plan.expected.names[0]};
    std::reverse(names.begin(), names.end());
    return {plan.dataset.Select(names), NaiveSelect(plan.expected, names)};
  }

  Case Join(Case plan) {
    Case right = Source();
    if (random_.Chance(0.3)) right = Aggregate(std::move(right));
    JoinSpec spec{.type = random_.One<JoinType>({JoinType::kInner, JoinType::kLeft, JoinType::kSemi,
                                                 JoinType::kAnti, JoinType::kFull}),
                  .right_suffix = Concat("_r", ++counter_)};
    for (const auto type : {arrow::Type::INT64, arrow::Type::STRING}) {
      const auto left_names = Columns(plan.expected, type);
      const auto right_names = Columns(right.expected, type);
      if (left_names.empty() || right_names.empty() || random_.Chance(0.4)) continue;
      spec.left_keys.push_back(random_.One(left_names));
      spec.right_keys.push_back(random_.One(right_names));
    }
    if (spec.left_keys.empty()) return plan;
    NaiveTable joined = NaiveJoin(plan.expected, right.expected, spec);
    constexpr size_t kMany = 4000;
    if (joined.rows.size() > kMany) return plan;
    return {plan.dataset.Join(right.dataset, spec), std::move(joined)};
  }

  Case Aggregate(Case plan) {
    AggregateSpec spec;
    for (const std::string& name : plan.expected.names) {
      if (random_.Chance(0.25)) spec.keys.push_back(name);
    }
    for (int64_t i = random_.Int(1, 4); i > 0; --i) {
      AggregateItem item{.name = Concat("a", ++counter_)};
      const std::string column = random_.One(plan.expected.names);
      item.function = random_.One<AggregateFunction>(
          {AggregateFunction::kCount, AggregateFunction::kSum, AggregateFunction::kMean,
           AggregateFunction::kMin, AggregateFunction::kMax, AggregateFunction::kStd,
           AggregateFunction::kVar, AggregateFunction::kCountDistinct, AggregateFunction::kFirst,
           AggregateFunction::kLast, AggregateFunction::kMedian, AggregateFunction::kQuantile,
           AggregateFunction::kMostFrequent});
      const auto& type = *plan.expected.types[plan.expected.Place(column)];
      if (!pit::ResultType({.function = item.function}, type).ok())
        item.function = AggregateFunction::kLast;
      // Sums of sums are not exact any more in plain doubles.
      const bool sums =
          item.function == AggregateFunction::kSum || item.function == AggregateFunction::kMean;
      if (sums && type.id() == arrow::Type::DOUBLE && column[0] == 'a') continue;
      if (item.function != AggregateFunction::kCount || random_.Chance(0.5)) item.column = column;
      spec.items.push_back(item);
    }
    Dataset dataset = plan.dataset.Aggregate(spec.keys, spec.items);
    const auto schema = ValueOf(dataset.plan())->schema();
    if (schema->num_fields() == 0) return plan;
    return {std::move(dataset), NaiveAggregate(plan.expected, spec, *schema)};
  }

  Case Sort(Case plan) {
    std::vector<SortKey> keys;
    for (const std::string& name : plan.expected.names) {
      if (random_.Chance(0.4)) keys.push_back({name, random_.Chance(0.5), random_.Chance(0.3)});
    }
    return {plan.dataset.Sort(keys), NaiveSort(std::move(plan.expected), keys)};
  }

  Case Limit(Case plan) {
    const auto size = static_cast<int64_t>(plan.expected.rows.size());
    const int64_t offset = random_.Chance(0.7) ? 0 : random_.Int(0, size);
    const int64_t limit = random_.Int(0, size + 2);
    auto& rows = plan.expected.rows;
    rows.erase(rows.begin(), rows.begin() + offset);
    if (static_cast<int64_t>(rows.size()) > limit) rows.resize(static_cast<size_t>(limit));
    return {plan.dataset.Limit(limit, offset), std::move(plan.expected)};
  }

  Case Repartition(Case plan) {
    RepartitionSpec spec{.num_partitions = static_cast<int>(random_.Int(1, 9))};
    if (random_.Chance(0.5)) spec.keys = {random_.One(plan.expected.names)};
    const auto batch = ValueOf(table::SingleBatch(*plan.expected.ToArrow()));
    const auto partitions = ValueOf(PartitionOfRows(*batch, spec, 0));
    NaiveTable dealt{plan.expected.names, plan.expected.types};
    for (int32_t partition = 0; partition < spec.num_partitions; ++partition) {
      for (size_t row = 0; row < partitions.size(); ++row) {
        if (partitions[row] == partition) dealt.rows.push_back(plan.expected.rows[row]);
      }
    }
    return {plan.dataset.Repartition(spec.num_partitions, spec.keys), std::move(dealt)};
  }

  Case Union(Case plan) {
    constexpr size_t kMany = 2000;
    if (plan.expected.rows.size() > kMany) return plan;
    Case other = random_.Chance(0.5) ? Filter(plan) : plan;
    auto& rows = plan.expected.rows;
    rows.insert(rows.end(), other.expected.rows.begin(), other.expected.rows.end());
    return {plan.dataset.Union(other.dataset), std::move(plan.expected)};
  }

  Case MapBatches(Case plan) {
    const auto& names = plan.expected.names;
    if (std::ranges::find(names, "call_rows") != names.end()) return plan;
    const int64_t rows_per_call = random_.Int(1, 50);
    const auto size = static_cast<int64_t>(plan.expected.rows.size());
    for (int64_t row = 0; row < size; ++row) {
      const int64_t begin = row / rows_per_call * rows_per_call;
      plan.expected.rows[static_cast<size_t>(row)].push_back(std::min(rows_per_call, size - begin));
    }
    plan.expected.names.push_back("call_rows");
    plan.expected.types.push_back(arrow::int64());
    return {plan.dataset.MapBatches(*functions_, "count_rows", "", rows_per_call),
            std::move(plan.expected)};
  }

  Random& random_;
  const FunctionRegistry* functions_;
  const std::string folder_;
  int counter_ = 0;
};

/// Which operators have spilled, by their first word.
void AddSpilled(const std::vector<OperatorStats>& stats, std::set<std::string>* spilled) {
  for (const OperatorStats& one : stats) {
    if (one.spilled_bytes > 0) spilled->insert(one.name);
  }
}

TEST_CASE("random plans give the rows of the naive interpreter, however they are executed") {
  FunctionRegistry functions;
  CHECK_OK(functions.Register("count_rows", CountRows()));
  const char* replay = std::getenv("GNOMON_TEST_SEED");
  const uint64_t first = replay != nullptr ? std::strtoull(replay, nullptr, 10) : 1;
  const char* more = std::getenv("GNOMON_TEST_CASES");
  const uint64_t cases = more != nullptr ? std::strtoull(more, nullptr, 10) : 64;
  const uint64_t count = replay != nullptr ? 1 : cases;
  std::set<std::string> spilled;
  int64_t groups_pruned = 0;
  for (uint64_t seed = first; seed < first + count; ++seed) {
    CAPTURE(seed);
    Random random(seed);
    const auto folder = gnomon::test::MakeTemporaryFolder();
    const Case plan = PlanMaker(&random, &functions, folder.path()).Make();
    const Plan logical = ValueOf(plan.dataset.plan());
    const Plan parsed = ValueOf(ParsePlan(ValueOf(SerializePlan(logical))));
    const auto expected = plan.expected.ToArrow();
    for (int run = 0; run < 4; ++run) {
      const int64_t limit = run == 0 ? 0 : random.One<int64_t>({1, 3000, 20'000, 100'000});
      MemoryBudget memory("test", limit);
      ExecutionOptions options{.batch_rows = random.One<int64_t>({1, 7, 50, 100'000}),
                               .functions = &functions,
                               .optimize = random.Chance(0.7)};
      SetNumThreads(static_cast<int>(random.Int(1, 4)));
      CAPTURE(limit);
      CAPTURE(options.batch_rows);
      CAPTURE(options.optimize);
      CAPTURE(NumThreads());
      ExecutionReport report;
      Context context;
      context.memory = &memory;
      const auto actual = Dataset(parsed).Collect(context, options, &report);
      // Nullability is not compared.
      const auto relabelled =
          actual.ok() ? Result<std::shared_ptr<arrow::Table>>(arrow::Table::Make(
                            expected->schema(), (*actual)->columns(), (*actual)->num_rows()))
                      : actual;
      const std::string difference = TableDifference(relabelled, expected);
      CHECK_MESSAGE(difference.empty(), difference, "\n", FormatPlan(logical));
      CHECK(memory.used() == 0);
      AddSpilled(report.stats, &spilled);
      for (const OperatorStats& stats : report.stats) groups_pruned += stats.row_groups_pruned;
      if (!difference.empty()) break;
    }
  }
  SetNumThreads(0);
  if (replay != nullptr) return;
  CHECK(groups_pruned > 0);
  for (const std::string name : {"sort", "join", "aggregate", "repartition"}) {
    CAPTURE(name);
    CHECK(spilled.contains(name));
  }
}

}  // namespace

}  // namespace gnomon::dataset
