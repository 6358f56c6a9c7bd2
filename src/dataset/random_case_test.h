#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/text.h"
#include "dataset/naive_time_match_test.h"
#include "dataset/partition_hash.h"
#include "dataset/random_case_rows_test.h"
#include "table/column.h"
#include "tests/support/status.h"
#include "tests/support/table.h"

/// Random plans of every node, each with the rows that the naive interpreter gives it.
namespace gnomon::dataset::test {

class CaseMaker : private CaseRows {
 public:
  /// Files are written below `folder`.
  CaseMaker(Random& random, const CaseWorld& world, std::string folder)
      : CaseRows(random, world, std::move(folder)) {}

  Case Make() {
    Case plan = Source();
    for (int64_t steps = random_.Int(1, 6); steps > 0; --steps) plan = Step(std::move(plan));
    return plan;
  }

 private:
  Case Step(Case plan) {
    switch (random_.Int(0, 17)) {
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
      case 15:
        return Repartition(std::move(plan));
      case 8:
        return Union(std::move(plan));
      case 9:
        return random_.Chance(0.5) ? Select(std::move(plan)) : Project(std::move(plan));
      case 10:
        return MapBatches(std::move(plan));
      case 11:
        return AsOfJoin(std::move(plan));
      case 12:
        return Windows(std::move(plan));
      case 13:
        return Triple(std::move(plan));
      case 16:
        return TimeRange(std::move(plan));
      case 14:
        return Chained(std::move(plan));
      default:
        return Sample(std::move(plan));
    }
  }

  Case Join(Case plan) {
    Case right = Source();
    if (random_.Chance(0.3)) right = Aggregate(std::move(right));
    JoinSpec spec{.type = random_.One<JoinType>({JoinType::kInner, JoinType::kLeft, JoinType::kSemi,
                                                 JoinType::kAnti, JoinType::kFull}),
                  .right_suffix = NewName("_r")};
    for (const auto type : {arrow::Type::INT64, arrow::Type::STRING, arrow::Type::TIMESTAMP}) {
      const auto left_names = Columns(plan.expected, {type});
      const auto right_names = Columns(right.expected, {type});
      if (left_names.empty() || right_names.empty() || random_.Chance(0.5)) continue;
      spec.left_keys.push_back(random_.One(left_names));
      spec.right_keys.push_back(random_.One(right_names));
    }
    if (spec.left_keys.empty()) return plan;
    NaiveTable joined = NaiveJoin(plan.expected, right.expected, spec);
    constexpr size_t kMany = 4000;
    if (joined.rows.size() > kMany) return plan;
    plan.expected = std::move(joined);
    plan.may_fail = plan.may_fail || right.may_fail;
    return Then(std::move(plan),
                [&](const Dataset& rows) { return rows.Join(right.dataset, spec); });
  }

  Case Aggregate(Case plan) {
    AggregateSpec spec;
    for (const std::string& name : plan.expected.names) {
      if (random_.Chance(0.2)) spec.keys.push_back(name);
    }
    for (int64_t i = random_.Int(1, 4); i > 0; --i) AddItem(plan.expected, &spec);
    return Aggregated(std::move(plan), spec);
  }

  void AddItem(const NaiveTable& table, AggregateSpec* spec) {
    AggregateItem item{.name = NewName("a")};
    const std::string column = random_.One(table.names);
    item.function = random_.One<AggregateFunction>(
        {AggregateFunction::kCount, AggregateFunction::kSum, AggregateFunction::kMean,
         AggregateFunction::kMin, AggregateFunction::kMax, AggregateFunction::kStd,
         AggregateFunction::kVar, AggregateFunction::kCountDistinct, AggregateFunction::kFirst,
         AggregateFunction::kLast, AggregateFunction::kMedian, AggregateFunction::kQuantile,
         AggregateFunction::kMostFrequent});
    item.quantile = random_.One<double>({0, 0.1, 0.5, 0.9, 1});
    item.ddof = static_cast<int>(random_.Int(0, 2));
    const auto& type = *table.types[table.Place(column)];
    if (!pit::ResultType({.function = item.function}, type).ok())
      item.function = AggregateFunction::kLast;
    // Sums of sums are not exact any more in plain doubles.
    const bool sums =
        item.function == AggregateFunction::kSum || item.function == AggregateFunction::kMean;
    if (sums && type.id() == arrow::Type::DOUBLE && column != "x") return;
    if (item.function != AggregateFunction::kCount || random_.Chance(0.5)) item.column = column;
    spec->items.push_back(item);
  }

  Case Aggregated(Case plan, const AggregateSpec& spec) {
    Dataset dataset = plan.dataset.Aggregate(spec.keys, spec.items);
    const auto schema = gnomon::test::ValueOf(dataset.plan())->schema();
    if (schema->num_fields() == 0) return plan;
    plan.expected = NaiveAggregate(plan.expected, spec, *schema);
    plan.dataset = std::move(dataset);
    return plan;
  }

  /// Aggregates of a plug-in beside built-in ones.
  Case Chained(Case plan) {
    const auto numbers = Numbers(plan.expected);
    if (numbers.empty()) return plan;
    AggregateSpec spec;
    for (const std::string& name : plan.expected.names) {
      if (random_.Chance(0.2)) spec.keys.push_back(name);
    }
    for (const char* name : {"trail", "trail_or_empty", "chain", "chain_or_empty"}) {
      if (random_.Chance(0.4)) continue;
      const std::string column = random_.One(numbers);
      spec.items.push_back(ItemOf(world_.extensions, name, column));
      spec.items.back().name = NewName("c");
      plan.may_fail = plan.may_fail || HasUnlucky(plan.expected, column);
    }
    if (random_.Chance(0.5)) AddItem(plan.expected, &spec);
    return Aggregated(std::move(plan), spec);
  }

  static bool HasUnlucky(const NaiveTable& table, const std::string& column) {
    const size_t at = table.Place(column);
    return std::ranges::any_of(table.rows,
                               [&](const Row& row) { return row[at] == Value(int64_t{-13}); });
  }

  Case Sort(Case plan) {
    std::vector<SortKey> keys;
    for (const std::string& name : plan.expected.names) {
      if (random_.Chance(0.4)) keys.push_back({name, random_.Chance(0.5), random_.Chance(0.3)});
    }
    plan.expected = NaiveSort(std::move(plan.expected), keys);
    plan = Then(std::move(plan), [&](const Dataset& rows) { return rows.Sort(keys); });
    // Together they become a sort with a limit.
    return random_.Chance(0.3) ? Limit(std::move(plan)) : std::move(plan);
  }

  Case Limit(Case plan) {
    auto& rows = plan.expected.rows;
    const auto size = static_cast<int64_t>(rows.size());
    const int64_t offset = random_.Chance(0.7) ? 0 : random_.Int(0, size);
    const int64_t limit = random_.Int(0, size + 2);
    rows.erase(rows.begin(), rows.begin() + offset);
    if (static_cast<int64_t>(rows.size()) > limit) rows.resize(static_cast<size_t>(limit));
    return Then(std::move(plan), [&](const Dataset& all) { return all.Limit(limit, offset); });
  }

  Case Sample(Case plan) {
    const double fraction = random_.One<double>({0, 0.3, 0.8, 1});
    const auto seed = static_cast<uint64_t>(random_.Int(0, 9));
    // Which positions are kept is the node's own secret.
    const auto all = Dataset::Range(0, static_cast<int64_t>(plan.expected.rows.size()));
    const auto kept = gnomon::test::ValueOf(all.Sample(fraction, seed).Collect({}));
    const auto positions = gnomon::test::ValueOf(table::SingleBatch(*kept));
    std::vector<Row> rows;
    for (int64_t i = 0; i < positions->num_rows(); ++i) {
      const auto& ids = static_cast<const arrow::Int64Array&>(*positions->column(0));
      rows.push_back(plan.expected.rows[static_cast<size_t>(ids.Value(i))]);
    }
    plan.expected.rows = std::move(rows);
    return Then(std::move(plan),
                [&](const Dataset& input) { return input.Sample(fraction, seed); });
  }

  Case Repartition(Case plan) {
    RepartitionSpec spec{.num_partitions = static_cast<int>(random_.Int(1, 9))};
    if (random_.Chance(0.5)) spec.keys = {random_.One(plan.expected.names)};
    const auto batch = gnomon::test::ValueOf(table::SingleBatch(*plan.expected.ToArrow()));
    const auto partitions = gnomon::test::ValueOf(PartitionOfRows(*batch, spec, 0));
    std::vector<Row> dealt;
    for (int32_t partition = 0; partition < spec.num_partitions; ++partition) {
      for (size_t row = 0; row < partitions.size(); ++row) {
        if (partitions[row] == partition) dealt.push_back(plan.expected.rows[row]);
      }
    }
    plan.expected.rows = std::move(dealt);
    return Then(std::move(plan), [&](const Dataset& rows) {
      return rows.Repartition(spec.num_partitions, spec.keys);
    });
  }

  Case Union(Case plan) {
    constexpr size_t kMany = 2000;
    if (plan.expected.rows.size() > kMany) return plan;
    Case other = plan;
    if (random_.Chance(0.3)) other = Filter(std::move(other));
    if (random_.Chance(0.4)) {
      plan = Project(std::move(plan));
      other = Narrow(Source());
      MakeAlike(&plan, &other);
    }
    if (plan.expected.names != other.expected.names) return plan;
    auto& rows = plan.expected.rows;
    rows.insert(rows.end(), other.expected.rows.begin(), other.expected.rows.end());
    plan.may_fail = plan.may_fail || other.may_fail;
    return Then(std::move(plan), [&](const Dataset& input) { return input.Union(other.dataset); });
  }

  /// The column k, which is small here, as int32: a union widens it again.
  Case Narrow(Case plan) {
    if (random_.Chance(0.5)) return plan;
    return Then(std::move(plan), [](const Dataset& rows) {
      return rows.Derive({{"k", "k", arrow::int32()}});
    });
  }

  /// Both keep the columns that they have in common.
  static void MakeAlike(Case* plan, Case* other) {
    Places names;
    for (size_t i = 0; i < plan->expected.names.size(); ++i) {
      const std::string& name = plan->expected.names[i];
      const auto found = std::ranges::find(other->expected.names, name);
      if (found == other->expected.names.end()) continue;
      const auto& type =
          other->expected.types[static_cast<size_t>(found - other->expected.names.begin())];
      if (type->Equals(plan->expected.types[i])) names.push_back(name);
    }
    if (names.empty()) return;
    for (Case* one : {plan, other}) {
      one->expected = NaiveSelect(one->expected, names);
      one->dataset = one->dataset.Select(names);
    }
  }

  Case TimeRange(Case plan) {
    const auto times = Columns(plan.expected, {arrow::Type::TIMESTAMP});
    if (times.empty()) return plan;
    TimeRangeSpec spec{.time = random_.One(times), .unit = arrow::TimeUnit::MILLI};
    if (random_.Chance(0.7)) spec.first = random_.Int(-30'000, 30'000);
    if (random_.Chance(0.7)) spec.last = random_.Int(-10'000, 60'000);
    if (random_.Chance(0.5)) spec.created = random_.One(times);
    if (!spec.created.empty()) spec.created_before = random_.Int(-20'000, 60'000);
    if (random_.Chance(0.7)) spec.name = NewName("i");
    const size_t at = plan.expected.Place(spec.time);
    std::erase_if(plan.expected.rows, [&](const Row& row) {
      const auto* time = std::get_if<int64_t>(&row[at]);
      if (time == nullptr || (spec.first && *time * 1000 < *spec.first) ||
          (spec.last && *time * 1000 > *spec.last))
        return true;
      if (spec.created.empty()) return false;
      const auto* created = std::get_if<int64_t>(&row[plan.expected.Place(spec.created)]);
      return created != nullptr && *created * 1000 > *spec.created_before;
    });
    if (!spec.name.empty()) {
      AddColumn(plan.expected, spec.name, arrow::timestamp(spec.unit, "UTC"),
                [&](const Row& row) { return row[at]; });
    }
    return Then(std::move(plan), [&](const Dataset& rows) { return rows.TimeRange(spec); });
  }

  std::optional<TimeMatch> RandomMatch(const NaiveTable& left) {
    const auto times = Columns(left, {arrow::Type::TIMESTAMP});
    if (times.empty()) return std::nullopt;
    TimeMatch match{.left_time = random_.One(times), .right_time = "t"};
    const auto numbers = Numbers(left);
    const auto texts = Columns(left, {arrow::Type::STRING});
    if (!numbers.empty() && random_.Chance(0.8)) {
      match.left_keys.push_back(random_.One(numbers));
      match.right_keys.push_back("k");
    }
    if (!texts.empty() && random_.Chance(0.3)) {
      match.left_keys.push_back(random_.One(texts));
      match.right_keys.push_back("name");
    }
    if (random_.Chance(0.6)) {
      match.created = "made";
      match.filter_by_created = random_.Chance(0.5);
      if (random_.Chance(0.4)) match.created_before = random_.Int(-20'000, 60'000);
    }
    return match;
  }

  Case AsOfJoin(Case plan) {
    const auto match = RandomMatch(plan.expected);
    if (!match) return plan;
    const Case events = Source();
    AsOfJoinSpec spec{.match = *match,
                      .tolerance = random_.One<int64_t>({0, 1, 5000, 20'500}),
                      .features = {{"x", NewName("f")}, {"name", NewName("f")}}};
    if (random_.Chance(0.3)) spec.features.push_back({"k", NewName("f")});
    plan.expected = NaiveAsOfJoin(std::move(plan.expected), events.expected, spec);
    plan.may_fail = plan.may_fail || events.may_fail;
    return Then(std::move(plan),
                [&](const Dataset& rows) { return rows.AsOfJoin(events.dataset, spec); });
  }

  Case Windows(Case plan) {
    const auto match = RandomMatch(plan.expected);
    if (!match) return plan;
    const Case events = Source();
    WindowAggregateSpec spec{.match = *match};
    for (int64_t i = random_.Int(1, 4); i > 0; --i) {
      WindowItem item{.column = random_.One<std::string>({"n", "k"}), .name = NewName("w")};
      item.function = random_.One<AggregateFunction>(
          {AggregateFunction::kCount, AggregateFunction::kSum, AggregateFunction::kMin,
           AggregateFunction::kFirst, AggregateFunction::kLast, AggregateFunction::kMedian,
           AggregateFunction::kMostFrequent, AggregateFunction::kCountDistinct,
           AggregateFunction::kCustom, AggregateFunction::kCustom});
      if (item.function == AggregateFunction::kCustom) {
        item.custom =
            world_.extensions.aggregates.at(random_.One<std::string>({"chain", "chain_or_empty"}));
        plan.may_fail = plan.may_fail || HasUnlucky(events.expected, item.column);
      }
      if (random_.Chance(0.7)) item.window = random_.One<int64_t>({1000, 7300, 40'000});
      spec.items.push_back(std::move(item));
    }
    Dataset windows = plan.dataset.WindowAggregate(events.dataset, spec);
    const auto schema = gnomon::test::ValueOf(windows.plan())->schema();
    plan.expected = NaiveWindows(std::move(plan.expected), events.expected, spec, *schema);
    plan.may_fail = plan.may_fail || events.may_fail;
    plan.dataset = std::move(windows);
    return plan;
  }
};

/// Empty when `actual` is the case's rows, or the error that they may be; nullability is not
/// compared.
inline std::string CaseDifference(const Case& plan,
                                  const Result<std::shared_ptr<arrow::Table>>& actual) {
  if (plan.may_fail && !actual.ok()) {
    return gnomon::test::ErrorMismatch(actual.status(), ErrorKind::kUser, "an unlucky value");
  }
  const auto expected = plan.expected.ToArrow();
  if (!actual.ok()) return gnomon::test::TableDifference(actual, expected);
  if ((*actual)->num_columns() != expected->num_columns()) return "the columns differ";
  return gnomon::test::TableDifference(
      arrow::Table::Make(expected->schema(), (*actual)->columns(), (*actual)->num_rows()),
      expected);
}

}  // namespace gnomon::dataset::test
