#include <algorithm>

#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "dataset/operators/factories_internal.h"
#include "dataset/operators/numbered_source_internal.h"
#include "dataset/operators/sorter_internal.h"
#include "dataset/operators/time_match_internal.h"

/// As-of joins and window aggregates. The labels (left) are read first; when memory holds them, the
/// events (right) stream past them. When not, both sides are dealt out to sixteen partitions by the
/// hash of their keys and matched one by one, a partition that does not fit being dealt out again.
/// What four levels did not make small enough (one key with many rows), and what has no keys, is
/// matched in pieces of the labels, each with all events of the partition. The rows of all are then
/// merged by the labels' input positions.
namespace gnomon::dataset::internal {

namespace {

constexpr int kNumPartitions = 16;
constexpr int kMostLevels = 4;

Result<std::unique_ptr<EventMatcher>> MakeMatcher(const TimeMatchPlan& plan,
                                                  const LabelSet& labels) {
  return std::holds_alternative<AsOfJoinSpec>(plan.plan->spec()) ? MakeAsOfMatcher(plan, labels)
                                                                 : MakeWindowMatcher(plan, labels);
}

/// The labels with what was found for them.
class MatchedSource : public BatchSource {
 public:
  MatchedSource(const TimeMatchPlan& plan, const LabelSet& labels, const EventMatcher& matcher)
      : plan_(plan), labels_(labels), matcher_(matcher) {}

  Result<BatchPtr> Next() override {
    if (next_ == labels_.batches().size()) return nullptr;
    const BatchPtr& left = labels_.batches()[next_++];
    GNOMON_ASSIGN_OR_RETURN(auto found, matcher_.Columns(first_, left->num_rows()));
    first_ += left->num_rows();
    arrow::ArrayVector columns = left->columns();
    columns.insert(columns.begin() + plan_.num_left_columns, found.begin(), found.end());
    return arrow::RecordBatch::Make(plan_.output, left->num_rows(), std::move(columns));
  }

 private:
  const TimeMatchPlan& plan_;
  const LabelSet& labels_;
  const EventMatcher& matcher_;
  size_t next_ = 0;
  int64_t first_ = 0;
};

class TimeMatchOperator : public Operator {
 public:
  TimeMatchOperator(const Environment& environment, const Plan& plan, OperatorPtr left,
                    OperatorPtr right, OperatorStats* stats)
      : Operator(environment, plan->schema(), stats),
        plan_(environment, plan, false),
        spill_plan_(environment, plan, true),
        left_(std::move(left)),
        right_(std::move(right)),
        labels_(plan_),
        runs_(environment, spill_plan_.output, KeyEncoder({spill_plan_.output->num_fields() - 1}),
              stats) {}

 private:
  Result<BatchPtr> Pull() override {
    if (output_ == nullptr) GNOMON_RETURN_NOT_OK(Start());
    GNOMON_ASSIGN_OR_RETURN(auto batch, output_->Next());
    if (batch == nullptr || !spilled_) return batch;
    arrow::ArrayVector columns = batch->columns();
    columns.pop_back();
    return arrow::RecordBatch::Make(schema(), batch->num_rows(), std::move(columns));
  }

  Status Start() {
    while (true) {
      GNOMON_ASSIGN_OR_RETURN(const auto batch, left_->Next());
      if (batch == nullptr) break;
      GNOMON_ASSIGN_OR_RETURN(const bool added, labels_.TryAdd(batch));
      if (added) continue;
      auto left = labels_.TakeBatches();
      left.push_back(batch);
      return MatchSpilled(std::move(left), {});
    }
    GNOMON_ASSIGN_OR_RETURN(matcher_, MakeMatcher(plan_, labels_));
    while (true) {
      GNOMON_ASSIGN_OR_RETURN(const auto batch, right_->Next());
      if (batch == nullptr) break;
      GNOMON_ASSIGN_OR_RETURN(const bool added, matcher_->TryAdd(batch, false));
      if (added) continue;
      // Events that were let go are of no use to any label.
      auto right = matcher_->TakeBatches();
      right.push_back(batch);
      matcher_.reset();
      return MatchSpilled(labels_.TakeBatches(), std::move(right));
    }
    GNOMON_RETURN_NOT_OK(matcher_->Finish());
    output_ = std::make_unique<MatchedSource>(plan_, labels_, *matcher_);
    return Status::OK();
  }

  Status MatchSpilled(std::vector<BatchPtr> left_batches, std::vector<BatchPtr> right_batches) {
    spilled_ = true;
    NumberedSource left(context(), std::move(left_batches), left_.get());
    ContinuedSource right(context(), std::move(right_batches), right_.get());
    GNOMON_RETURN_NOT_OK(MatchPartitioned(&left, &right, 0));
    if (runs_.empty()) {
      output_ = std::make_unique<MemorySource>(std::vector<BatchPtr>());
      return Status::OK();
    }
    GNOMON_ASSIGN_OR_RETURN(output_, runs_.Merge(nullptr));
    return Status::OK();
  }

  Status MatchPartitioned(BatchSource* left, BatchSource* right, int level) {
    // Without keys there is nothing to tell partitions by.
    const int num_partitions = plan_.left_keys.empty() ? 1 : kNumPartitions;
    PartitionWriter right_parts(environment(), spill_plan_.right, num_partitions, stats());
    GNOMON_RETURN_NOT_OK(
        right_parts.AddAll(right, KeyEncoder(spill_plan_.right_keys), /*null_keys=*/false, level));
    PartitionWriter left_parts(environment(), spill_plan_.left, num_partitions, stats());
    // Labels with a null key are rows all the same.
    GNOMON_RETURN_NOT_OK(
        left_parts.AddAll(left, KeyEncoder(spill_plan_.left_keys), /*null_keys=*/true, level));
    for (int i = 0; i < num_partitions; ++i) {
      GNOMON_RETURN_NOT_OK(MatchPartition(&left_parts, &right_parts, i, level));
      left_parts.Drop(i);
      right_parts.Drop(i);
    }
    return Status::OK();
  }

  Status MatchPartition(PartitionWriter* left_parts, PartitionWriter* right_parts, int partition,
                        int level) {
    if (left_parts->rows(partition) == 0) return Status::OK();
    const bool is_divisible = level + 1 < kMostLevels && left_parts->num_partitions() > 1;
    GNOMON_ASSIGN_OR_RETURN(const auto left, left_parts->Read(partition));
    BatchPtr waiting;
    for (bool first = true; first || waiting != nullptr; first = false) {
      LabelSet labels(spill_plan_);
      GNOMON_RETURN_NOT_OK(Fill(left.get(), &labels, &waiting));
      GNOMON_ASSIGN_OR_RETURN(const auto right, right_parts->Read(partition));
      bool fits = waiting == nullptr || !is_divisible;
      if (fits) {
        GNOMON_ASSIGN_OR_RETURN(fits, MatchAll(labels, right.get(), !is_divisible));
      }
      if (fits) continue;
      // The labels' memory is given back before both sides are dealt out again.
      static_cast<void>(labels.TakeBatches());
      GNOMON_ASSIGN_OR_RETURN(const auto left_again, left_parts->Read(partition));
      GNOMON_ASSIGN_OR_RETURN(const auto right_again, right_parts->Read(partition));
      return MatchPartitioned(left_again.get(), right_again.get(), level + 1);
    }
    return Status::OK();
  }

  /// Adds a run of the labels. False: memory does not hold what the events leave.
  Result<bool> MatchAll(const LabelSet& labels, BatchSource* right, bool force) {
    GNOMON_ASSIGN_OR_RETURN(const auto matcher, MakeMatcher(spill_plan_, labels));
    while (true) {
      GNOMON_RETURN_NOT_OK(context().Check());
      GNOMON_ASSIGN_OR_RETURN(const auto batch, right->Next());
      if (batch == nullptr) break;
      GNOMON_ASSIGN_OR_RETURN(const bool added, matcher->TryAdd(batch, force));
      if (!added) return false;
    }
    GNOMON_RETURN_NOT_OK(matcher->Finish());
    MatchedSource matched(spill_plan_, labels, *matcher);
    GNOMON_RETURN_NOT_OK(runs_.Add(&matched));
    return true;
  }

  const TimeMatchPlan plan_;
  const TimeMatchPlan spill_plan_;
  const OperatorPtr left_;
  const OperatorPtr right_;
  LabelSet labels_;
  std::unique_ptr<EventMatcher> matcher_;  ///< of labels_
  RunStack runs_;
  bool spilled_ = false;
  std::unique_ptr<BatchSource> output_;  ///< of labels_, matcher_ or runs_
};

}  // namespace

OperatorPtr MakeTimeMatchOperator(const Environment& environment, const Plan& plan,
                                  OperatorPtr left, OperatorPtr right, OperatorStats* stats) {
  return std::make_unique<TimeMatchOperator>(environment, plan, std::move(left), std::move(right),
                                             stats);
}

}  // namespace gnomon::dataset::internal
