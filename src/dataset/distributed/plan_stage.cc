// The stage function of plans: what runs on the workers.
#include <algorithm>
#include <map>
#include <utility>

#include <arrow/type.h>

#include "base/clock.h"
#include "base/text.h"
#include "dataset/distributed/block_source_internal.h"
#include "dataset/distributed/branch_task_internal.h"
#include "dataset/distributed/distributed.h"
#include "dataset/distributed/object_access_internal.h"
#include "dataset/distributed/operator_marks_internal.h"
#include "dataset/distributed/row_place_internal.h"
#include "dataset/distributed/shared_scan_internal.h"
#include "dataset/distributed/stage_cutter_internal.h"
#include "dataset/distributed/stage_output_internal.h"
#include "dataset/distributed/write_task_internal.h"
#include "dataset/external_sink.h"
#include "gnomon/stage_plan.pb.h"

namespace gnomon::dataset {

namespace {

using runtime::TaskContext;
using runtime::TaskOutput;

// Collects the schemas of the input nodes.
void CollectInputs(const Plan& plan, std::map<std::string, std::shared_ptr<arrow::Schema>>* out) {
  if (const auto* input = std::get_if<InputSpec>(&plan->spec()))
    (*out)[input->name] = input->schema;
  for (const Plan& each : plan->inputs()) CollectInputs(each, out);
}

// The plan with the task's own rows where it looks at positions.
Result<Plan> WithPositions(const Plan& plan, int64_t first_row) {
  std::vector<Plan> inputs;
  for (const Plan& each : plan->inputs()) {
    GNOMON_ASSIGN_OR_RETURN(inputs.emplace_back(), WithPositions(each, first_row));
  }
  NodeSpec spec = plan->spec();
  auto* sample = std::get_if<SampleSpec>(&spec);
  if (sample == nullptr && inputs == plan->inputs()) return plan;
  if (sample != nullptr) sample->first_position = first_row;
  return MakeNode(std::move(spec), std::move(inputs));
}

class PlanTask {
 public:
  PlanTask(TaskContext& task, const FunctionRegistry* functions, const PlanExtensions* extensions)
      : task_(task), functions_(functions), extensions_(extensions) {}

  Result<TaskOutput> Run() {
    if (!fragment_.ParseFromString(task_.task().fragment)) {
      return Error(ErrorKind::kDataLoss, "not the fragment of a plan");
    }
    GNOMON_ASSIGN_OR_RETURN(Plan plan, ParsePlan(fragment_.plan(), extensions_));
    if (!task_.task().argument.empty()) {
      GNOMON_ASSIGN_OR_RETURN(const Plan source, ParsePlan(task_.task().argument, extensions_));
      GNOMON_ASSIGN_OR_RETURN(plan, internal::ReplaceInput(plan, internal::kSourceInput, source));
    }
    if (fragment_.has_counts()) {
      GNOMON_ASSIGN_OR_RETURN(const auto place, internal::PlaceOf(task_, fragment_.counts()));
      GNOMON_ASSIGN_OR_RETURN(plan, WithPositions(plan, place.first_row));
    }
    const ExecutionOptions options = OptionsFor(plan);
    if (fragment_.branches_size() > 0) {
      return internal::RunBranches(
          task_, fragment_, plan, options,
          [this](const std::string& bytes) { return ParsePlan(bytes, extensions_); });
    }
    if (std::holds_alternative<WriteSpec>(plan->spec())) {
      return fragment_.num_partitions() == 0 ? internal::WriteWhole(task_, plan, options)
                                             : internal::WriteSome(task_, fragment_, plan, options);
    }
    if (const auto* write = std::get_if<ExternalWriteSpec>(&plan->spec()))
      return WriteExternally(*write, plan->inputs()[0], options);
    GNOMON_ASSIGN_OR_RETURN(const auto execution, Execution::Start(task_.context(), plan, options));
    if (fragment_.has_assemble())
      return internal::AssembleFiles(task_, fragment_.assemble().path(), *execution);
    GNOMON_ASSIGN_OR_RETURN(const auto output,
                            internal::OpenStageOutput(task_, fragment_, plan->schema()));
    while (true) {
      GNOMON_ASSIGN_OR_RETURN(const auto batch, execution->Next());
      if (batch == nullptr) break;
      GNOMON_RETURN_NOT_OK(output->Write(*batch));
    }
    GNOMON_ASSIGN_OR_RETURN(TaskOutput finished, output->Finish());
    finished.report = internal::MakeReport(execution->Stats());
    return finished;
  }

 private:
  // The rows of `input`, by the node above it.
  Result<TaskOutput> WriteExternally(const ExternalWriteSpec& write, const Plan& input,
                                     ExecutionOptions options) {
    if (!options.operators.empty()) options.operators.erase(options.operators.begin());
    const double start = MonotonicSeconds();
    GNOMON_ASSIGN_OR_RETURN(const auto rows, Execution::Start(task_.context(), input, options));
    TaskOutput output;
    GNOMON_ASSIGN_OR_RETURN(output.commit_token,
                            write.writer->Write(task_.context(), write.parameters, *rows));
    // The write node stands before those of its input, and gives the token.
    OperatorStats writing;
    writing.rows = 1;
    writing.bytes = static_cast<int64_t>(output.commit_token.size());
    writing.seconds = MonotonicSeconds() - start;
    std::vector<OperatorStats> stats = rows->Stats();
    for (OperatorStats& each : stats) {
      each.node += 1;
      writing.seconds = std::max(0.0, writing.seconds - each.seconds);
    }
    stats.push_back(writing);
    output.report = internal::MakeReport(stats);
    return output;
  }

  ExecutionOptions OptionsFor(const Plan& plan) const {
    ExecutionOptions options{
        .functions = functions_,
        .optimize = false,
        .operators = {fragment_.operators().begin(), fragment_.operators().end()}};
    std::map<std::string, std::shared_ptr<arrow::Schema>> schemas;
    CollectInputs(plan, &schemas);
    for (const proto::StageInput& input : fragment_.inputs()) {
      options.inputs[input.name()] = [this, &input, schema = schemas[input.name()]]() {
        return internal::OpenEdges(task_, {input.edges().begin(), input.edges().end()}, schema);
      };
    }
    return options;
  }

  TaskContext& task_;
  const FunctionRegistry* const functions_;
  const PlanExtensions* const extensions_;
  proto::StageFragment fragment_;
};

}  // namespace

Status RegisterPlanStages(runtime::StageRegistry& registry, const FunctionRegistry* functions,
                          const PlanExtensions* extensions) {
  GNOMON_RETURN_NOT_OK(registry.AddAccess(internal::kObjectAccess, internal::TakeObjectAccess));
  return registry.AddStage(internal::kPlanStage, [functions, extensions](TaskContext& task) {
    return PlanTask(task, functions, extensions).Run();
  });
}

}  // namespace gnomon::dataset
