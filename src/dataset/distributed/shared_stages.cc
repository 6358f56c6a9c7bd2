// One stage for all that is made of scans of the same files.
#include <algorithm>
#include <utility>

#include "base/text.h"
#include "dataset/distributed/relation_internal.h"
#include "dataset/distributed/source_parts_internal.h"
#include "gnomon/stage_plan.pb.h"

namespace gnomon::dataset::internal {

namespace {

/// Of nodes before their inputs, the place of the input node that stands for the source; -1: none.
int PlaceOfSource(const Plan& plan, int* next) {
  const int place = (*next)++;
  const auto* input = std::get_if<InputSpec>(&plan->spec());
  if (input != nullptr && input->name == kSourceInput) return place;
  for (const Plan& each : plan->inputs()) {
    if (const int found = PlaceOfSource(each, next); found >= 0) return found;
  }
  return -1;
}

int NumNodes(const Plan& plan) {
  int nodes = 1;
  for (const Plan& input : plan->inputs()) nodes += NumNodes(input);
  return nodes;
}

/// Marks of the same nodes with `num_nodes` in the place of the source: the first of them gives its
/// rows.
StageMarks WithNodesForSource(const StageMarks& marks, size_t place, int num_nodes) {
  StageMarks more(marks.begin(), marks.begin() + static_cast<std::ptrdiff_t>(place) + 1);
  NodeMark below = marks[place];
  below.gives.clear();
  more.insert(more.end(), static_cast<size_t>(num_nodes) - 1, below);
  more.insert(more.end(), marks.begin() + static_cast<std::ptrdiff_t>(place) + 1, marks.end());
  return more;
}

}  // namespace

bool StageBuilder::HasTwin(const Plan& source) const {
  const auto* scan = std::get_if<ScanSpec>(&source->spec());
  if (scan == nullptr) return false;
  return std::ranges::any_of(scans_, [&](const Plan& other) {
    return other != source && ReadSameFiles(*scan, std::get<ScanSpec>(other->spec()));
  });
}

Result<runtime::StageEdge> StageBuilder::CloseForExchange(const Fragment& fragment,
                                                          const Output& output) {
  const bool is_branch =
      fragment.scan != nullptr && fragment.inputs.empty() && fragment.counts.empty() &&
      (output.deal.kind == Deal::Kind::kToAll || output.deal.kind == Deal::Kind::kHash);
  runtime::StageEdge edge;
  if (is_branch) {
    GNOMON_ASSIGN_OR_RETURN(edge, AddBranch(fragment, output));
  } else {
    GNOMON_ASSIGN_OR_RETURN(edge.from, Close(fragment, output));
  }
  edge.exchange = output.deal.kind == Deal::Kind::kToAll ? runtime::Exchange::kBroadcast
                                                         : runtime::Exchange::kShuffle;
  return edge;
}

Result<runtime::StageEdge> StageBuilder::AddBranch(const Fragment& fragment, const Output& output) {
  Branch branch{.fragment = fragment, .output = output, .marks = marks_.Close(fragment.plan)};
  for (SharedStage& shared : shared_) {
    std::vector<Plan> scans;
    int outputs = 0;
    for (const Branch& each : shared.branches) {
      scans.push_back(each.fragment.scan);
      outputs += each.output.num_partitions;
    }
    scans.push_back(fragment.scan);
    if (shared.branches[0].fragment.num_partitions != fragment.num_partitions) continue;
    GNOMON_ASSIGN_OR_RETURN(auto together, ShareScans(scans));
    if (!together) continue;
    shared.scans = *std::move(together);
    shared.branches.push_back(std::move(branch));
    return runtime::StageEdge{
        .from = shared.place, .first_output = outputs, .num_outputs = output.num_partitions};
  }
  const int place = NewPlace();
  shared_.push_back({.place = place, .branches = {std::move(branch)}, .scans = {}});
  return runtime::StageEdge{.from = place, .first_output = 0, .num_outputs = output.num_partitions};
}

Result<StageMarks> StageBuilder::WriteBranches(const SharedStage& shared, SharedRead* read,
                                               proto::StageFragment* message) {
  StageMarks marks(1);  // of the source
  for (size_t i = 0; i < shared.branches.size(); ++i) {
    const Branch& branch = shared.branches[i];
    const Plan& rows = shared.scans.members[i];
    int next = 0;
    const int place = PlaceOfSource(branch.fragment.plan, &next);
    GNOMON_CHECK(place >= 0, "a branch reads its source");
    const StageMarks of_branch =
        WithNodesForSource(branch.marks, static_cast<size_t>(place), NumNodes(rows));
    read->scans.push_back(branch.marks[static_cast<size_t>(place)].part_of);
    GNOMON_ASSIGN_OR_RETURN(const Plan plan,
                            ReplaceInput(branch.fragment.plan, kSourceInput, rows));
    GNOMON_RETURN_NOT_OK(WriteFragment(plan, branch.output, of_branch, message->add_branches()));
    marks.insert(marks.end(), of_branch.begin(), of_branch.end());
  }
  return marks;
}

Status StageBuilder::FillShared(const SharedStage& shared) {
  const Branch& first = shared.branches[0];
  if (shared.branches.size() == 1)
    return Fill(shared.place, first.fragment, first.output, first.marks);
  GNOMON_ASSIGN_OR_RETURN(
      const auto parts,
      PartsOfSource(shared.scans.scan, {.num_parts = options_.num_partitions,
                                        .partition_bytes = options_.partition_bytes,
                                        .min_part_bytes = options_.min_part_bytes}));
  GNOMON_CHECK(static_cast<int>(parts.size()) == first.fragment.num_partitions,
               "the parts of one scan are those of another one of its files");
  runtime::StageSpec stage{.name = Concat(shared.place, " shared scan"),
                           .function = kPlanStage,
                           .fragment = {},
                           .num_partitions = first.fragment.num_partitions,
                           .num_outputs = 0,
                           .resources = {.cpus = 1, .memory_bytes = options_.task_memory_bytes}};
  for (const Plan& part : parts) {
    GNOMON_ASSIGN_OR_RETURN(stage.arguments.emplace_back(), SerializePlan(part));
  }
  for (const Branch& branch : shared.branches) stage.num_outputs += branch.output.num_partitions;
  proto::StageFragment message;
  SharedRead read{.stage = static_cast<size_t>(shared.place), .scans = {}};
  GNOMON_ASSIGN_OR_RETURN(StageMarks marks, WriteBranches(shared, &read, &message));
  GNOMON_ASSIGN_OR_RETURN(
      const Plan source,
      MakeNode(InputSpec{.name = kSourceInput, .schema = shared.scans.scan->schema()}));
  // What reading takes is the first one's.
  marks[0].part_of = read.scans[0];
  marks[0].works_for = read.scans[0];
  GNOMON_RETURN_NOT_OK(
      WriteFragment(source, {.num_partitions = stage.num_outputs}, {marks[0]}, &message));
  stage.fragment = message.SerializeAsString();
  const auto place = static_cast<size_t>(shared.place);
  result_.job.stages[place] = std::move(stage);
  result_.marks[place] = std::move(marks);
  result_.shared_reads.push_back(std::move(read));
  return ExplainShared(shared);
}

Status StageBuilder::ExplainShared(const SharedStage& shared) {
  const runtime::StageSpec& stage = result_.job.stages[static_cast<size_t>(shared.place)];
  StageText& text = explain_[static_cast<size_t>(shared.place)];
  text.head = Concat("stage ", stage.name, ": ", stage.num_partitions,
                     stage.num_partitions == 1 ? " partition" : " partitions",
                     ", files that are read once for ", shared.branches.size(), " scans\n");
  text.lines = {std::string(Trim(FormatPlan(shared.scans.scan)))};
  for (size_t i = 0; i < shared.branches.size(); ++i) {
    const Branch& branch = shared.branches[i];
    text.lines.push_back(Concat("branch ", i + 1, DescribeOutput(branch.output)));
    GNOMON_ASSIGN_OR_RETURN(
        const Plan plan, ReplaceInput(branch.fragment.plan, kSourceInput, shared.scans.members[i]));
    for (const std::string& line : Split(Trim(FormatPlan(plan)), '\n'))
      text.lines.push_back(Concat("  ", line));
  }
  return Status::OK();
}

}  // namespace gnomon::dataset::internal
