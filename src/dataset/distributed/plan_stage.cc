// The stage function of plans: what runs on the workers.
#include <algorithm>
#include <map>
#include <utility>

#include <arrow/array.h>
#include <arrow/buffer.h>
#include <arrow/builder.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <arrow/type.h>

#include "base/text.h"
#include "dataset/distributed/block_source_internal.h"
#include "dataset/distributed/distributed.h"
#include "dataset/distributed/file_sink_internal.h"
#include "dataset/distributed/stage_cutter_internal.h"
#include "dataset/partition_hash.h"
#include "gnomon/stage_plan.pb.h"
#include "table/column.h"

namespace gnomon::dataset {

namespace {

using internal::AttemptPath;
using internal::MakeWriteToken;
using runtime::TaskContext;
using runtime::TaskOutput;

constexpr int kRowBits = 40;

// The plan with `replacement` instead of the input node of that name.
Result<Plan> Replace(const Plan& plan, const std::string& name, const Plan& replacement) {
  const auto* input = std::get_if<InputSpec>(&plan->spec());
  if (input != nullptr) return input->name == name ? replacement : plan;
  std::vector<Plan> inputs;
  for (const Plan& each : plan->inputs()) {
    GNOMON_ASSIGN_OR_RETURN(inputs.emplace_back(), Replace(each, name, replacement));
  }
  if (inputs == plan->inputs()) return plan;
  return MakeNode(plan->spec(), std::move(inputs));
}

// Collects the schemas of the input nodes.
void CollectInputs(const Plan& plan, std::map<std::string, std::shared_ptr<arrow::Schema>>* out) {
  if (const auto* input = std::get_if<InputSpec>(&plan->spec()))
    (*out)[input->name] = input->schema;
  for (const Plan& each : plan->inputs()) CollectInputs(each, out);
}

// Adds the order column, deals rows out to blocks.
class BlockOutput {
 public:
  BlockOutput(TaskContext& task, const proto::StageFragment& fragment,
              std::shared_ptr<arrow::Schema> schema)
      : task_(task), fragment_(fragment), schema_(std::move(schema)) {}

  Status Open() {
    if (!fragment_.order_column().empty()) {
      GNOMON_ASSIGN_OR_RETURN(
          schema_, schema_->AddField(schema_->num_fields(), arrow::field(fragment_.order_column(),
                                                                         arrow::int64(), false)));
    }
    for (int i = 0; i < fragment_.num_partitions(); ++i) {
      GNOMON_ASSIGN_OR_RETURN(blocks_.emplace_back(), task_.NewOutput(schema_));
    }
    shuffle_.num_partitions = fragment_.num_partitions();
    shuffle_.keys.assign(fragment_.keys().begin(), fragment_.keys().end());
    return Status::OK();
  }

  Status Write(const arrow::RecordBatch& rows) {
    if (rows.num_rows() == 0) return Status::OK();
    GNOMON_ASSIGN_OR_RETURN(const auto batch, WithOrder(rows));
    if (shuffle_.keys.empty()) return blocks_[0]->Write(*batch);
    GNOMON_ASSIGN_OR_RETURN(const auto partitions, PartitionOfRows(*batch, shuffle_, 0));
    std::vector<std::vector<int64_t>> members(blocks_.size());
    for (size_t row = 0; row < partitions.size(); ++row) {
      members[static_cast<size_t>(partitions[row])].push_back(static_cast<int64_t>(row));
    }
    for (size_t partition = 0; partition < members.size(); ++partition) {
      if (members[partition].empty()) continue;
      arrow::ArrayVector columns;
      for (const auto& column : batch->columns()) {
        GNOMON_ASSIGN_OR_RETURN(columns.emplace_back(),
                                table::Gather(arrow::ChunkedArray(column), members[partition]));
      }
      const auto num_rows = static_cast<int64_t>(members[partition].size());
      GNOMON_RETURN_NOT_OK(blocks_[partition]->Write(
          *arrow::RecordBatch::Make(schema_, num_rows, std::move(columns))));
    }
    return Status::OK();
  }

  Result<TaskOutput> Finish() {
    TaskOutput output;
    for (const auto& block : blocks_) {
      GNOMON_ASSIGN_OR_RETURN(const auto descriptor, task_.Finish(*block));
      output.blocks.push_back(descriptor);
    }
    return output;
  }

 private:
  Result<std::shared_ptr<arrow::RecordBatch>> WithOrder(const arrow::RecordBatch& rows) {
    arrow::ArrayVector columns = rows.columns();
    if (!fragment_.order_column().empty()) {
      const int64_t partition = fragment_.first_partition() + task_.task().partition;
      if (row_ + rows.num_rows() >= int64_t{1} << kRowBits) {
        return Error(ErrorKind::kExhausted, "a partition has more than 2^", kRowBits, " rows");
      }
      std::vector<int64_t> positions(static_cast<size_t>(rows.num_rows()));
      for (int64_t& position : positions) position = (partition << kRowBits) + row_++;
      columns.push_back(std::make_shared<arrow::Int64Array>(
          rows.num_rows(), arrow::Buffer::FromVector(std::move(positions))));
    }
    return arrow::RecordBatch::Make(schema_, rows.num_rows(), std::move(columns));
  }

  TaskContext& task_;
  const proto::StageFragment& fragment_;
  std::shared_ptr<arrow::Schema> schema_;
  std::vector<std::unique_ptr<runtime::BlockWriter>> blocks_;
  RepartitionSpec shuffle_;
  int64_t row_ = 0;
};

// The write node with the attempt's path instead of its own.
Result<Plan> WithPath(const Plan& plan, const std::string& path) {
  WriteSpec spec = std::get<WriteSpec>(plan->spec());
  spec.path = path;
  return MakeNode(std::move(spec), plan->inputs());
}

// The rows of a write node, with `path` instead of the attempt's.
Result<std::shared_ptr<arrow::Table>> WithFinalPaths(const arrow::Table& rows,
                                                     const std::string& attempt_path,
                                                     std::string path) {
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  arrow::StringBuilder paths;
  for (const auto& chunk : rows.column(0)->chunks()) {
    const auto& texts = static_cast<const arrow::StringArray&>(*chunk);
    for (int64_t i = 0; i < texts.length(); ++i) {
      const std::string_view text = texts.GetView(i);
      if (!text.starts_with(attempt_path)) {
        return Error(ErrorKind::kInternal, "a file outside of the attempt: ", text);
      }
      GNOMON_RETURN_NOT_OK(paths.Append(Concat(path, text.substr(attempt_path.size()))));
    }
  }
  GNOMON_ASSIGN_OR_RETURN(const auto array, paths.Finish());
  return rows.SetColumn(0, rows.schema()->field(0), std::make_shared<arrow::ChunkedArray>(array));
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
      GNOMON_ASSIGN_OR_RETURN(plan, Replace(plan, internal::kSourceInput, source));
    }
    if (std::holds_alternative<WriteSpec>(plan->spec())) return Write(plan);
    GNOMON_ASSIGN_OR_RETURN(const auto execution,
                            Execution::Start(task_.context(), plan, OptionsFor(plan)));
    BlockOutput output(task_, fragment_, plan->schema());
    GNOMON_RETURN_NOT_OK(output.Open());
    while (true) {
      GNOMON_ASSIGN_OR_RETURN(const auto batch, execution->Next());
      if (batch == nullptr) return output.Finish();
      GNOMON_RETURN_NOT_OK(output.Write(*batch));
    }
  }

 private:
  ExecutionOptions OptionsFor(const Plan& plan) const {
    ExecutionOptions options{.functions = functions_, .optimize = false};
    std::map<std::string, std::shared_ptr<arrow::Schema>> schemas;
    CollectInputs(plan, &schemas);
    for (const proto::StageInput& input : fragment_.inputs()) {
      options.inputs[input.name()] = [this, &input, schema = schemas[input.name()]]() {
        return internal::OpenEdges(task_, {input.edges().begin(), input.edges().end()}, schema);
      };
    }
    return options;
  }

  Result<TaskOutput> Write(const Plan& plan) {
    const std::string& path = std::get<WriteSpec>(plan->spec()).path;
    const std::string attempt_path = AttemptPath(path);
    GNOMON_ASSIGN_OR_RETURN(const Plan attempt, WithPath(plan, attempt_path));
    GNOMON_ASSIGN_OR_RETURN(const auto execution,
                            Execution::Start(task_.context(), attempt, OptionsFor(attempt)));
    arrow::RecordBatchVector batches;
    while (true) {
      GNOMON_ASSIGN_OR_RETURN(auto batch, execution->Next());
      if (batch == nullptr) break;
      batches.push_back(std::move(batch));
    }
    GNOMON_ASSIGN_OR_RETURN(const auto rows,
                            arrow::Table::FromRecordBatches(plan->schema(), batches));
    GNOMON_ASSIGN_OR_RETURN(const auto final_rows, WithFinalPaths(*rows, attempt_path, path));
    TaskOutput output;
    GNOMON_ASSIGN_OR_RETURN(output.commit_token, MakeWriteToken(attempt_path, path, *final_rows));
    return output;
  }

  TaskContext& task_;
  const FunctionRegistry* const functions_;
  const PlanExtensions* const extensions_;
  proto::StageFragment fragment_;
};

}  // namespace

Status RegisterPlanStages(runtime::StageRegistry& registry, const FunctionRegistry* functions,
                          const PlanExtensions* extensions) {
  return registry.AddStage(internal::kPlanStage, [functions, extensions](TaskContext& task) {
    return PlanTask(task, functions, extensions).Run();
  });
}

}  // namespace gnomon::dataset
