#include <algorithm>
#include <limits>

#include <arrow/array.h>
#include <arrow/array/concatenate.h>
#include <arrow/buffer.h>
#include <arrow/chunked_array.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "dataset/operators/accumulator_internal.h"
#include "dataset/operators/spill_internal.h"
#include "pit/window.h"
#include "table/column.h"

/// Aggregates that look at all values of a group at once: median, quantile, most_frequent, last_k,
/// and those of plug-ins, whose values of a group go to one state in input order.
/// The values go to sixteen partitions by group, which spill; at the end each is evaluated as
/// windows are, with the input position for the time. A partition that memory does not hold is
/// dealt out again by other bits of the group; what three levels did not make small enough is
/// evaluated all the same.
namespace gnomon::dataset::internal {

namespace {

using ArrayPtr = std::shared_ptr<arrow::Array>;

constexpr int kNumPartitions = 16;
constexpr int kMostLevels = 3;
constexpr int64_t kBytesPerValue = 64;  ///< that the evaluation takes beside the value, about

pit::AggregateSpec SpecOf(const AggregateItem& item) {
  return {.function = item.function, .k = item.k, .quantile = item.quantile, .custom = item.custom};
}

class GatheredAccumulator : public Accumulator {
 public:
  GatheredAccumulator(const Environment& environment, const AggregateItem& item,
                      std::shared_ptr<arrow::DataType> input,
                      std::shared_ptr<arrow::DataType> result, OperatorStats* stats)
      : environment_(environment),
        stats_(stats),
        result_(std::move(result)),
        schema_(arrow::schema({arrow::field("group", arrow::int64(), false),
                               arrow::field("value", std::move(input))})),
        spec_(SpecOf(item)),
        partitions_(environment, schema_, kNumPartitions, stats) {}

  int64_t BytesPerGroup() const override { return 2 * sizeof(int64_t); }
  void Resize(int64_t num_groups) override { num_groups_ = num_groups; }

  Status Add(const ArrayPtr& values, const GroupedRows& rows) override {
    std::vector<int64_t> picked;
    std::vector<int64_t> groups;
    for (size_t i = 0; i < rows.rows.size(); ++i) {
      if (values->IsNull(rows.rows[i])) continue;
      picked.push_back(rows.rows[i]);
      groups.push_back(rows.groups[i]);
    }
    if (picked.empty()) return Status::OK();
    GNOMON_ASSIGN_OR_RETURN(auto column, table::Gather(arrow::ChunkedArray(values), picked));
    const auto count = static_cast<int64_t>(picked.size());
    auto group_column =
        std::make_shared<arrow::Int64Array>(count, arrow::Buffer::FromVector(std::move(groups)));
    return Deal(arrow::RecordBatch::Make(schema_, count, {group_column, std::move(column)}), 0,
                &partitions_);
  }

  Result<ArrayPtr> Finish() override {
    GNOMON_RETURN_NOT_OK(FinishAll(&partitions_, 0));
    arrow::ArrayVector chunks = std::move(results_);
    if (chunks.empty()) {
      GNOMON_ASSIGN_OR_RETURN(chunks.emplace_back(), arrow::MakeEmptyArray(result_));
    }
    std::vector<int64_t> places(static_cast<size_t>(num_groups_), -1);
    if (spec_.custom != nullptr && spec_.custom->has_value_of_nothing()) {
      std::ranges::fill(places, static_cast<int64_t>(result_groups_.size()));
      GNOMON_ASSIGN_OR_RETURN(chunks.emplace_back(), ValueOfNothing());
    }
    for (size_t i = 0; i < result_groups_.size(); ++i)
      places[static_cast<size_t>(result_groups_[i])] = static_cast<int64_t>(i);
    return table::Gather(arrow::ChunkedArray(std::move(chunks), result_), places);
  }

 private:
  /// What a group without values has.
  Result<ArrayPtr> ValueOfNothing() const {
    GNOMON_ASSIGN_OR_RETURN(auto none, arrow::MakeEmptyArray(schema_->field(1)->type()));
    const pit::Events events{.ids = {}, .times = {}, .created = {}, .columns = {std::move(none)}};
    constexpr int32_t kLabel = 0;
    constexpr int64_t kTime = 0;
    Context context = environment_.context;
    context.memory = nullptr;  // one row is needed whatever the budget says
    GNOMON_ASSIGN_OR_RETURN(auto results,
                            pit::AggregateWindows(context, events, std::span(&kLabel, 1),
                                                  std::span(&kTime, 1), std::span(&spec_, 1)));
    return results[0];
  }

  static Status Deal(const BatchPtr& batch, int level, PartitionWriter* to) {
    const auto groups = Int64Column(*batch, 0);
    std::vector<int32_t> partition_of;
    partition_of.reserve(groups.size());
    for (const int64_t group : groups)
      partition_of.push_back(static_cast<int32_t>(group >> (4 * level)) % kNumPartitions);
    return to->Add(batch, partition_of);
  }

  Status FinishAll(PartitionWriter* partitions, int level) {
    GNOMON_RETURN_NOT_OK(partitions->FlushAll());
    for (int i = 0; i < kNumPartitions; ++i) {
      if (partitions->rows(i) > 0) GNOMON_RETURN_NOT_OK(FinishPartition(partitions, i, level));
      partitions->Drop(i);
    }
    return Status::OK();
  }

  Status FinishPartition(PartitionWriter* partitions, int partition, int level) {
    MemoryReservation memory(environment_.context.memory);
    std::vector<BatchPtr> batches;
    GNOMON_ASSIGN_OR_RETURN(const auto source, partitions->Read(partition));
    while (true) {
      GNOMON_ASSIGN_OR_RETURN(auto batch, source->Next());
      if (batch == nullptr) break;
      GNOMON_ASSIGN_OR_RETURN(const int64_t bytes, BatchBytes(*batch));
      const bool granted = memory.TryGrow(bytes + kBytesPerValue * batch->num_rows());
      if (!granted && level + 1 < kMostLevels) {
        batches.clear();
        memory.Clear();
        return DealAgain(partitions, partition, level + 1);
      }
      batches.push_back(std::move(batch));
    }
    return Evaluate(batches);
  }

  Status DealAgain(PartitionWriter* partitions, int partition, int level) {
    PartitionWriter again(environment_, schema_, kNumPartitions, stats_);
    GNOMON_ASSIGN_OR_RETURN(const auto source, partitions->Read(partition));
    while (true) {
      GNOMON_RETURN_NOT_OK(environment_.context.Check());
      GNOMON_ASSIGN_OR_RETURN(const auto batch, source->Next());
      if (batch == nullptr) break;
      GNOMON_RETURN_NOT_OK(Deal(batch, level, &again));
    }
    return FinishAll(&again, level);
  }

  /// One label a group, after all its values.
  Status Evaluate(const std::vector<BatchPtr>& batches) {
    GNOMON_ASSIGN_OR_RETURN(const auto rows, ConcatenateBatches(batches));
    const auto groups = Int64Column(*rows, 0);
    std::vector<int64_t> distinct(groups.begin(), groups.end());
    std::ranges::sort(distinct);
    distinct.erase(std::ranges::unique(distinct).begin(), distinct.end());
    std::vector<int32_t> ids;
    ids.reserve(groups.size());
    for (const int64_t group : groups) {
      ids.push_back(
          static_cast<int32_t>(std::ranges::lower_bound(distinct, group) - distinct.begin()));
    }
    std::vector<int32_t> labels(distinct.size());
    for (size_t i = 0; i < labels.size(); ++i) labels[i] = static_cast<int32_t>(i);
    const std::vector<int64_t> label_times(labels.size(), rows->num_rows());
    const std::vector<int64_t> times = Positions(0, rows->num_rows());
    const pit::Events events{
        .ids = ids, .times = times, .created = {}, .columns = {rows->column(1)}};
    Context context = environment_.context;
    context.memory = nullptr;  // reserved with the values
    GNOMON_ASSIGN_OR_RETURN(auto results, pit::AggregateWindows(context, events, labels,
                                                                label_times, std::span(&spec_, 1)));
    results_.push_back(std::move(results[0]));
    result_groups_.insert(result_groups_.end(), distinct.begin(), distinct.end());
    return Status::OK();
  }

  const Environment& environment_;
  OperatorStats* const stats_;
  const std::shared_ptr<arrow::DataType> result_;
  const SchemaPtr schema_;
  const pit::AggregateSpec spec_;
  PartitionWriter partitions_;
  int64_t num_groups_ = 0;
  arrow::ArrayVector results_;
  std::vector<int64_t> result_groups_;  ///< of the values of results_
};

}  // namespace

Result<std::unique_ptr<Accumulator>> MakeGatheredAccumulator(
    const Environment& environment, const AggregateItem& item,
    const std::shared_ptr<arrow::DataType>& input, OperatorStats* stats) {
  GNOMON_ASSIGN_OR_RETURN(auto result, pit::ResultType(SpecOf(item), *input));
  return std::make_unique<GatheredAccumulator>(environment, item, input, std::move(result), stats);
}

}  // namespace gnomon::dataset::internal
