#include "dataset/distributed/distributed.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <utility>

#include <arrow/builder.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <arrow/type.h>

#include "base/memory.h"
#include "base/text.h"
#include "base/time.h"
#include "dataset/distributed/block_source_internal.h"
#include "dataset/distributed/file_sink_internal.h"
#include "dataset/distributed/stage_cutter_internal.h"
#include "dataset/optimizer/optimizer.h"

namespace gnomon::dataset {

namespace {

using internal::StagePlan;

// Blocks on the driver in order; each is released when it has been read.
class BlockResult : public DistributedResult {
 public:
  BlockResult(runtime::Backend& backend, std::shared_ptr<arrow::Schema> schema,
              DistributedStats stats, std::deque<runtime::BlockDescriptor> blocks)
      : backend_(backend),
        schema_(std::move(schema)),
        stats_(std::move(stats)),
        blocks_(std::move(blocks)) {}
  ~BlockResult() override {
    reader_.reset();
    for (const auto& block : blocks_) backend_.Release(std::span(&block, 1));
  }

  const std::shared_ptr<arrow::Schema>& schema() const override { return schema_; }
  const DistributedStats& work() const override { return stats_; }

  Result<std::shared_ptr<arrow::RecordBatch>> Next() override {
    while (!blocks_.empty()) {
      if (reader_ == nullptr) {
        GNOMON_ASSIGN_OR_RETURN(reader_, backend_.blocks().Open(blocks_.front()));
      }
      std::shared_ptr<arrow::RecordBatch> batch;
      GNOMON_RETURN_NOT_OK(reader_->ReadNext(&batch));
      if (batch != nullptr) return internal::WithSchema(*batch, schema_);
      reader_.reset();
      backend_.Release(std::span(&blocks_.front(), 1));
      blocks_.pop_front();
    }
    return nullptr;
  }

 private:
  runtime::Backend& backend_;
  const std::shared_ptr<arrow::Schema> schema_;
  const DistributedStats stats_;
  std::deque<runtime::BlockDescriptor> blocks_;
  std::shared_ptr<arrow::RecordBatchReader> reader_;
};

// The rows of a write node.
class TableResult : public DistributedResult {
 public:
  TableResult(std::shared_ptr<arrow::Table> table, DistributedStats stats)
      : table_(std::move(table)),
        schema_(table_->schema()),
        reader_(*table_),
        stats_(std::move(stats)) {}

  const std::shared_ptr<arrow::Schema>& schema() const override { return schema_; }
  const DistributedStats& work() const override { return stats_; }
  Result<std::shared_ptr<arrow::RecordBatch>> Next() override { return reader_.Next(); }

 private:
  const std::shared_ptr<arrow::Table> table_;
  const std::shared_ptr<arrow::Schema> schema_;
  arrow::TableBatchReader reader_;
  const DistributedStats stats_;
};

// The rows of an external write node.
Result<std::shared_ptr<arrow::Table>> TableOfTokens(const std::shared_ptr<arrow::Schema>& schema,
                                                    const std::vector<std::string>& tokens) {
  arrow::BinaryBuilder column;
  for (const std::string& token : tokens) GNOMON_RETURN_NOT_OK(column.Append(token));
  GNOMON_ASSIGN_OR_RETURN(auto values, column.Finish());
  return arrow::Table::Make(schema, arrow::ArrayVector{std::move(values)});
}

int PartitionsFor(const runtime::Backend& backend) {
  double cpus = 0;
  for (const runtime::NodeInfo& node : backend.Nodes()) cpus += node.capacity.cpus;
  return std::clamp(static_cast<int>(std::lround(2 * cpus)), 1, 1024);
}

Result<StagePlan> CutOptimized(const Plan& plan, const DistributionOptions& options) {
  if (const auto* write = std::get_if<WriteSpec>(&plan->spec())) {
    if (write->path.find("://") != std::string::npos) {
      return Error(ErrorKind::kUnsupported, "a distributed write goes to a local path, not to ",
                   write->path);
    }
  }
  if (!options.optimize) return internal::CutIntoStages(plan, options);
  GNOMON_ASSIGN_OR_RETURN(const OptimizedPlan optimized, Optimize(plan));
  return internal::CutIntoStages(optimized.plan, options);
}

Result<DistributedStats> StatsOf(const StagePlan& stages, const runtime::JobResult& result) {
  GNOMON_ASSIGN_OR_RETURN(auto merged, internal::MergeReports(stages.operators, stages.marks,
                                                              stages.shared_reads, result));
  return DistributedStats{.operators = std::move(merged.operators),
                          .shared_scans = std::move(merged.shared_scans),
                          .stages = result.stages,
                          .job = result.stats,
                          .missing_tasks = merged.num_missing};
}

}  // namespace

int64_t DistributedStats::spilled_bytes() const {
  int64_t bytes = 0;
  for (const OperatorStats& each : operators) bytes += each.spilled_bytes;
  for (const runtime::StageStats& stage : stages) bytes += stage.spilled_bytes;
  return bytes;
}

std::string FormatStats(const DistributedStats& stats) {
  std::string text = FormatStats(stats.operators);
  for (const SharedScanStats& read : stats.shared_scans) {
    text += Concat("read once for ", read.operators.size(), " scans: ", read.rows, " rows of ",
                   stats.operators[read.operators[0]].details, "\n");
  }
  for (const runtime::StageStats& stage : stats.stages) {
    text += Concat("stage ", stage.name, ": ", stage.partitions,
                   stage.partitions == 1 ? " task, " : " tasks, ", stage.rows, " rows, ",
                   FormatBytes(stage.bytes), ", ", FormatSeconds(stage.seconds), ", the longest ",
                   FormatSeconds(stage.longest_seconds));
    if (stage.spilled_bytes > 0) text += Concat(", spilled ", FormatBytes(stage.spilled_bytes));
    text.push_back('\n');
  }
  if (stats.missing_tasks > 0) {
    text += Concat("missing: the work of ", stats.missing_tasks,
                   " tasks that an earlier run of the job did\n");
  }
  return text;
}

Result<std::unique_ptr<DistributedResult>> ExecuteDistributed(const Context& context,
                                                              runtime::Backend& backend,
                                                              const Plan& plan,
                                                              const DistributionOptions& given) {
  DistributionOptions options = given;
  if (options.num_partitions <= 0) options.num_partitions = PartitionsFor(backend);
  GNOMON_ASSIGN_OR_RETURN(StagePlan stages, CutOptimized(plan, options));
  stages.job.name = options.name;
  GNOMON_ASSIGN_OR_RETURN(runtime::JobResult result,
                          runtime::RunJob(context, backend, stages.job, options.job));
  auto stats = StatsOf(stages, result);
  if (!stats.ok()) {
    for (const auto& partitions : result.outputs) {
      for (const auto& blocks : partitions) backend.Release(blocks);
    }
    return stats.status();
  }
  if (std::holds_alternative<ExternalWriteSpec>(plan->spec())) {
    GNOMON_ASSIGN_OR_RETURN(auto table,
                            TableOfTokens(plan->schema(), result.tokens[stages.results.front()]));
    return std::make_unique<TableResult>(std::move(table), *std::move(stats));
  }
  if (stages.writes) {
    GNOMON_ASSIGN_OR_RETURN(
        auto table, internal::RowsOfWriteToken(result.tokens[stages.results.front()].front()));
    return std::make_unique<TableResult>(std::move(table), *std::move(stats));
  }
  std::deque<runtime::BlockDescriptor> blocks;
  for (const size_t stage : stages.results) {
    for (const auto& partition : result.outputs[stage]) {
      blocks.insert(blocks.end(), partition.begin(), partition.end());
    }
  }
  return std::make_unique<BlockResult>(backend, plan->schema(), *std::move(stats),
                                       std::move(blocks));
}

Result<std::string> ExplainDistributed(const Plan& plan, const DistributionOptions& options) {
  GNOMON_ASSIGN_OR_RETURN(StagePlan stages, CutOptimized(plan, options));
  return std::move(stages.explain);
}

}  // namespace gnomon::dataset
