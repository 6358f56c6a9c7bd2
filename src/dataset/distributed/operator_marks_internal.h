#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/error.h"
#include "dataset/distributed/distributed.h"
#include "dataset/execution.h"
#include "dataset/plan.h"
#include "runtime/job.h"

/// Which nodes of stages do the work of which operators of the plan that was cut, so that the
/// statistics of tasks become those of the plan.
namespace gnomon::dataset::internal {

/// What a node of a stage's plan does for the operators of the whole plan, which count from 1 in
/// the order of Execution::Stats; 0 is none.
struct NodeMark {
  /// Those whose rows it gives. Each row of an operator is given by one node of one task.
  std::vector<int> gives = {};
  int part_of = 0;    ///< it is one of the nodes of this one
  int works_for = 0;  ///< its time and files are this one's
};

/// A stage's nodes, each before its inputs; of a stage with branches those of the source, then
/// those of each branch.
using StageMarks = std::vector<NodeMark>;

/// A stage whose first node reads for several scans of the plan.
struct SharedRead {
  size_t stage = 0;
  std::vector<int> scans;  ///< operators, as in NodeMark
};

/// The plan with a node of its own wherever one stands twice.
Result<Plan> WithoutSharedNodes(const Plan& plan);

class OperatorMarks {
 public:
  /// REQUIRES: no node of the plan stands twice.
  explicit OperatorMarks(const Plan& plan);

  const std::vector<OperatorStats>& operators() const { return operators_; }

  /// The node of the plan that is being turned into stages from now on; gives the one before.
  const PlanNode* Begin(const PlanNode* node);
  /// `top` gives all or some of the rows of `node`; what is below it and has no mark works for it.
  void MarkRows(const Plan& top, const PlanNode& node);
  /// The marks of a stage's plan. What has none works for the node that is being cut.
  StageMarks Close(const Plan& plan);

 private:
  struct Marked {
    Plan node;  // keeps the key
    NodeMark mark;
  };
  int OperatorOf(const PlanNode* node) const;
  void MarkWork(const Plan& plan, int works_for);
  void AppendMarks(const Plan& plan, StageMarks* out) const;

  std::vector<OperatorStats> operators_;
  std::map<const PlanNode*, int> places_;  // of the plan's nodes
  std::vector<int> operator_of_place_;
  std::map<const PlanNode*, Marked> marks_;  // of the stages' nodes
  const PlanNode* current_ = nullptr;
};

/// What a task tells of the operators of its plan: TaskOutput::report.
std::string MakeReport(const std::vector<OperatorStats>& stats);

/// The operators with the work of all tasks in them, and how many tasks nothing is known of.
struct MergedReports {
  std::vector<OperatorStats> operators;
  std::vector<SharedScanStats> shared_scans = {};
  int64_t num_missing = 0;
};
Result<MergedReports> MergeReports(std::vector<OperatorStats> operators,
                                   const std::vector<StageMarks>& marks,
                                   const std::vector<SharedRead>& shared,
                                   const runtime::JobResult& result);

}  // namespace gnomon::dataset::internal
