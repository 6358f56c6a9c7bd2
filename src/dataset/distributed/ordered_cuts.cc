// Nodes that look at the order or the positions of all rows.
#include <optional>
#include <utility>

#include <arrow/type.h>

#include "dataset/distributed/source_parts_internal.h"
#include "dataset/distributed/stage_cutter_class_internal.h"

namespace gnomon::dataset::internal {

Result<Relation> StageCutter::CutMapBatches(const Plan& plan, const MapBatchesSpec& spec) {
  const Plan& input = plan->inputs()[0];
  if (!spec.row_wise && FitsOneTask(input)) return CutGathered(plan);
  GNOMON_ASSIGN_OR_RETURN(Relation relation, Cut(input));
  GNOMON_ASSIGN_OR_RETURN(relation, builder_.InOrder(std::move(relation), input->schema()));
  if (!spec.row_wise && !relation.is_one_partition()) {
    GNOMON_ASSIGN_OR_RETURN(relation, DealtByRow(std::move(relation), input->schema(),
                                                 spec.rows_per_call, PartitionsOf(input)));
    relation.fragments[0].counts.clear();
  }
  GNOMON_RETURN_NOT_OK(ShowAll(*input, &relation));
  GNOMON_RETURN_NOT_OK(PutOnTop(spec, &relation));
  return relation;
}

Result<Relation> StageCutter::DealtByRow(Relation relation,
                                         const std::shared_ptr<arrow::Schema>& visible,
                                         int64_t run_rows, int num_partitions) {
  GNOMON_ASSIGN_OR_RETURN(relation, builder_.Counted(std::move(relation), visible));
  std::vector<int> counts = relation.fragments[0].counts;
  GNOMON_ASSIGN_OR_RETURN(
      Arrived arrived, builder_.Exchange(std::move(relation), visible,
                                         {.deal = {.kind = Deal::Kind::kRow, .run_rows = run_rows},
                                          .num_partitions = num_partitions}));
  return Relation{.fragments = {{.plan = arrived.plan,
                                 .inputs = {std::move(arrived.input)},
                                 .num_partitions = num_partitions,
                                 .counts = std::move(counts)}}};
}

Result<Relation> StageCutter::CutSample(const Plan& plan, const SampleSpec& spec) {
  const Plan& input = plan->inputs()[0];
  if (FitsOneTask(input)) return CutGathered(plan);
  GNOMON_ASSIGN_OR_RETURN(Relation relation, Cut(input));
  GNOMON_ASSIGN_OR_RETURN(relation, builder_.InOrder(std::move(relation), input->schema()));
  if (!relation.is_one_partition()) {
    GNOMON_ASSIGN_OR_RETURN(relation, builder_.Counted(std::move(relation), input->schema()));
  }
  GNOMON_RETURN_NOT_OK(PutOnTop(spec, &relation));
  return relation;
}

Result<Relation> StageCutter::CutSort(const Plan& plan, SortSpec spec) {
  const Plan& input = plan->inputs()[0];
  GNOMON_ASSIGN_OR_RETURN(Relation relation, Cut(input));
  if (!spec.limit.has_value() && !relation.is_one_partition() && !FitsOneTask(input)) {
    return builder_.SortedByRanges(std::move(relation), input->schema(), spec.keys,
                                   PartitionsOf(input));
  }
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

Result<Relation> StageCutter::CutRepartition(const Plan& plan, const RepartitionSpec& spec) {
  const Plan& input = plan->inputs()[0];
  if (spec.keys.empty()) {
    if (FitsOneTask(input)) return CutGathered(plan);
    GNOMON_ASSIGN_OR_RETURN(Relation rows, Cut(input));
    GNOMON_ASSIGN_OR_RETURN(rows, builder_.InOrder(std::move(rows), input->schema()));
    GNOMON_ASSIGN_OR_RETURN(rows,
                            DealtByRow(std::move(rows), input->schema(), 0, spec.num_partitions));
    rows.fragments[0].counts.clear();
    return rows;
  }
  GNOMON_ASSIGN_OR_RETURN(Relation relation, Cut(input));
  GNOMON_ASSIGN_OR_RETURN(Arrived arrived,
                          builder_.Exchange(std::move(relation), input->schema(),
                                            {.deal = {.kind = Deal::Kind::kHash, .keys = spec.keys},
                                             .num_partitions = spec.num_partitions}));
  return Relation{.fragments = {{.plan = arrived.plan,
                                 .inputs = {std::move(arrived.input)},
                                 .num_partitions = spec.num_partitions}}};
}

Result<Relation> StageCutter::CutWrite(const Plan& plan, const WriteSpec& spec) {
  if (plan != root_) {
    return Error(ErrorKind::kUnsupported, "a write node inside a plan cannot be distributed");
  }
  const Plan& input = plan->inputs()[0];
  const bool is_folder = !spec.partition_by.empty() || spec.rows_per_file > 0;
  if (!is_folder || FitsOneTask(input)) return CutGathered(plan);
  GNOMON_ASSIGN_OR_RETURN(Relation relation, Cut(input));
  const int num_partitions = PartitionsOf(input);
  if (spec.partition_by.empty()) {
    GNOMON_ASSIGN_OR_RETURN(relation, builder_.InOrder(std::move(relation), input->schema()));
    GNOMON_ASSIGN_OR_RETURN(relation, DealtByRow(std::move(relation), input->schema(),
                                                 spec.rows_per_file, num_partitions));
  } else {
    GNOMON_ASSIGN_OR_RETURN(
        Arrived arrived,
        builder_.Exchange(std::move(relation), input->schema(),
                          {.deal = {.kind = Deal::Kind::kHash, .keys = spec.partition_by},
                           .num_partitions = num_partitions}));
    relation = {.fragments = {{.plan = arrived.plan,
                               .inputs = {std::move(arrived.input)},
                               .num_partitions = num_partitions}}};
  }
  GNOMON_RETURN_NOT_OK(PutOnTop(spec, &relation));
  return builder_.Assembled(std::move(relation), spec.path);
}

Result<Relation> StageCutter::CutExternalWrite(const Plan& plan, const ExternalWriteSpec& spec) {
  if (plan != root_) {
    return Error(ErrorKind::kUnsupported, "an external write node is the root of its plan");
  }
  const Plan& input = plan->inputs()[0];
  const int num_partitions = spec.num_partitions > 0 ? spec.num_partitions : PartitionsOf(input);
  if (spec.keys.empty() || num_partitions == 1) return CutGathered(plan);
  const auto* latest = std::get_if<LatestSpec>(&input->spec());
  Relation relation;
  if (latest != nullptr && latest->keys == spec.keys) {
    GNOMON_ASSIGN_OR_RETURN(
        relation, Marked(input, [&] { return CutLatest(input, *latest, num_partitions); }));
  } else {
    GNOMON_ASSIGN_OR_RETURN(relation, Cut(input));
  }
  if (latest == nullptr || latest->keys != spec.keys || relation.order.empty()) {
    GNOMON_ASSIGN_OR_RETURN(
        Arrived arrived, builder_.Exchange(std::move(relation), input->schema(),
                                           {.deal = {.kind = Deal::Kind::kHash, .keys = spec.keys},
                                            .num_partitions = num_partitions}));
    relation = {.fragments = {{.plan = arrived.plan,
                               .inputs = {std::move(arrived.input)},
                               .num_partitions = num_partitions}}};
  }
  relation.order.clear();
  GNOMON_RETURN_NOT_OK(ShowAll(*input, &relation));
  GNOMON_RETURN_NOT_OK(PutOnTop(spec, &relation));
  return relation;
}

}  // namespace gnomon::dataset::internal
