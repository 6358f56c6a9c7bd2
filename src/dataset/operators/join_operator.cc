#include <algorithm>

#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "base/text.h"
#include "dataset/operators/factories_internal.h"
#include "dataset/operators/hash_join_internal.h"
#include "dataset/operators/numbered_source_internal.h"
#include "dataset/operators/sorter_internal.h"

/// Hash join. The right side is read first; when memory holds it, left batches stream past it. When
/// not, both sides are dealt out to sixteen partitions by the hash of their keys and joined one by
/// one, a partition that does not fit being dealt out again. What four levels did not make small
/// enough (many rows of one key) is joined in pieces of the right side, each with all left rows of
/// the partition. The rows of all partitions are then merged by their input positions.
namespace gnomon::dataset::internal {

namespace {

constexpr int kNumPartitions = 16;
constexpr int kMostLevels = 4;

class JoinOperator : public Operator {
 public:
  JoinOperator(const Environment& environment, const Plan& plan, OperatorPtr left,
               OperatorPtr right, OperatorStats* stats)
      : Operator(environment, plan->schema(), stats),
        plan_(environment, plan, false),
        spill_plan_(environment, plan, true),
        left_(std::move(left)),
        right_(std::move(right)),
        table_(plan_),
        runs_(environment, spill_plan_.output,
              KeyEncoder(
                  {spill_plan_.output->num_fields() - 2, spill_plan_.output->num_fields() - 1}),
              stats) {}

 private:
  Result<BatchPtr> Pull() override {
    if (output_ == nullptr) GNOMON_RETURN_NOT_OK(Start());
    GNOMON_ASSIGN_OR_RETURN(auto batch, output_->Next());
    if (batch == nullptr || !spilled_) return batch;
    arrow::ArrayVector columns = batch->columns();
    columns.resize(columns.size() - 2);
    return arrow::RecordBatch::Make(schema(), batch->num_rows(), std::move(columns));
  }

  Status Start() {
    while (true) {
      GNOMON_ASSIGN_OR_RETURN(const auto batch, right_->Next());
      if (batch == nullptr) break;
      GNOMON_ASSIGN_OR_RETURN(const bool added, table_.TryAdd(batch));
      if (added) continue;
      spilled_ = true;
      auto batches = table_.TakeBatches();
      batches.push_back(batch);
      return JoinSpilled(std::move(batches));
    }
    output_ = std::make_unique<JoinProbe>(plan_, left_.get(), &table_, true, nullptr);
    return Status::OK();
  }

  Status JoinSpilled(std::vector<BatchPtr> right_batches) {
    NumberedSource right(context(), std::move(right_batches), right_.get());
    NumberedSource left(context(), {}, left_.get());
    GNOMON_RETURN_NOT_OK(JoinPartitioned(&left, &right, 0));
    if (runs_.empty()) {
      output_ = std::make_unique<MemorySource>(std::vector<BatchPtr>());
      return Status::OK();
    }
    GNOMON_ASSIGN_OR_RETURN(output_, runs_.Merge(nullptr));
    return Status::OK();
  }

  Status JoinPartitioned(BatchSource* left, BatchSource* right, int level) {
    PartitionWriter right_parts(environment(), spill_plan_.right, kNumPartitions, stats());
    const bool null_right = plan_.spec.type == JoinType::kFull;
    GNOMON_RETURN_NOT_OK(
        right_parts.AddAll(right, KeyEncoder(spill_plan_.right_keys), null_right, level));
    PartitionWriter left_parts(environment(), spill_plan_.left, kNumPartitions, stats());
    const bool null_left =
        plan_.spec.type != JoinType::kInner && plan_.spec.type != JoinType::kSemi;
    GNOMON_RETURN_NOT_OK(
        left_parts.AddAll(left, KeyEncoder(spill_plan_.left_keys), null_left, level));
    for (int i = 0; i < kNumPartitions; ++i) {
      GNOMON_RETURN_NOT_OK(JoinPartition(&left_parts, &right_parts, i, level));
      left_parts.Drop(i);
      right_parts.Drop(i);
    }
    return Status::OK();
  }

  Status JoinPartition(PartitionWriter* left_parts, PartitionWriter* right_parts, int partition,
                       int level) {
    const int64_t left_rows = left_parts->rows(partition);
    const int64_t right_rows = right_parts->rows(partition);
    const JoinType type = plan_.spec.type;
    const bool needs_right = type == JoinType::kInner || type == JoinType::kSemi;
    if (left_rows == 0 && (type != JoinType::kFull || right_rows == 0)) return Status::OK();
    if (right_rows == 0 && needs_right) return Status::OK();
    GNOMON_ASSIGN_OR_RETURN(const auto right, right_parts->Read(partition));
    std::vector<bool> matched(static_cast<size_t>(left_rows), false);
    BatchPtr waiting;
    bool is_last = false;
    for (bool first = true; !is_last; first = false) {
      JoinTable table(spill_plan_);
      GNOMON_RETURN_NOT_OK(Fill(right.get(), &table, &waiting));
      is_last = waiting == nullptr;
      if (first && !is_last && level + 1 < kMostLevels) {
        // The table's memory is given back before both sides are dealt out again.
        static_cast<void>(table.TakeBatches());
        GNOMON_ASSIGN_OR_RETURN(const auto left_again, left_parts->Read(partition));
        GNOMON_ASSIGN_OR_RETURN(const auto right_again, right_parts->Read(partition));
        return JoinPartitioned(left_again.get(), right_again.get(), level + 1);
      }
      GNOMON_ASSIGN_OR_RETURN(const auto left, left_parts->Read(partition));
      JoinProbe probe(spill_plan_, left.get(), &table, is_last, &matched);
      GNOMON_RETURN_NOT_OK(runs_.Add(&probe));
    }
    return Status::OK();
  }

  const JoinPlan plan_;
  const JoinPlan spill_plan_;
  const OperatorPtr left_;
  const OperatorPtr right_;
  JoinTable table_;
  RunStack runs_;
  bool spilled_ = false;
  std::unique_ptr<BatchSource> output_;
};

}  // namespace

OperatorPtr MakeJoinOperator(const Environment& environment, const Plan& plan, OperatorPtr left,
                             OperatorPtr right, OperatorStats* stats) {
  return std::make_unique<JoinOperator>(environment, plan, std::move(left), std::move(right),
                                        stats);
}

}  // namespace gnomon::dataset::internal
