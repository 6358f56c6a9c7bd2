#include <algorithm>
#include <span>
#include <utility>
#include <vector>

#include <arrow/array.h>
#include <arrow/buffer.h>
#include <arrow/chunked_array.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <arrow/type.h>

#include "base/text.h"
#include "dataset/distributed/row_dealer_internal.h"
#include "dataset/distributed/stage_cutter_internal.h"
#include "dataset/distributed/stage_output_internal.h"
#include "table/column.h"

namespace gnomon::dataset::internal {

namespace {

using runtime::TaskContext;
using runtime::TaskOutput;
using BatchPtr = std::shared_ptr<arrow::RecordBatch>;
using SchemaPtr = std::shared_ptr<arrow::Schema>;

Result<BatchPtr> TakeRows(const arrow::RecordBatch& batch, const std::vector<int64_t>& rows) {
  arrow::ArrayVector columns;
  for (const auto& column : batch.columns()) {
    GNOMON_ASSIGN_OR_RETURN(columns.emplace_back(),
                            table::Gather(arrow::ChunkedArray(column), rows));
  }
  return arrow::RecordBatch::Make(batch.schema(), static_cast<int64_t>(rows.size()),
                                  std::move(columns));
}

std::shared_ptr<arrow::Array> Int64Column(std::vector<int64_t> values) {
  const auto length = static_cast<int64_t>(values.size());
  return std::make_shared<arrow::Int64Array>(length, arrow::Buffer::FromVector(std::move(values)));
}

Result<TaskOutput> OneBlock(TaskContext& task, const arrow::RecordBatch& rows) {
  GNOMON_ASSIGN_OR_RETURN(const auto writer, task.NewOutput(rows.schema()));
  if (rows.num_rows() > 0) GNOMON_RETURN_NOT_OK(writer->Write(rows));
  TaskOutput output;
  GNOMON_ASSIGN_OR_RETURN(output.blocks.emplace_back(), task.Finish(*writer));
  return output;
}

// Adds the order column, deals rows out to blocks.
class BlockOutput : public StageOutput {
 public:
  BlockOutput(TaskContext& task, const proto::StageFragment& fragment, SchemaPtr schema)
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
    GNOMON_ASSIGN_OR_RETURN(dealer_, MakeRowDealer(task_, fragment_));
    return Status::OK();
  }

  Status Write(const arrow::RecordBatch& rows) override {
    if (rows.num_rows() == 0) return Status::OK();
    GNOMON_ASSIGN_OR_RETURN(const auto batch, WithOrder(rows));
    if (dealer_ == nullptr) return blocks_[0]->Write(*batch);
    GNOMON_ASSIGN_OR_RETURN(const auto partitions, dealer_->PartitionsOf(*batch));
    std::vector<std::vector<int64_t>> members(blocks_.size());
    for (size_t row = 0; row < partitions.size(); ++row) {
      members[static_cast<size_t>(partitions[row])].push_back(static_cast<int64_t>(row));
    }
    for (size_t partition = 0; partition < members.size(); ++partition) {
      if (members[partition].empty()) continue;
      GNOMON_ASSIGN_OR_RETURN(const auto dealt, TakeRows(*batch, members[partition]));
      GNOMON_RETURN_NOT_OK(blocks_[partition]->Write(*dealt));
    }
    return Status::OK();
  }

  Result<TaskOutput> Finish() override {
    TaskOutput output;
    for (const auto& block : blocks_) {
      GNOMON_ASSIGN_OR_RETURN(const auto descriptor, task_.Finish(*block));
      output.blocks.push_back(descriptor);
    }
    return output;
  }

 private:
  Result<BatchPtr> WithOrder(const arrow::RecordBatch& rows) {
    arrow::ArrayVector columns = rows.columns();
    if (!fragment_.order_column().empty()) {
      const int64_t partition = fragment_.first_partition() + task_.task().partition;
      if (row_ + rows.num_rows() >= int64_t{1} << kRowBits) {
        return Error(ErrorKind::kExhausted, "a partition has more than 2^", kRowBits, " rows");
      }
      std::vector<int64_t> positions(static_cast<size_t>(rows.num_rows()));
      for (int64_t& position : positions) position = (partition << kRowBits) + row_++;
      columns.push_back(Int64Column(std::move(positions)));
    }
    return arrow::RecordBatch::Make(schema_, rows.num_rows(), std::move(columns));
  }

  TaskContext& task_;
  const proto::StageFragment& fragment_;
  SchemaPtr schema_;
  std::vector<std::unique_ptr<runtime::BlockWriter>> blocks_;
  std::unique_ptr<RowDealer> dealer_;
  int64_t row_ = 0;
};

// Keeps every stride-th row; the stride doubles when that is too many.
class SampleOutput : public StageOutput {
 public:
  SampleOutput(TaskContext& task, const proto::StageSample& sample, SchemaPtr schema)
      : task_(task), sample_(sample), schema_(std::move(schema)) {}

  Status Write(const arrow::RecordBatch& rows) override {
    std::vector<int64_t> kept;
    for (int64_t row = 0; row < rows.num_rows(); ++row, ++position_) {
      if (position_ % stride_ == 0) kept.push_back(row);
    }
    if (kept.empty()) return Status::OK();
    num_kept_ += static_cast<int64_t>(kept.size());
    GNOMON_ASSIGN_OR_RETURN(kept_.emplace_back(), TakeRows(rows, kept));
    while (num_kept_ > sample_.rows()) GNOMON_RETURN_NOT_OK(Thin());
    return Status::OK();
  }

  Result<TaskOutput> Finish() override {
    GNOMON_ASSIGN_OR_RETURN(const auto rows, Kept());
    const std::vector<int64_t> weights(static_cast<size_t>(rows->num_rows()), stride_);
    GNOMON_ASSIGN_OR_RETURN(
        const auto weighted,
        rows->AddColumn(rows->num_columns(),
                        arrow::field(sample_.weight_column(), arrow::int64(), false),
                        Int64Column(weights)));
    return OneBlock(task_, *weighted);
  }

 private:
  Result<BatchPtr> Kept() const {
    GNOMON_ASSIGN_OR_RETURN(const auto table, arrow::Table::FromRecordBatches(schema_, kept_));
    return table->CombineChunksToBatch();
  }

  Status Thin() {
    GNOMON_ASSIGN_OR_RETURN(const auto all, Kept());
    std::vector<int64_t> every_second;
    for (int64_t row = 0; row < all->num_rows(); row += 2) every_second.push_back(row);
    GNOMON_ASSIGN_OR_RETURN(auto thinned, TakeRows(*all, every_second));
    num_kept_ = thinned->num_rows();
    kept_ = {std::move(thinned)};
    stride_ *= 2;
    return Status::OK();
  }

  TaskContext& task_;
  const proto::StageSample& sample_;
  const SchemaPtr schema_;
  std::vector<BatchPtr> kept_;
  int64_t num_kept_ = 0;
  int64_t position_ = 0;
  int64_t stride_ = 1;
};

// Of sorted samples the rows that cut their weight into equal shares.
class BoundaryOutput : public StageOutput {
 public:
  BoundaryOutput(TaskContext& task, const proto::StageBoundaries& boundaries, SchemaPtr schema)
      : task_(task), boundaries_(boundaries), schema_(std::move(schema)) {}

  Status Write(const arrow::RecordBatch& rows) override {
    samples_.push_back(arrow::RecordBatch::Make(schema_, rows.num_rows(), rows.columns()));
    return Status::OK();
  }

  Result<TaskOutput> Finish() override {
    GNOMON_ASSIGN_OR_RETURN(const auto table, arrow::Table::FromRecordBatches(schema_, samples_));
    GNOMON_ASSIGN_OR_RETURN(const BatchPtr samples, table->CombineChunksToBatch());
    const int weight = schema_->GetFieldIndex(boundaries_.weight_column());
    const auto& weights = static_cast<const arrow::Int64Array&>(*samples->column(weight));
    GNOMON_ASSIGN_OR_RETURN(const auto keys, samples->RemoveColumn(weight));
    GNOMON_ASSIGN_OR_RETURN(const auto chosen, TakeRows(*keys, Choose(weights)));
    return OneBlock(task_, *chosen);
  }

 private:
  std::vector<int64_t> Choose(const arrow::Int64Array& weights) const {
    double total = 0;
    for (int64_t row = 0; row < weights.length(); ++row)
      total += static_cast<double>(weights.Value(row));
    std::vector<int64_t> rows;
    double before = 0;
    for (int64_t row = 0; row < weights.length(); ++row) {
      const auto cut = static_cast<double>(rows.size() + 1) * total / boundaries_.shares();
      if (before >= cut && static_cast<int>(rows.size()) + 1 < boundaries_.shares())
        rows.push_back(row);
      before += static_cast<double>(weights.Value(row));
    }
    return rows;
  }

  TaskContext& task_;
  const proto::StageBoundaries& boundaries_;
  const SchemaPtr schema_;
  std::vector<BatchPtr> samples_;
};

}  // namespace

Result<std::unique_ptr<StageOutput>> OpenStageOutput(TaskContext& task,
                                                     const proto::StageFragment& fragment,
                                                     SchemaPtr schema) {
  if (fragment.has_sample())
    return std::make_unique<SampleOutput>(task, fragment.sample(), std::move(schema));
  if (fragment.has_boundaries())
    return std::make_unique<BoundaryOutput>(task, fragment.boundaries(), std::move(schema));
  auto output = std::make_unique<BlockOutput>(task, fragment, std::move(schema));
  GNOMON_RETURN_NOT_OK(output->Open());
  return output;
}

}  // namespace gnomon::dataset::internal
