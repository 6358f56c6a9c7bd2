#include <array>
#include <limits>
#include <optional>

#include <arrow/table.h>
#include <arrow/type.h>

#include "base/text.h"
#include "dataset/distributed/relation_internal.h"
#include "dataset/distributed/source_parts_internal.h"
#include "dataset/optimizer/optimizer.h"

namespace gnomon::dataset::internal {

namespace {

// Calls body(spec) with the alternative's own type.
template <typename... Bodies>
struct Overloaded : Bodies... {
  using Bodies::operator()...;
};
template <typename... Bodies>
Overloaded(Bodies...) -> Overloaded<Bodies...>;

// Stands behind every position, and before every one.
constexpr const char* kLastPosition = "9223372036854775807";
constexpr const char* kFirstPosition = "-1";

int64_t SaturatingSum(int64_t left, int64_t right) {
  int64_t sum = 0;
  return __builtin_add_overflow(left, right, &sum) ? std::numeric_limits<int64_t>::max() : sum;
}

class StageCutter {
 public:
  StageCutter(const Plan& root, const DistributionOptions& options)
      : builder_(root, options), root_(root) {}

  Result<StagePlan> Run() {
    GNOMON_ASSIGN_OR_RETURN(Relation relation, Cut(root_));
    GNOMON_RETURN_NOT_OK(builder_.Finish(std::move(relation), root_));
    return builder_.Take();
  }

 private:
  Result<Relation> Cut(const Plan& plan) {
    const Overloaded cut{
        [&](const ScanSpec&) { return CutSource(plan); },
        [&](const RangeSpec&) { return CutSource(plan); },
        [&](const TableSpec&) { return CutSource(plan); },
        [&](const InputSpec& spec) -> Result<Relation> {
          return Error(ErrorKind::kUnsupported,
                       "batches that are handed over cannot be distributed: ", Quoted(spec.name));
        },
        [&](const ProjectSpec& spec) { return CutProject(plan, spec); },
        [&](const FilterSpec& spec) { return CutRowWise(plan, spec); },
        [&](const DeriveSpec& spec) { return CutRowWise(plan, spec); },
        [&](const MapBatchesSpec& spec) { return CutMapBatches(plan, spec); },
        [&](const JoinSpec& spec) { return CutJoin(plan, spec); },
        [&](const AsOfJoinSpec& spec) { return CutTimeMatch(plan, spec, spec.match); },
        [&](const WindowAggregateSpec& spec) { return CutTimeMatch(plan, spec, spec.match); },
        [&](const AggregateSpec& spec) { return CutAggregate(plan, spec); },
        [&](const SortSpec& spec) { return CutSort(plan, spec); },
        [&](const RepartitionSpec& spec) { return CutRepartition(plan, spec); },
        [&](const UnionSpec&) { return CutUnion(plan); },
        [&](const LimitSpec& spec) { return CutLimit(plan, spec); },
        [&](const SampleSpec&) { return CutGathered(plan); },
        [&](const WriteSpec&) { return CutWrite(plan); }};
    return std::visit(cut, plan->spec());
  }

  Result<Relation> CutSource(const Plan& plan) {
    const DistributionOptions& options = builder_.options();
    GNOMON_ASSIGN_OR_RETURN(const auto parts,
                            PartsOfSource(plan, {.num_parts = options.num_partitions,
                                                 .partition_bytes = options.partition_bytes,
                                                 .min_part_bytes = options.min_part_bytes}));
    if (parts.size() == 1) return Relation{.fragments = {{.plan = parts[0]}}};
    Fragment fragment{.plan = nullptr, .num_partitions = static_cast<int>(parts.size())};
    GNOMON_ASSIGN_OR_RETURN(fragment.plan,
                            MakeNode(InputSpec{.name = kSourceInput, .schema = plan->schema()}));
    for (const Plan& part : parts) {
      GNOMON_ASSIGN_OR_RETURN(fragment.arguments.emplace_back(), SerializePlan(part));
    }
    return Relation{.fragments = {std::move(fragment)}};
  }

  // Puts the node on top of each fragment.
  static Status PutOnTop(const NodeSpec& spec, Relation* relation) {
    for (Fragment& fragment : relation->fragments) {
      GNOMON_ASSIGN_OR_RETURN(fragment.plan, MakeNode(spec, {fragment.plan}));
    }
    return Status::OK();
  }

  Result<Relation> CutRowWise(const Plan& plan, const NodeSpec& spec) {
    GNOMON_ASSIGN_OR_RETURN(Relation relation, Cut(plan->inputs()[0]));
    GNOMON_RETURN_NOT_OK(PutOnTop(spec, &relation));
    return relation;
  }

  Result<Relation> CutProject(const Plan& plan, ProjectSpec spec) {
    GNOMON_ASSIGN_OR_RETURN(Relation relation, Cut(plan->inputs()[0]));
    for (const std::string& column : relation.order) {
      spec.expressions.push_back({column, ColumnExpression(column)});
    }
    GNOMON_RETURN_NOT_OK(PutOnTop(spec, &relation));
    return relation;
  }

  // All rows in order in one task, and the node on top.
  Result<Relation> CutGathered(const Plan& plan) {
    const Plan& input = plan->inputs()[0];
    GNOMON_ASSIGN_OR_RETURN(Relation relation, Cut(input));
    GNOMON_ASSIGN_OR_RETURN(relation, builder_.Gather(std::move(relation), input->schema()));
    GNOMON_RETURN_NOT_OK(ShowAll(*input, &relation));
    GNOMON_RETURN_NOT_OK(PutOnTop(plan->spec(), &relation));
    return relation;
  }

  // The columns of the node in their order, for what looks at all of them.
  Status ShowAll(const PlanNode& node, Relation* relation) const {
    for (Fragment& fragment : relation->fragments) {
      GNOMON_ASSIGN_OR_RETURN(fragment.plan,
                              builder_.Visible(fragment.plan, *node.schema(), relation->order));
    }
    return Status::OK();
  }

  Result<Relation> CutMapBatches(const Plan& plan, const MapBatchesSpec& spec) {
    if (!spec.row_wise) return CutGathered(plan);
    const Plan& input = plan->inputs()[0];
    GNOMON_ASSIGN_OR_RETURN(Relation relation, Cut(input));
    // A function knows nothing of order columns.
    if (!relation.order.empty()) {
      GNOMON_ASSIGN_OR_RETURN(relation, builder_.Gather(std::move(relation), input->schema()));
    }
    GNOMON_RETURN_NOT_OK(ShowAll(*input, &relation));
    GNOMON_RETURN_NOT_OK(PutOnTop(spec, &relation));
    return relation;
  }

  Result<Relation> CutLimit(const Plan& plan, const LimitSpec& spec) {
    const Plan& input = plan->inputs()[0];
    GNOMON_ASSIGN_OR_RETURN(Relation relation, Cut(input));
    GNOMON_ASSIGN_OR_RETURN(relation, builder_.Gather(std::move(relation), input->schema(),
                                                      SaturatingSum(spec.limit, spec.offset)));
    GNOMON_RETURN_NOT_OK(PutOnTop(spec, &relation));
    return relation;
  }

  // Equal keys stand in input order in each partition and after gathering, so a sort of what is
  // gathered is the whole of it; with a limit each partition gives its first rows only.
  Result<Relation> CutSort(const Plan& plan, SortSpec spec) {
    const Plan& input = plan->inputs()[0];
    GNOMON_ASSIGN_OR_RETURN(Relation relation, Cut(input));
    for (const std::string& column : relation.order) spec.keys.push_back({.column = column});
    if (spec.limit.has_value()) GNOMON_RETURN_NOT_OK(PutOnTop(spec, &relation));
    if (!relation.is_one_partition()) {
      // The sort itself brings the rows into order.
      const bool has_order = !relation.order.empty();
      GNOMON_ASSIGN_OR_RETURN(Arrived arrived,
                              builder_.Exchange(std::move(relation), input->schema(),
                                                {.keeps_order = has_order, .sorts = false}));
      relation = {.fragments = {{.plan = arrived.plan, .inputs = {std::move(arrived.input)}}}};
      GNOMON_RETURN_NOT_OK(PutOnTop(spec, &relation));
      return Shown(std::move(relation), *plan);
    }
    if (!spec.limit.has_value()) GNOMON_RETURN_NOT_OK(PutOnTop(spec, &relation));
    return relation;
  }

  Result<Relation> Shown(Relation relation, const PlanNode& node) const {
    GNOMON_RETURN_NOT_OK(ShowAll(node, &relation));
    return relation;
  }

  Result<Relation> CutRepartition(const Plan& plan, const RepartitionSpec& spec) {
    if (spec.keys.empty()) return CutGathered(plan);
    const Plan& input = plan->inputs()[0];
    GNOMON_ASSIGN_OR_RETURN(Relation relation, Cut(input));
    GNOMON_ASSIGN_OR_RETURN(Arrived arrived,
                            builder_.Exchange(std::move(relation), input->schema(),
                                              {.exchange = runtime::Exchange::kShuffle,
                                               .num_partitions = spec.num_partitions,
                                               .keys = spec.keys}));
    return Relation{.fragments = {{.plan = arrived.plan,
                                   .inputs = {std::move(arrived.input)},
                                   .num_partitions = spec.num_partitions}}};
  }

  Result<Relation> CutUnion(const Plan& plan) {
    Relation all;
    GNOMON_ASSIGN_OR_RETURN(const auto none, arrow::Table::MakeEmpty(plan->schema()));
    GNOMON_ASSIGN_OR_RETURN(const Plan empty, MakeNode(TableSpec{none}));
    for (const Plan& input : plan->inputs()) {
      GNOMON_ASSIGN_OR_RETURN(Relation relation, Cut(input));
      if (!relation.order.empty()) {
        GNOMON_ASSIGN_OR_RETURN(relation, builder_.Gather(std::move(relation), input->schema()));
      }
      GNOMON_RETURN_NOT_OK(ShowAll(*input, &relation));
      for (Fragment& fragment : relation.fragments) {
        // A union with nothing widens the types.
        if (!fragment.plan->schema()->Equals(*plan->schema())) {
          GNOMON_ASSIGN_OR_RETURN(fragment.plan, MakeNode(UnionSpec{}, {fragment.plan, empty}));
        }
        all.fragments.push_back(std::move(fragment));
      }
    }
    return all;
  }

  Result<Relation> CutAggregate(const Plan& plan, AggregateSpec spec) {
    const Plan& input = plan->inputs()[0];
    GNOMON_ASSIGN_OR_RETURN(Relation relation, Cut(input));
    std::shared_ptr<arrow::Schema> visible = input->schema();
    std::optional<AggregateSpec> partial;
    if (relation.order.empty() && !relation.is_one_partition()) {
      partial = MakePartial(&spec);
      if (partial.has_value()) {
        GNOMON_RETURN_NOT_OK(PutOnTop(*partial, &relation));
        visible = relation.fragments[0].plan->schema();
      }
    }
    if (spec.keys.empty() || relation.is_one_partition()) {
      GNOMON_ASSIGN_OR_RETURN(relation, builder_.Gather(std::move(relation), visible));
      GNOMON_RETURN_NOT_OK(PutOnTop(spec, &relation));
      if (!partial.has_value()) return relation;
      // A sum of counts may be null as far as its type says, a count may not: the next stage reads
      // it under the schema of the plan, as it does behind every shuffle.
      GNOMON_ASSIGN_OR_RETURN(Arrived arrived,
                              builder_.Exchange(std::move(relation), plan->schema(), {}));
      return Relation{.fragments = {{.plan = arrived.plan, .inputs = {std::move(arrived.input)}}}};
    }
    const int num_partitions = builder_.options().num_partitions;
    GNOMON_ASSIGN_OR_RETURN(Arrived arrived,
                            builder_.Exchange(std::move(relation), visible,
                                              {.exchange = runtime::Exchange::kShuffle,
                                               .num_partitions = num_partitions,
                                               .keys = spec.keys,
                                               .keeps_order = true}));
    for (const std::string& column : arrived.order) {
      spec.items.push_back({pit::AggregateFunction::kFirst, column, column});
    }
    GNOMON_ASSIGN_OR_RETURN(Plan grouped, MakeNode(spec, {arrived.plan}));
    return Relation{.fragments = {{.plan = std::move(grouped),
                                   .inputs = {std::move(arrived.input)},
                                   .num_partitions = num_partitions}},
                    .order = std::move(arrived.order)};
  }

  Result<Relation> CutJoin(const Plan& plan, const JoinSpec& spec) {
    const bool broadcast = spec.type != JoinType::kFull &&
                           SourceBytes(plan->inputs()[1]) <= builder_.options().broadcast_bytes;
    return broadcast ? CutBroadcastJoin(plan, spec) : CutShuffledJoin(plan, spec);
  }

  Result<Relation> CutBroadcastJoin(const Plan& plan, const JoinSpec& spec) {
    const Plan& right_input = plan->inputs()[1];
    GNOMON_ASSIGN_OR_RETURN(Relation left, Cut(plan->inputs()[0]));
    GNOMON_ASSIGN_OR_RETURN(Relation right, Cut(right_input));
    const bool keeps_order = !left.order.empty() && GivesPairs(spec.type);
    GNOMON_ASSIGN_OR_RETURN(
        const Arrived arrived,
        builder_.Exchange(std::move(right), right_input->schema(), {.keeps_order = keeps_order}));
    for (Fragment& fragment : left.fragments) {
      GNOMON_ASSIGN_OR_RETURN(fragment.plan, MakeNode(spec, {fragment.plan, arrived.plan}));
      fragment.inputs.push_back(arrived.input);
    }
    if (keeps_order) GNOMON_RETURN_NOT_OK(OrderPairs(spec.type, arrived.order, &left));
    return Shown(std::move(left), *plan);
  }

  Result<Relation> CutShuffledJoin(const Plan& plan, const JoinSpec& spec) {
    const int num_partitions = builder_.options().num_partitions;
    std::array<Arrived, 2> sides;
    for (const size_t side : {size_t{0}, size_t{1}}) {
      GNOMON_ASSIGN_OR_RETURN(Relation relation, Cut(plan->inputs()[side]));
      GNOMON_ASSIGN_OR_RETURN(
          sides[side], builder_.Exchange(std::move(relation), plan->inputs()[side]->schema(),
                                         {.exchange = runtime::Exchange::kShuffle,
                                          .num_partitions = num_partitions,
                                          .keys = side == 0 ? spec.left_keys : spec.right_keys,
                                          .keeps_order = side == 0 || GivesPairs(spec.type)}));
    }
    GNOMON_ASSIGN_OR_RETURN(Plan joined, MakeNode(spec, {sides[0].plan, sides[1].plan}));
    Relation relation{
        .fragments = {{.plan = std::move(joined),
                       .inputs = {std::move(sides[0].input), std::move(sides[1].input)},
                       .num_partitions = num_partitions}},
        .order = std::move(sides[0].order)};
    GNOMON_RETURN_NOT_OK(OrderPairs(spec.type, sides[1].order, &relation));
    return Shown(std::move(relation), *plan);
  }

  // Each label needs all events of its key, in the order of their positions: ties in time are
  // decided by it. Both ways of sending them keep that order.
  Result<Relation> CutTimeMatch(const Plan& plan, const NodeSpec& spec, const TimeMatch& match) {
    const Plan& events = plan->inputs()[1];
    GNOMON_ASSIGN_OR_RETURN(Relation left, Cut(plan->inputs()[0]));
    GNOMON_ASSIGN_OR_RETURN(Relation right, Cut(events));
    const bool broadcast =
        match.left_keys.empty() || SourceBytes(events) <= builder_.options().broadcast_bytes;
    if (broadcast) {
      GNOMON_ASSIGN_OR_RETURN(const Arrived arrived,
                              builder_.Exchange(std::move(right), events->schema(), {}));
      for (Fragment& fragment : left.fragments) {
        GNOMON_ASSIGN_OR_RETURN(fragment.plan, MakeNode(spec, {fragment.plan, arrived.plan}));
        fragment.inputs.push_back(arrived.input);
      }
      return Shown(std::move(left), *plan);
    }
    const int num_partitions = builder_.options().num_partitions;
    const auto shuffle = [&](Relation relation, size_t side) {
      return builder_.Exchange(std::move(relation), plan->inputs()[side]->schema(),
                               {.exchange = runtime::Exchange::kShuffle,
                                .num_partitions = num_partitions,
                                .keys = side == 0 ? match.left_keys : match.right_keys,
                                .keeps_order = side == 0});
    };
    GNOMON_ASSIGN_OR_RETURN(Arrived labels, shuffle(std::move(left), 0));
    GNOMON_ASSIGN_OR_RETURN(Arrived arrived, shuffle(std::move(right), 1));
    GNOMON_ASSIGN_OR_RETURN(Plan matched, MakeNode(spec, {labels.plan, arrived.plan}));
    return Shown(
        Relation{.fragments = {{.plan = std::move(matched),
                                .inputs = {std::move(labels.input), std::move(arrived.input)},
                                .num_partitions = num_partitions}},
                 .order = std::move(labels.order)},
        *plan);
  }

  static bool GivesPairs(JoinType type) {
    return type != JoinType::kSemi && type != JoinType::kAnti;
  }

  // Pairs stand by left position, then right position; what has no partner on the right comes
  // alone, what has none on the left behind all others.
  static Status OrderPairs(JoinType type, const std::vector<std::string>& right_order,
                           Relation* relation) {
    DeriveSpec positions;
    const auto replace_null = [&](const std::string& column, const char* position) {
      positions.expressions.push_back(
          {column, Concat("coalesce(", ColumnExpression(column), ", ", position, ")")});
    };
    if (type == JoinType::kFull) {
      for (const std::string& column : relation->order) replace_null(column, kLastPosition);
    }
    if (type == JoinType::kFull || type == JoinType::kLeft) {
      for (const std::string& column : right_order) replace_null(column, kFirstPosition);
    }
    relation->order.insert(relation->order.end(), right_order.begin(), right_order.end());
    return positions.expressions.empty() ? Status::OK() : PutOnTop(positions, relation);
  }

  Result<Relation> CutWrite(const Plan& plan) {
    if (plan != root_) {
      return Error(ErrorKind::kUnsupported, "a write node inside a plan cannot be distributed");
    }
    return CutGathered(plan);
  }

  StageBuilder builder_;
  const Plan root_;
};

}  // namespace

Result<StagePlan> CutIntoStages(const Plan& plan, const DistributionOptions& options) {
  GNOMON_CHECK(options.num_partitions > 0, "a number of partitions");
  return StageCutter(plan, options).Run();
}

}  // namespace gnomon::dataset::internal
