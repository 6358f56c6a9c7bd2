#include <set>

#include "base/ids.h"
#include "base/text.h"
#include "runtime/job.h"
#include "runtime/job_run_internal.h"

namespace gnomon::runtime {

namespace {

Status Wrong(const StageSpec& stage, std::string_view what) {
  return Error(ErrorKind::kInternal, "stage ", Quoted(stage.name), ": ", what);
}

Status ValidateStage(const JobPlan& plan, size_t index) {
  const StageSpec& stage = plan.stages[index];
  if (stage.num_partitions < 1) return Wrong(stage, "needs a partition");
  if (stage.num_outputs < 0) return Wrong(stage, "negative number of outputs");
  if (!stage.arguments.empty() &&
      stage.arguments.size() != static_cast<size_t>(stage.num_partitions)) {
    return Wrong(stage, "needs one argument for each partition");
  }
  for (const StageEdge& edge : stage.inputs) {
    if (edge.from < 0 || static_cast<size_t>(edge.from) >= index) {
      return Wrong(stage, "reads a stage that does not stand before it");
    }
    const StageSpec& from = plan.stages[static_cast<size_t>(edge.from)];
    if (edge.first_output < 0 || edge.num_outputs < 0 ||
        edge.num_outputs > from.num_outputs - edge.first_output) {
      return Wrong(stage, "reads outputs that a stage does not have");
    }
    if (edge.exchange == Exchange::kOneToOne && from.num_partitions != stage.num_partitions) {
      return Wrong(stage, "reads one to one from another number of partitions");
    }
    if (edge.exchange == Exchange::kShuffle && NumOutputs(edge, from) != stage.num_partitions) {
      return Wrong(stage, "shuffles from another number of outputs");
    }
  }
  return Status::OK();
}

// Appends a number or text such that no two sequences give the same bytes.
void AppendPart(std::string* out, std::string_view part) {
  *out += Concat(part.size(), ":", part, ";");
}
void AppendPart(std::string* out, int part) { *out += Concat(part, ";"); }

}  // namespace

int NumOutputs(const StageEdge& edge, const StageSpec& from) {
  return edge.num_outputs > 0 ? edge.num_outputs : from.num_outputs - edge.first_output;
}

Status JobPlan::Validate() const {
  std::set<std::string_view> names;
  for (size_t i = 0; i < stages.size(); ++i) {
    if (!names.insert(stages[i].name).second) return Wrong(stages[i], "the name is taken");
    GNOMON_RETURN_NOT_OK(ValidateStage(*this, i));
  }
  return Status::OK();
}

std::string JobPlan::Fingerprint() const {
  std::string text;
  for (const StageSpec& stage : stages) {
    AppendPart(&text, stage.name);
    AppendPart(&text, stage.function);
    AppendPart(&text, stage.fragment);
    AppendPart(&text, stage.num_partitions);
    AppendPart(&text, stage.num_outputs);
    for (const std::string& argument : stage.arguments) AppendPart(&text, argument);
    for (const StageEdge& edge : stage.inputs) {
      AppendPart(&text, edge.from);
      AppendPart(&text, static_cast<int>(edge.exchange));
      if (edge.first_output == 0 && edge.num_outputs == 0) continue;
      AppendPart(&text, "outputs");
      AppendPart(&text, edge.first_output);
      AppendPart(&text, edge.num_outputs);
    }
    AppendPart(&text, stage.sink != nullptr ? "sink" : "blocks");
  }
  return Sha256Hex(text);
}

}  // namespace gnomon::runtime
