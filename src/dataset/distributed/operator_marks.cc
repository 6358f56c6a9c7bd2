#include <algorithm>
#include <set>
#include <span>
#include <utility>

#include "dataset/distributed/operator_marks_internal.h"
#include "gnomon/stage_plan.pb.h"

namespace gnomon::dataset::internal {

namespace {

Result<Plan> Unshared(const Plan& plan, std::set<const PlanNode*>* seen) {
  std::vector<Plan> inputs;
  for (const Plan& input : plan->inputs()) {
    GNOMON_ASSIGN_OR_RETURN(inputs.emplace_back(), Unshared(input, seen));
  }
  if (seen->insert(plan.get()).second && inputs == plan->inputs()) return plan;
  return MakeNode(plan->spec(), std::move(inputs));
}

// Places of nodes, each before its inputs.
void NumberNodes(const Plan& plan, std::map<const PlanNode*, int>* places) {
  places->emplace(plan.get(), static_cast<int>(places->size()));
  for (const Plan& input : plan->inputs()) NumberNodes(input, places);
}

void AddRows(const proto::StageOperator& from, OperatorStats* to) {
  to->rows += from.rows();
  to->batches += from.batches();
  to->bytes += from.bytes();
}

void AddWork(const proto::StageOperator& from, OperatorStats* to) {
  to->seconds += from.seconds();
  to->spilled_bytes += from.spilled_bytes();
  to->spill_files += from.spill_files();
  to->row_groups += from.row_groups();
  to->row_groups_pruned += from.row_groups_pruned();
  to->pages += from.pages();
  to->pages_pruned += from.pages_pruned();
}

// Whose work an operator of a task is that has these nodes.
int OwnerOf(std::span<const NodeMark> nodes) {
  for (const NodeMark& node : nodes) {
    if (node.part_of != 0) return node.part_of;
  }
  return nodes[0].works_for;
}

Result<proto::StageReport> ParseReport(const std::string& bytes) {
  proto::StageReport report;
  if (report.ParseFromString(bytes)) return report;
  return Error(ErrorKind::kDataLoss, "not the report of a plan's task");
}

Status AddTask(const std::string& bytes, const StageMarks& marks,
               std::vector<OperatorStats>* operators) {
  GNOMON_ASSIGN_OR_RETURN(const proto::StageReport report, ParseReport(bytes));
  std::map<int, double> seconds;  // by operator
  for (const proto::StageOperator& each : report.operators()) {
    const auto num_marks = static_cast<int64_t>(marks.size());
    if (each.node() < 0 || each.num_nodes() < 1 ||
        int64_t{each.node()} + each.num_nodes() > num_marks) {
      return Error(ErrorKind::kDataLoss, "the report of a task names nodes that its plan has not");
    }
    const auto nodes = std::span(marks).subspan(static_cast<size_t>(each.node()),
                                                static_cast<size_t>(each.num_nodes()));
    for (const NodeMark& node : nodes) {
      for (const int given : node.gives) {
        AddRows(each, &(*operators)[static_cast<size_t>(given - 1)]);
        seconds.try_emplace(given, 0);
      }
    }
    const int owner = OwnerOf(nodes);
    AddWork(each, &(*operators)[static_cast<size_t>(owner - 1)]);
    seconds[owner] += each.seconds();
  }
  for (const auto& [owner, of_task] : seconds) {
    OperatorStats& stats = (*operators)[static_cast<size_t>(owner - 1)];
    stats.tasks += 1;
    stats.longest_seconds = std::max(stats.longest_seconds, of_task);
  }
  return Status::OK();
}

/// Rows that the first node of a task's plan gave.
Result<int64_t> RowsOfFirstNode(const std::string& report) {
  GNOMON_ASSIGN_OR_RETURN(const proto::StageReport parsed, ParseReport(report));
  for (const proto::StageOperator& each : parsed.operators()) {
    if (each.node() == 0) return each.rows();
  }
  return 0;
}

}  // namespace

Result<Plan> WithoutSharedNodes(const Plan& plan) {
  std::set<const PlanNode*> seen;
  return Unshared(plan, &seen);
}

OperatorMarks::OperatorMarks(const Plan& plan) : operators_(ListOperators(plan)) {
  NumberNodes(plan, &places_);
  operator_of_place_.resize(places_.size());
  for (size_t i = 0; i < operators_.size(); ++i) {
    const OperatorStats& each = operators_[i];
    std::fill_n(operator_of_place_.begin() + each.node, each.num_nodes, static_cast<int>(i) + 1);
  }
  current_ = plan.get();
}

int OperatorMarks::OperatorOf(const PlanNode* node) const {
  return operator_of_place_[static_cast<size_t>(places_.at(node))];
}

const PlanNode* OperatorMarks::Begin(const PlanNode* node) { return std::exchange(current_, node); }

void OperatorMarks::MarkRows(const Plan& top, const PlanNode& node) {
  const int number = OperatorOf(&node);
  MarkWork(top, number);
  NodeMark& mark = marks_.at(top.get()).mark;
  if (mark.part_of == 0) mark.part_of = number;
  // Of fused nodes the first one gives the rows.
  if (operators_[static_cast<size_t>(number - 1)].node == places_.at(&node))
    mark.gives.push_back(number);
}

void OperatorMarks::MarkWork(const Plan& plan, int works_for) {
  const auto added =
      marks_.try_emplace(plan.get(), Marked{.node = plan, .mark = {.works_for = works_for}});
  if (!added.second) return;
  for (const Plan& input : plan->inputs()) MarkWork(input, works_for);
}

void OperatorMarks::AppendMarks(const Plan& plan, StageMarks* out) const {
  out->push_back(marks_.at(plan.get()).mark);
  for (const Plan& input : plan->inputs()) AppendMarks(input, out);
}

StageMarks OperatorMarks::Close(const Plan& plan) {
  MarkWork(plan, OperatorOf(current_));
  StageMarks marks;
  AppendMarks(plan, &marks);
  return marks;
}

std::string MakeReport(const std::vector<OperatorStats>& stats) {
  proto::StageReport report;
  for (const OperatorStats& from : stats) {
    proto::StageOperator* to = report.add_operators();
    to->set_node(from.node);
    to->set_num_nodes(from.num_nodes);
    to->set_rows(from.rows);
    to->set_batches(from.batches);
    to->set_bytes(from.bytes);
    to->set_seconds(from.seconds);
    to->set_spilled_bytes(from.spilled_bytes);
    to->set_spill_files(from.spill_files);
    to->set_row_groups(from.row_groups);
    to->set_row_groups_pruned(from.row_groups_pruned);
    to->set_pages(from.pages);
    to->set_pages_pruned(from.pages_pruned);
  }
  return report.SerializeAsString();
}

Result<MergedReports> MergeReports(std::vector<OperatorStats> operators,
                                   const std::vector<StageMarks>& marks,
                                   const std::vector<SharedRead>& shared,
                                   const runtime::JobResult& result) {
  MergedReports merged{.operators = std::move(operators)};
  for (size_t stage = 0; stage < result.reports.size(); ++stage) {
    for (const auto& report : result.reports[stage]) {
      if (!report.has_value()) {
        merged.num_missing += 1;
      } else {
        GNOMON_RETURN_NOT_OK(AddTask(*report, marks[stage], &merged.operators));
      }
    }
  }
  for (const SharedRead& read : shared) {
    SharedScanStats& scan = merged.shared_scans.emplace_back();
    for (const int place : read.scans) scan.operators.push_back(static_cast<size_t>(place) - 1);
    for (const auto& report : result.reports[read.stage]) {
      if (!report.has_value()) continue;
      GNOMON_ASSIGN_OR_RETURN(const int64_t rows, RowsOfFirstNode(*report));
      scan.rows += rows;
    }
  }
  return merged;
}

}  // namespace gnomon::dataset::internal
