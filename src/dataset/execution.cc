#include "dataset/execution.h"

#include <algorithm>
#include <deque>

#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "base/memory.h"
#include "base/parallel.h"
#include "base/progress.h"
#include "base/text.h"
#include "base/time.h"
#include "dataset/operators/factories_internal.h"
#include "dataset/optimizer/optimizer.h"
#include "dataset/plan_internal.h"

namespace gnomon::dataset {

namespace {

using internal::Environment;
using internal::OperatorPtr;

/// The nodes that become one operator, from `plan` down: one, or several that are fused. `place` is
/// that of `plan`, `operators` are those of the options.
std::vector<Plan> NodesOfOperator(const Plan& plan, int place, const std::vector<int>& operators) {
  std::vector<Plan> nodes = {plan};
  if (!internal::IsPipelineNode(*plan)) return nodes;
  int owner = 0;
  for (Plan node = plan;; ++place) {
    const auto index = static_cast<size_t>(place);
    const int known = index < operators.size() ? operators[index] : 0;
    if (owner != 0 && known != 0 && known != owner) {
      nodes.pop_back();
      return nodes;
    }
    if (known != 0) owner = known;
    node = node->inputs()[0];
    if (!internal::IsPipelineNode(*node)) return nodes;
    nodes.push_back(node);
  }
}

/// What is known of an operator before it runs. `nodes` from the upper one down.
OperatorStats DescribeOperator(const std::vector<Plan>& nodes, int place, int depth) {
  OperatorStats stats;
  stats.depth = depth;
  stats.node = place;
  stats.num_nodes = static_cast<int>(nodes.size());
  if (nodes.size() == 1) {
    stats.name = std::string(nodes[0]->name());
    stats.details = nodes[0]->Describe();
    if (stats.details.starts_with(Concat(stats.name, ": ")))
      stats.details.erase(0, stats.name.size() + 2);
    if (stats.details == stats.name) stats.details.clear();
    return stats;
  }
  std::vector<std::string> names;
  std::vector<std::string> details;
  for (auto node = nodes.rbegin(); node != nodes.rend(); ++node) {
    names.emplace_back((*node)->name());
    details.push_back((*node)->Describe());
  }
  stats.name = Join(names, " + ");
  stats.details = Join(details, "; ");
  stats.reason = "fused: each looks at one row at a time";
  return stats;
}

/// Turns a logical plan into operators; stats stand in the order of Explain.
class Planner {
 public:
  Planner(const Environment& environment, std::deque<OperatorStats>* stats)
      : environment_(environment), stats_(stats) {}

  Result<OperatorPtr> Make(const Plan& plan, int depth) {
    std::vector<Plan> nodes = NodesOfOperator(plan, next_place_, environment_.options.operators);
    OperatorStats* stats = &stats_->emplace_back(DescribeOperator(nodes, next_place_, depth));
    next_place_ += stats->num_nodes;
    if (internal::IsPipelineNode(*plan)) return MakePipeline(std::move(nodes), depth, stats);
    return MakeOperator(plan, depth, stats);
  }

 private:
  Result<OperatorPtr> MakeOperator(const Plan& plan, int depth, OperatorStats* stats) {
    std::vector<OperatorPtr> inputs;
    for (const Plan& input : plan->inputs()) {
      GNOMON_ASSIGN_OR_RETURN(auto made, Make(input, depth + 1));
      inputs.push_back(std::move(made));
    }
    const internal::Overloaded make{
        [&](const ScanSpec& spec) {
          stats->reason = ScanReason(spec);
          return internal::MakeScanOperator(environment_, plan, stats);
        },
        [&](const MapBatchesSpec&) {
          return internal::MakeMapBatchesOperator(environment_, plan, std::move(inputs[0]), stats);
        },
        [&](const JoinSpec&) -> Result<OperatorPtr> {
          stats->reason = Concat("hash join, the right side in memory as far as ", Limit(),
                                 " holds it, else 16 partitions in files");
          return internal::MakeJoinOperator(environment_, plan, std::move(inputs[0]),
                                            std::move(inputs[1]), stats);
        },
        [&](const AsOfJoinSpec&) { return MakeTimeMatch(plan, std::move(inputs), stats); },
        [&](const WindowAggregateSpec&) { return MakeTimeMatch(plan, std::move(inputs), stats); },
        [&](const AggregateSpec& spec) {
          stats->reason = spec.keys.empty() ? std::string("one group")
                                            : Concat("hash aggregation in ", NumThreads(),
                                                     " shards, new groups in files when ", Limit(),
                                                     " is used up");
          return internal::MakeAggregateOperator(environment_, plan, std::move(inputs[0]), stats);
        },
        [&](const SortSpec& spec) -> Result<OperatorPtr> {
          stats->reason = spec.limit
                              ? Concat("keeps the first ", *spec.limit, " only")
                              : Concat("merge sort, runs in files when ", Limit(), " is used up");
          return internal::MakeSortOperator(environment_, plan, std::move(inputs[0]), stats);
        },
        [&](const RepartitionSpec&) -> Result<OperatorPtr> {
          return internal::MakeRepartitionOperator(environment_, plan, std::move(inputs[0]), stats);
        },
        [&](const WriteSpec&) -> Result<OperatorPtr> {
          return internal::MakeWriteOperator(environment_, plan, std::move(inputs[0]), stats);
        },
        [&](const LatestSpec&) -> Result<OperatorPtr> {
          stats->reason =
              Concat("by hash, rows of new keys in files when ", Limit(), " is used up");
          return internal::MakeLatestOperator(environment_, plan, std::move(inputs[0]), stats);
        },
        [&](const ExternalWriteSpec&) -> Result<OperatorPtr> {
          return internal::MakeExternalWriteOperator(environment_, plan, std::move(inputs[0]),
                                                     stats);
        },
        [&](const ExternalSpec&) -> Result<OperatorPtr> {
          return internal::MakeExternalOperator(environment_, plan, stats);
        },
        [&](const auto&) -> Result<OperatorPtr> {
          if (inputs.empty()) return internal::MakeMemoryOperator(environment_, plan, stats);
          return internal::MakeStreamOperator(environment_, plan, std::move(inputs), stats);
        }};
    return std::visit(make, plan->spec());
  }

  Result<OperatorPtr> MakeTimeMatch(const Plan& plan, std::vector<OperatorPtr> inputs,
                                    OperatorStats* stats) {
    stats->reason = Concat("the left side in memory as far as ", Limit(),
                           " holds it and the right side streaming past it, else both in 16 "
                           "partitions by key in files");
    return internal::MakeTimeMatchOperator(environment_, plan, std::move(inputs[0]),
                                           std::move(inputs[1]), stats);
  }

  Result<OperatorPtr> MakePipeline(std::vector<Plan> nodes, int depth, OperatorStats* stats) {
    GNOMON_ASSIGN_OR_RETURN(auto made, Make(nodes.back()->inputs()[0], depth + 1));
    std::ranges::reverse(nodes);
    return internal::MakePipelineOperator(environment_, nodes, std::move(made), stats);
  }

  std::string Limit() const {
    const MemoryBudget* memory = environment_.context.memory;
    if (memory == nullptr) return "memory (no limit)";
    return memory->limit() > 0 ? Concat("the memory limit of ", FormatBytes(memory->limit()))
                               : Concat("memory budget ", memory->name());
  }

  static std::string ScanReason(const ScanSpec& spec) {
    if (spec.predicates.empty()) return {};
    return "row groups pruned by the bounds of the predicates";
  }

  const Environment& environment_;
  std::deque<OperatorStats>* const stats_;
  int next_place_ = 0;  // of the nodes, in the order of the operators
};

void ListOperatorsBelow(const Plan& plan, int depth, int* next_place,
                        std::vector<OperatorStats>* out) {
  const std::vector<Plan> nodes = NodesOfOperator(plan, *next_place, {});
  *next_place += out->emplace_back(DescribeOperator(nodes, *next_place, depth)).num_nodes;
  for (const Plan& input : nodes.back()->inputs())
    ListOperatorsBelow(input, depth + 1, next_place, out);
}

/// Functions are looked for before anything runs.
Status CheckFunctions(const Plan& plan, const FunctionRegistry* functions) {
  if (const auto* map = std::get_if<MapBatchesSpec>(&plan->spec())) {
    GNOMON_ASSIGN_OR_RETURN(const auto* function, internal::FunctionOf(*map, functions));
    if (map->row_wise && !function->row_wise) {
      return Error(ErrorKind::kUser, "batch function ", Quoted(map->function),
                   " is not registered as row-wise, but the plan says so");
    }
  }
  for (const Plan& input : plan->inputs()) GNOMON_RETURN_NOT_OK(CheckFunctions(input, functions));
  return Status::OK();
}

class PlanExecution : public Execution {
 public:
  PlanExecution(const Context& context, Plan plan, ExecutionOptions options)
      : environment_{context, std::move(options)}, plan_(std::move(plan)) {}

  Status Prepare() {
    if (environment_.options.batch_rows < 1 ||
        environment_.options.batch_rows > (int64_t{1} << 30)) {
      return Error(ErrorKind::kUser,
                   "batch_rows is not in 1 to 2^30: ", environment_.options.batch_rows);
    }
    GNOMON_RETURN_NOT_OK(CheckFunctions(plan_, environment_.options.functions));
    optimized_.plan = plan_;
    if (environment_.options.optimize) {
      GNOMON_ASSIGN_OR_RETURN(optimized_, Optimize(plan_));
    }
    GNOMON_ASSIGN_OR_RETURN(root_, Planner(environment_, &stats_).Make(optimized_.plan, 0));
    return Status::OK();
  }

  const std::shared_ptr<arrow::Schema>& schema() const override { return plan_->schema(); }

  Result<std::shared_ptr<arrow::RecordBatch>> Next() override {
    if (progress_ == nullptr && !ended_) {
      progress_ = std::make_unique<ProgressPhase>(environment_.context.progress,
                                                  std::string(plan_->name()));
    }
    auto batch = root_->Next();
    if (!batch.ok() || *batch == nullptr) {
      ended_ = true;
      if (progress_ != nullptr) progress_->SetNote(Concat(stats_[0].rows, " rows"));
      progress_.reset();
    }
    if (!batch.ok() || *batch == nullptr) return batch;
    return arrow::RecordBatch::Make(schema(), (*batch)->num_rows(), (*batch)->columns());
  }

  std::vector<OperatorStats> Stats() const override {
    std::vector<OperatorStats> stats(stats_.begin(), stats_.end());
    for (size_t i = 0; i < stats.size(); ++i) {
      // Operators count their inputs' time too; stats_ outlives them.
      double seconds = stats_[i].seconds;
      for (size_t k = i + 1; k < stats.size() && stats[k].depth > stats[i].depth; ++k) {
        if (stats[k].depth == stats[i].depth + 1) seconds -= stats_[k].seconds;
      }
      stats[i].seconds = std::max(0.0, seconds);
    }
    return stats;
  }

  std::string Explain() const override {
    std::string text = Concat("logical plan\n", Indented(FormatPlan(plan_)));
    text += Concat("optimised plan\n", Indented(FormatPlan(optimized_.plan)));
    for (const std::string& note : optimized_.notes) text += Concat("  - ", note, "\n");
    text += "physical plan\n";
    for (const OperatorStats& stats : stats_) {
      text.append(2 + 2 * static_cast<size_t>(stats.depth), ' ');
      text += stats.name;
      if (!stats.details.empty()) text += Concat(": ", stats.details);
      if (!stats.reason.empty()) text += Concat("  [", stats.reason, "]");
      text.push_back('\n');
    }
    return text;
  }

 private:
  static std::string Indented(const std::string& text) {
    std::string indented;
    bool at_begin = true;
    for (const char c : text) {
      if (at_begin) indented += "  ";
      indented.push_back(c);
      at_begin = c == '\n';
    }
    return indented;
  }

  const Environment environment_;
  const Plan plan_;
  OptimizedPlan optimized_;
  std::deque<OperatorStats> stats_;  ///< outlive root_
  OperatorPtr root_;
  std::unique_ptr<ProgressPhase> progress_;
  bool ended_ = false;
};

}  // namespace

std::vector<OperatorStats> ListOperators(const Plan& plan) {
  std::vector<OperatorStats> operators;
  int next_place = 0;
  ListOperatorsBelow(plan, 0, &next_place, &operators);
  return operators;
}

Result<std::unique_ptr<Execution>> Execution::Start(const Context& context, const Plan& plan,
                                                    ExecutionOptions options) {
  GNOMON_RETURN_NOT_OK(context.Check());
  auto execution = std::make_unique<PlanExecution>(context, plan, std::move(options));
  GNOMON_RETURN_NOT_OK(execution->Prepare());
  return execution;
}

std::string FormatStats(const std::vector<OperatorStats>& stats) {
  std::string text;
  for (const OperatorStats& one : stats) {
    text.append(2 * static_cast<size_t>(one.depth), ' ');
    text += Concat(one.name, ": ", one.rows, " rows, ", FormatBytes(one.bytes), ", ",
                   FormatSeconds(one.seconds));
    if (one.spill_files > 0)
      text +=
          Concat(", spilled ", FormatBytes(one.spilled_bytes), " in ", one.spill_files, " files");
    if (one.row_groups > 0)
      text += Concat(", ", one.row_groups_pruned, " of ", one.row_groups, " row groups pruned");
    if (one.pages > 0) text += Concat(", ", one.pages_pruned, " of ", one.pages, " pages pruned");
    if (one.tasks > 0)
      text += Concat(", in ", one.tasks, one.tasks == 1 ? " task" : " tasks", ", the longest ",
                     FormatSeconds(one.longest_seconds));
    text.push_back('\n');
  }
  return text;
}

}  // namespace gnomon::dataset
