#pragma once

#include <cmath>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/table.h>
#include <doctest/doctest.h>

#include "base/text.h"
#include "dataset/dataset.h"
#include "dataset/random_test.h"
#include "tests/support/status.h"

/// Random plans over random tables, ranges and files.
namespace gnomon::dataset::test {

using gnomon::test::RequireOk;
using gnomon::test::ValueOf;
using pit::AggregateFunction;

inline std::shared_ptr<arrow::Table> RandomTable(Random& random) {
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
inline BatchFunction CallRows() {
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
    if (!files_.empty() && random_.Chance(0.6)) {
      const Dataset again = Dataset::Read({}, random_.One(files_));
      return random_.Chance(0.5) ? again : again.Filter(Concat("n > ", random_.Int(-90, 20)));
    }
    const std::string folder = files_.emplace_back(Concat(folder_, "/", ++counter_));
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
    switch (random_.Int(0, 15)) {
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
      case 15:
        return Latest(plan);
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

  Dataset Latest(const Dataset& plan) {
    const auto times = Columns(plan, {arrow::Type::TIMESTAMP});
    if (times.empty()) return plan;
    LatestSpec spec{.keys = {random_.One(Columns(plan, {}))}, .time = random_.One(times)};
    if (random_.Chance(0.5)) spec.created = random_.One(times);
    if (random_.Chance(0.3)) spec.last = random_.Int(0, 60'000'000);
    for (const std::string& name : Columns(plan, {arrow::Type::INT64})) {
      if (name != spec.keys[0] && random_.Chance(0.5)) spec.sums = {name};
    }
    return plan.Latest(std::move(spec));
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
  std::vector<std::string> files_;  ///< that there are, which a second source may read again
  int counter_ = 0;
};

}  // namespace gnomon::dataset::test
