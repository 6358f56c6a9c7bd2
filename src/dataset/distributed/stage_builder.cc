#include <optional>

#include <arrow/type.h>

#include "base/text.h"
#include "dataset/distributed/file_sink_internal.h"
#include "dataset/distributed/relation_internal.h"
#include "gnomon/stage_plan.pb.h"
#include "runtime/sink.h"
#include "table/file_system.h"

namespace gnomon::dataset::internal {

namespace {

bool HasPrefix(const Plan& plan, const std::string& prefix) {
  for (const auto& field : plan->schema()->fields()) {
    if (field->name().starts_with(prefix)) return true;
  }
  for (const Plan& input : plan->inputs()) {
    if (HasPrefix(input, prefix)) return true;
  }
  return false;
}

void CollectScans(const Plan& plan, std::vector<Plan>* scans) {
  if (std::holds_alternative<ScanSpec>(plan->spec())) scans->push_back(plan);
  for (const Plan& input : plan->inputs()) CollectScans(input, scans);
}

std::vector<SortKey> SortKeys(const std::vector<std::string>& order) {
  std::vector<SortKey> keys;
  for (const std::string& column : order) keys.push_back({.column = column});
  return keys;
}

const char* NameOf(runtime::Exchange exchange) {
  switch (exchange) {
    case runtime::Exchange::kOneToOne:
      return "one to one";
    case runtime::Exchange::kShuffle:
      return "shuffle";
    case runtime::Exchange::kBroadcast:
      return "all of it";
  }
  return "";
}

void WriteDeal(const Deal& deal, proto::StageDeal* out) {
  switch (deal.kind) {
    case Deal::Kind::kToAll:
      break;
    case Deal::Kind::kHash:
      out->mutable_hash();
      for (const std::string& key : deal.keys) out->mutable_hash()->add_keys(key);
      break;
    case Deal::Kind::kOrder:
      out->mutable_order()->set_column(deal.keys[0]);
      break;
    case Deal::Kind::kRow:
      out->mutable_row()->set_run_rows(deal.run_rows);
      break;
    case Deal::Kind::kRanges:
      for (const SortKey& key : deal.sort_keys) {
        auto* written = out->mutable_ranges()->add_keys();
        written->set_column(key.column);
        written->set_descending(key.descending);
        written->set_nulls_first(key.nulls_first);
      }
      break;
  }
}

std::string DescribeDeal(const Deal& deal) {
  switch (deal.kind) {
    case Deal::Kind::kToAll:
      break;
    case Deal::Kind::kHash:
      return Concat("by hash of ", Join(deal.keys, ", "));
    case Deal::Kind::kOrder:
      return "back in order";
    case Deal::Kind::kRow:
      return deal.run_rows > 0 ? Concat("in runs of ", deal.run_rows, " rows")
                               : std::string("round robin");
    case Deal::Kind::kRanges: {
      std::vector<std::string> names;
      for (const SortKey& key : deal.sort_keys) names.push_back(key.column);
      return Concat("by ranges of ", Join(names, ", "));
    }
  }
  return "";
}

/// That the rows are written is all.
class WrittenAlready : public runtime::Sink {
 public:
  Status Commit(const Context& context, std::string_view /*token*/) override {
    return context.Check();
  }
  Status Abort(const Context& /*context*/, std::string_view /*token*/) override {
    return Status::OK();
  }
  Status Clean(const Context& /*context*/, std::span<const std::string> /*pending*/) override {
    return Status::OK();
  }
};

std::shared_ptr<runtime::Sink> SinkOf(const ExternalWriteSpec& spec) {
  if (spec.commits != nullptr) return spec.commits;
  return std::make_shared<WrittenAlready>();
}

}  // namespace

StageBuilder::StageBuilder(const Plan& plan, const DistributionOptions& options)
    : options_(options), prefix_("__order_"), marks_(plan) {
  while (HasPrefix(plan, prefix_)) prefix_.insert(prefix_.begin(), '_');
  CollectScans(plan, &scans_);
}

Result<StagePlan> StageBuilder::Take() {
  for (const SharedStage& shared : shared_) GNOMON_RETURN_NOT_OK(FillShared(shared));
  result_.operators = marks_.operators();
  for (size_t place = 0; place < explain_.size(); ++place) {
    result_.explain += explain_[place].head;
    for (const runtime::StageEdge& edge : result_.job.stages[place].inputs) {
      result_.explain += Concat("  reads ", result_.job.stages[static_cast<size_t>(edge.from)].name,
                                " (", NameOf(edge.exchange), ")\n");
    }
    for (const std::string& line : explain_[place].lines)
      result_.explain += Concat("  ", line, "\n");
  }
  return std::move(result_);
}

Result<Plan> StageBuilder::Visible(const Plan& plan, const arrow::Schema& visible,
                                   const std::vector<std::string>& order) const {
  std::vector<std::string> names = visible.field_names();
  names.insert(names.end(), order.begin(), order.end());
  if (plan->schema()->field_names() == names) return plan;
  ProjectSpec project;
  for (const std::string& name : names) {
    project.expressions.push_back({name, ColumnExpression(name)});
  }
  return MakeNode(std::move(project), {plan});
}

int StageBuilder::NewPlace() {
  result_.job.stages.emplace_back();
  result_.marks.emplace_back();
  explain_.emplace_back();
  return static_cast<int>(result_.job.stages.size()) - 1;
}

Result<int> StageBuilder::Close(const Fragment& fragment, const Output& output) {
  const int place = NewPlace();
  GNOMON_RETURN_NOT_OK(Fill(place, fragment, output, marks_.Close(fragment.plan)));
  return place;
}

Status StageBuilder::WriteFragment(const Plan& plan, const Output& output, const StageMarks& marks,
                                   proto::StageFragment* message) {
  GNOMON_ASSIGN_OR_RETURN(*message->mutable_plan(), SerializePlan(plan));
  message->set_num_partitions(output.num_partitions);
  message->set_order_column(output.order_column);
  message->set_first_partition(output.first_partition);
  WriteDeal(output.deal, message->mutable_deal());
  for (const NodeMark& mark : marks) message->add_operators(mark.part_of);
  return Status::OK();
}

Status StageBuilder::Fill(int place, const Fragment& fragment, const Output& output,
                          StageMarks marks) {
  proto::StageFragment message;
  GNOMON_RETURN_NOT_OK(WriteFragment(fragment.plan, output, marks, &message));
  runtime::StageSpec stage{.name = Concat(place, " ", fragment.plan->name()),
                           .function = kPlanStage,
                           .fragment = {},
                           .num_partitions = fragment.num_partitions,
                           .arguments = fragment.arguments,
                           .num_outputs = output.num_partitions,
                           .resources = {.cpus = 1, .memory_bytes = options_.task_memory_bytes}};
  for (const FragmentInput& input : fragment.inputs) {
    proto::StageInput* edges = message.add_inputs();
    edges->set_name(input.name);
    for (const runtime::StageEdge& edge : input.edges) {
      edges->add_edges(static_cast<int>(stage.inputs.size()));
      stage.inputs.push_back(edge);
    }
  }
  const auto add_edge = [&](int from) {
    stage.inputs.push_back({from, runtime::Exchange::kBroadcast});
    return static_cast<int>(stage.inputs.size()) - 1;
  };
  if (!fragment.counts.empty()) {
    for (const int from : fragment.counts) message.mutable_counts()->add_edges(add_edge(from));
    message.mutable_counts()->set_first_partition(fragment.first_counted);
  }
  if (output.deal.boundaries >= 0)
    message.mutable_deal()->mutable_ranges()->set_edge(add_edge(output.deal.boundaries));
  if (output.sample_rows > 0) {
    message.mutable_sample()->set_rows(output.sample_rows);
    message.mutable_sample()->set_weight_column(output.weight_column);
  }
  if (output.boundary_shares > 0) {
    message.mutable_boundaries()->set_shares(output.boundary_shares);
    message.mutable_boundaries()->set_weight_column(output.weight_column);
  }
  if (!fragment.assembles.empty()) message.mutable_assemble()->set_path(fragment.assembles);
  stage.fragment = message.SerializeAsString();
  result_.job.stages[static_cast<size_t>(place)] = std::move(stage);
  result_.marks[static_cast<size_t>(place)] = std::move(marks);
  Explain(place, fragment, output);
  return Status::OK();
}

std::string StageBuilder::DescribeOutput(const Output& output) {
  if (output.deal.kind == Deal::Kind::kToAll) return {};
  return Concat(", ", DescribeDeal(output.deal), " to ", output.num_partitions);
}

void StageBuilder::Explain(int place, const Fragment& fragment, const Output& output) {
  const runtime::StageSpec& stage = result_.job.stages[static_cast<size_t>(place)];
  StageText& text = explain_[static_cast<size_t>(place)];
  text.head = Concat("stage ", stage.name, ": ", stage.num_partitions,
                     stage.num_partitions == 1 ? " partition" : " partitions");
  text.head += DescribeOutput(output);
  if (output.sample_rows > 0) text.head += ", a sample";
  if (output.boundary_shares > 0) text.head += ", boundaries";
  text.head += "\n";
  text.lines = Split(Trim(FormatPlan(fragment.plan)), '\n');
  if (fragment.scan != nullptr)
    text.lines.push_back(Concat("source is ", Trim(FormatPlan(fragment.scan))));
}

Result<Arrived> StageBuilder::Exchange(Relation relation,
                                       const std::shared_ptr<arrow::Schema>& visible,
                                       const Exchanged& how) {
  const bool adds_order = how.keeps_order && relation.order.empty();
  Arrived arrived{.plan = nullptr,
                  .input = {.name = NewInput(), .edges = {}},
                  .order = relation.order,
                  .order_partitions = relation.order_partitions};
  if (adds_order) arrived.order = {NewColumn()};
  int64_t first_partition = 0;
  for (Fragment& fragment : relation.fragments) {
    GNOMON_ASSIGN_OR_RETURN(fragment.plan, Visible(fragment.plan, *visible, relation.order));
    const Output output{.num_partitions = how.num_partitions,
                        .deal = how.deal,
                        .order_column = adds_order ? arrived.order[0] : std::string(),
                        .first_partition = first_partition};
    GNOMON_ASSIGN_OR_RETURN(arrived.input.edges.emplace_back(), CloseForExchange(fragment, output));
    first_partition += fragment.num_partitions;
  }
  if (adds_order) arrived.order_partitions = static_cast<int>(first_partition);
  arrow::FieldVector fields = visible->fields();
  for (const std::string& column : arrived.order) {
    fields.push_back(arrow::field(column, arrow::int64(), false));
  }
  GNOMON_ASSIGN_OR_RETURN(
      arrived.plan,
      MakeNode(InputSpec{.name = arrived.input.name, .schema = arrow::schema(std::move(fields))}));
  if (how.sorts && !relation.order.empty()) {
    GNOMON_ASSIGN_OR_RETURN(arrived.plan,
                            MakeNode(SortSpec{.keys = SortKeys(relation.order)}, {arrived.plan}));
  }
  if (!how.keeps_order) {
    arrived.order.clear();
    GNOMON_ASSIGN_OR_RETURN(arrived.plan, Visible(arrived.plan, *visible, {}));
  }
  return arrived;
}

Result<Relation> StageBuilder::Gather(Relation relation,
                                      const std::shared_ptr<arrow::Schema>& visible,
                                      std::optional<int64_t> limit) {
  if (limit.has_value()) {
    // Each partition's first rows are enough.
    for (Fragment& fragment : relation.fragments) {
      const NodeSpec first =
          relation.order.empty()
              ? NodeSpec(LimitSpec{.limit = *limit})
              : NodeSpec(SortSpec{.keys = SortKeys(relation.order), .limit = limit});
      GNOMON_ASSIGN_OR_RETURN(fragment.plan, MakeNode(first, {fragment.plan}));
    }
  }
  if (relation.is_one_partition()) return relation;
  GNOMON_ASSIGN_OR_RETURN(Arrived arrived, Exchange(std::move(relation), visible, {}));
  if (limit.has_value()) {
    GNOMON_ASSIGN_OR_RETURN(arrived.plan, MakeNode(LimitSpec{.limit = *limit}, {arrived.plan}));
  }
  return Relation{.fragments = {{.plan = arrived.plan, .inputs = {std::move(arrived.input)}}}};
}

Status StageBuilder::Finish(Relation relation, const Plan& root) {
  GNOMON_ASSIGN_OR_RETURN(relation, InOrder(std::move(relation), root->schema()));
  const auto* write = std::get_if<WriteSpec>(&root->spec());
  const auto* external = std::get_if<ExternalWriteSpec>(&root->spec());
  result_.writes = write != nullptr || external != nullptr;
  if (write != nullptr && table::IsObjectPath(write->path)) {
    return MakeError(ErrorKind::kUnsupported,
                     Concat("stages cannot write an object yet: ", write->path), {},
                     "write it in one process, or to a local file");
  }
  for (Fragment& fragment : relation.fragments) {
    if (!result_.writes) {
      GNOMON_ASSIGN_OR_RETURN(fragment.plan, Visible(fragment.plan, *root->schema(), {}));
    }
    Output output;
    if (result_.writes) output.num_partitions = 0;
    GNOMON_ASSIGN_OR_RETURN(const int stage, Close(fragment, output));
    runtime::StageSpec& spec = result_.job.stages.back();
    spec.keep_output = !result_.writes;
    if (write != nullptr) spec.sink = MakeFileSink(write->path);
    if (external != nullptr) spec.sink = SinkOf(*external);
    result_.results.push_back(static_cast<size_t>(stage));
  }
  return Status::OK();
}

}  // namespace gnomon::dataset::internal
