#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/error.h"
#include "dataset/distributed/relation_internal.h"
#include "dataset/distributed/stage_cutter_internal.h"
#include "dataset/plan.h"

namespace gnomon::dataset::internal {

/// What each node becomes, for CutIntoStages: one function a node, which cuts its inputs first.
class StageCutter {
 public:
  StageCutter(const Plan& root, const DistributionOptions& options)
      : builder_(root, options), root_(root) {}

  Result<StagePlan> Run();

 private:
  // stage_cutter.cc
  Result<Relation> Cut(const Plan& plan);
  Result<Relation> CutNode(const Plan& plan);
  /// What `cut` makes of a node, with the marks by which its rows are counted.
  template <typename Body>
  Result<Relation> Marked(const Plan& plan, const Body& cut) {
    const PlanNode* const outer = builder_.marks().Begin(plan.get());
    Result<Relation> relation = cut();
    builder_.marks().Begin(outer);
    if (!relation.ok()) return relation;
    for (const Fragment& fragment : relation->fragments)
      builder_.marks().MarkRows(fragment.plan, *plan);
    return relation;
  }
  Result<Relation> CutSource(const Plan& plan);
  /// Puts the node on top of each fragment.
  static Status PutOnTop(const NodeSpec& spec, Relation* relation);
  Result<Relation> CutRowWise(const Plan& plan, const NodeSpec& spec);
  Result<Relation> CutProject(const Plan& plan, ProjectSpec spec);
  /// All rows in order in one task, and the node on top.
  Result<Relation> CutGathered(const Plan& plan);
  /// The columns of the node in their order, for what looks at all of them.
  Status ShowAll(const PlanNode& node, Relation* relation) const;
  /// Whether bringing the rows below a node together in one task costs less than dividing the work.
  bool FitsOneTask(const Plan& plan) const;
  /// Of what a shuffle of the rows below a node is dealt to.
  int PartitionsOf(const Plan& plan) const;
  Result<Relation> CutLimit(const Plan& plan, const LimitSpec& spec);
  Result<Relation> Shown(Relation relation, const PlanNode& node) const;
  Result<Relation> CutUnion(const Plan& plan);
  Result<Relation> CutAggregate(const Plan& plan, AggregateSpec spec);
  /// Each partition gives its newest rows, which are shuffled by key: the newest of them are the
  /// newest of all.
  Result<Relation> CutLatest(const Plan& plan, const LatestSpec& spec, int num_partitions);

  // ordered_cuts.cc
  /// A function knows nothing of order columns. Calls are dealt out whole.
  Result<Relation> CutMapBatches(const Plan& plan, const MapBatchesSpec& spec);
  /// Rows in order in `num_partitions`: in whole runs, or round robin for run_rows 0. Tasks know
  /// the counts that their rows were dealt out by.
  Result<Relation> DealtByRow(Relation relation, const std::shared_ptr<arrow::Schema>& visible,
                              int64_t run_rows, int num_partitions);
  Result<Relation> CutSample(const Plan& plan, const SampleSpec& spec);
  /// Equal keys stand in input order in each partition and after gathering, so a sort of what is
  /// gathered is the whole of it; with a limit each partition gives its first rows only.
  Result<Relation> CutSort(const Plan& plan, SortSpec spec);
  Result<Relation> CutRepartition(const Plan& plan, const RepartitionSpec& spec);
  /// One file is one task. Partitions of a folder, and files of so many rows, are written by many:
  /// each has all rows of its files, in order.
  Result<Relation> CutWrite(const Plan& plan, const WriteSpec& spec);
  /// By hash of the keys. The newest row of each key is written where it was found.
  Result<Relation> CutExternalWrite(const Plan& plan, const ExternalWriteSpec& spec);

  // join_cuts.cc
  Result<Relation> CutJoin(const Plan& plan, const JoinSpec& spec);
  Result<Relation> CutBroadcastJoin(const Plan& plan, const JoinSpec& spec);
  Result<Relation> CutShuffledJoin(const Plan& plan, const JoinSpec& spec);
  /// Each label needs all events of its key, in the order of their positions: ties in time are
  /// decided by it. Both ways of sending them keep that order.
  Result<Relation> CutTimeMatch(const Plan& plan, const NodeSpec& spec, const TimeMatch& match);
  static bool GivesPairs(JoinType type);
  /// Pairs stand by left position, then right position; what has no partner on the right comes
  /// alone, what has none on the left behind all others.
  static Status OrderPairs(JoinType type, const std::vector<std::string>& right_order,
                           Relation* relation);

  StageBuilder builder_;
  const Plan root_;
};

}  // namespace gnomon::dataset::internal
