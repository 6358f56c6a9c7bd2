#include <limits>
#include <optional>

#include <arrow/table.h>
#include <arrow/type.h>

#include "base/text.h"
#include "dataset/distributed/source_parts_internal.h"
#include "dataset/distributed/stage_cutter_class_internal.h"
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

int64_t SaturatingSum(int64_t left, int64_t right) {
  int64_t sum = 0;
  return __builtin_add_overflow(left, right, &sum) ? std::numeric_limits<int64_t>::max() : sum;
}

}  // namespace

Result<StagePlan> StageCutter::Run() {
  GNOMON_ASSIGN_OR_RETURN(Relation relation, Cut(root_));
  GNOMON_RETURN_NOT_OK(builder_.Finish(std::move(relation), root_));
  return builder_.Take();
}

Result<Relation> StageCutter::Cut(const Plan& plan) {
  return Marked(plan, [&] { return CutNode(plan); });
}

Result<Relation> StageCutter::CutNode(const Plan& plan) {
  const Overloaded cut{
      [&](const ScanSpec&) { return CutSource(plan); },
      [&](const RangeSpec&) { return CutSource(plan); },
      [&](const TableSpec&) { return CutSource(plan); },
      [&](const ExternalSpec&) { return CutSource(plan); },
      [&](const InputSpec& spec) -> Result<Relation> {
        return Error(ErrorKind::kUnsupported,
                     "batches that are handed over cannot be distributed: ", Quoted(spec.name));
      },
      [&](const ProjectSpec& spec) { return CutProject(plan, spec); },
      [&](const FilterSpec& spec) { return CutRowWise(plan, spec); },
      [&](const DeriveSpec& spec) { return CutRowWise(plan, spec); },
      [&](const TimeRangeSpec& spec) { return CutRowWise(plan, spec); },
      [&](const MapBatchesSpec& spec) { return CutMapBatches(plan, spec); },
      [&](const JoinSpec& spec) { return CutJoin(plan, spec); },
      [&](const AsOfJoinSpec& spec) { return CutTimeMatch(plan, spec, spec.match); },
      [&](const WindowAggregateSpec& spec) { return CutTimeMatch(plan, spec, spec.match); },
      [&](const AggregateSpec& spec) { return CutAggregate(plan, spec); },
      [&](const LatestSpec& spec) { return CutLatest(plan, spec, PartitionsOf(plan)); },
      [&](const SortSpec& spec) { return CutSort(plan, spec); },
      [&](const RepartitionSpec& spec) { return CutRepartition(plan, spec); },
      [&](const UnionSpec&) { return CutUnion(plan); },
      [&](const LimitSpec& spec) { return CutLimit(plan, spec); },
      [&](const SampleSpec& spec) { return CutSample(plan, spec); },
      [&](const WriteSpec& spec) { return CutWrite(plan, spec); },
      [&](const ExternalWriteSpec& spec) { return CutExternalWrite(plan, spec); }};
  return std::visit(cut, plan->spec());
}

Result<Relation> StageCutter::CutSource(const Plan& plan) {
  const DistributionOptions& options = builder_.options();
  GNOMON_ASSIGN_OR_RETURN(const auto parts,
                          PartsOfSource(plan, {.num_parts = options.num_partitions,
                                               .partition_bytes = options.partition_bytes,
                                               .min_part_bytes = options.min_part_bytes}));
  const bool has_twin = builder_.HasTwin(plan);
  if (parts.size() == 1 && !has_twin) return Relation{.fragments = {{.plan = parts[0]}}};
  Fragment fragment{.plan = nullptr, .num_partitions = static_cast<int>(parts.size())};
  GNOMON_ASSIGN_OR_RETURN(fragment.plan,
                          MakeNode(InputSpec{.name = kSourceInput, .schema = plan->schema()}));
  for (const Plan& part : parts) {
    GNOMON_ASSIGN_OR_RETURN(fragment.arguments.emplace_back(), SerializePlan(part));
  }
  if (has_twin) fragment.scan = plan;
  return Relation{.fragments = {std::move(fragment)}};
}

Status StageCutter::PutOnTop(const NodeSpec& spec, Relation* relation) {
  for (Fragment& fragment : relation->fragments) {
    GNOMON_ASSIGN_OR_RETURN(fragment.plan, MakeNode(spec, {fragment.plan}));
  }
  return Status::OK();
}

Result<Relation> StageCutter::CutRowWise(const Plan& plan, const NodeSpec& spec) {
  GNOMON_ASSIGN_OR_RETURN(Relation relation, Cut(plan->inputs()[0]));
  GNOMON_RETURN_NOT_OK(PutOnTop(spec, &relation));
  return relation;
}

Result<Relation> StageCutter::CutProject(const Plan& plan, ProjectSpec spec) {
  GNOMON_ASSIGN_OR_RETURN(Relation relation, Cut(plan->inputs()[0]));
  for (const std::string& column : relation.order) {
    spec.expressions.push_back({column, ColumnExpression(column)});
  }
  GNOMON_RETURN_NOT_OK(PutOnTop(spec, &relation));
  return relation;
}

Result<Relation> StageCutter::CutGathered(const Plan& plan) {
  const Plan& input = plan->inputs()[0];
  GNOMON_ASSIGN_OR_RETURN(Relation relation, Cut(input));
  GNOMON_ASSIGN_OR_RETURN(relation, builder_.Gather(std::move(relation), input->schema()));
  GNOMON_RETURN_NOT_OK(ShowAll(*input, &relation));
  GNOMON_RETURN_NOT_OK(PutOnTop(plan->spec(), &relation));
  return relation;
}

Status StageCutter::ShowAll(const PlanNode& node, Relation* relation) const {
  for (Fragment& fragment : relation->fragments) {
    GNOMON_ASSIGN_OR_RETURN(fragment.plan,
                            builder_.Visible(fragment.plan, *node.schema(), relation->order));
  }
  return Status::OK();
}

bool StageCutter::FitsOneTask(const Plan& plan) const {
  return SourceBytes(plan) <= builder_.options().partition_bytes;
}

int StageCutter::PartitionsOf(const Plan& plan) const {
  const DistributionOptions& options = builder_.options();
  return PartitionsFor(SourceBytes(plan), {.num_parts = options.num_partitions,
                                           .partition_bytes = options.partition_bytes});
}

Result<Relation> StageCutter::CutLimit(const Plan& plan, const LimitSpec& spec) {
  const Plan& input = plan->inputs()[0];
  GNOMON_ASSIGN_OR_RETURN(Relation relation, Cut(input));
  GNOMON_ASSIGN_OR_RETURN(relation, builder_.Gather(std::move(relation), input->schema(),
                                                    SaturatingSum(spec.limit, spec.offset)));
  GNOMON_RETURN_NOT_OK(PutOnTop(spec, &relation));
  return relation;
}

Result<Relation> StageCutter::Shown(Relation relation, const PlanNode& node) const {
  GNOMON_RETURN_NOT_OK(ShowAll(node, &relation));
  return relation;
}

Result<Relation> StageCutter::CutUnion(const Plan& plan) {
  Relation all;
  GNOMON_ASSIGN_OR_RETURN(const auto none, arrow::Table::MakeEmpty(plan->schema()));
  GNOMON_ASSIGN_OR_RETURN(const Plan empty, MakeNode(TableSpec{none}));
  for (const Plan& input : plan->inputs()) {
    GNOMON_ASSIGN_OR_RETURN(Relation relation, Cut(input));
    GNOMON_ASSIGN_OR_RETURN(relation, builder_.InOrder(std::move(relation), input->schema()));
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

Result<Relation> StageCutter::CutAggregate(const Plan& plan, AggregateSpec spec) {
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
  const int num_partitions = PartitionsOf(input);
  GNOMON_ASSIGN_OR_RETURN(Arrived arrived,
                          builder_.Exchange(std::move(relation), visible,
                                            {.deal = {.kind = Deal::Kind::kHash, .keys = spec.keys},
                                             .num_partitions = num_partitions,
                                             .keeps_order = true}));
  for (const std::string& column : arrived.order) {
    spec.items.push_back({pit::AggregateFunction::kFirst, column, column});
  }
  GNOMON_ASSIGN_OR_RETURN(Plan grouped, MakeNode(spec, {arrived.plan}));
  return Relation{.fragments = {{.plan = std::move(grouped),
                                 .inputs = {std::move(arrived.input)},
                                 .num_partitions = num_partitions}},
                  .order = std::move(arrived.order),
                  .order_partitions = arrived.order_partitions};
}

Result<Relation> StageCutter::CutLatest(const Plan& plan, const LatestSpec& spec,
                                        int num_partitions) {
  const std::shared_ptr<arrow::Schema>& visible = plan->schema();
  GNOMON_ASSIGN_OR_RETURN(Relation relation, Cut(plan->inputs()[0]));
  if (relation.order.empty() && !relation.is_one_partition())
    GNOMON_RETURN_NOT_OK(PutOnTop(spec, &relation));
  if (spec.keys.empty() || relation.is_one_partition()) {
    GNOMON_ASSIGN_OR_RETURN(relation, builder_.Gather(std::move(relation), visible));
    GNOMON_RETURN_NOT_OK(PutOnTop(spec, &relation));
    return relation;
  }
  GNOMON_ASSIGN_OR_RETURN(Arrived arrived,
                          builder_.Exchange(std::move(relation), visible,
                                            {.deal = {.kind = Deal::Kind::kHash, .keys = spec.keys},
                                             .num_partitions = num_partitions,
                                             .keeps_order = true}));
  GNOMON_ASSIGN_OR_RETURN(Plan newest, MakeNode(spec, {arrived.plan}));
  return Relation{.fragments = {{.plan = std::move(newest),
                                 .inputs = {std::move(arrived.input)},
                                 .num_partitions = num_partitions}},
                  .order = std::move(arrived.order),
                  .order_partitions = arrived.order_partitions};
}

Result<StagePlan> CutIntoStages(const Plan& plan, const DistributionOptions& options) {
  GNOMON_CHECK(options.num_partitions > 0, "a number of partitions");
  GNOMON_ASSIGN_OR_RETURN(const Plan unshared, WithoutSharedNodes(plan));
  return StageCutter(unshared, options).Run();
}

}  // namespace gnomon::dataset::internal
