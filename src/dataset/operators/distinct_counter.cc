#include <algorithm>
#include <cstring>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <arrow/util/checked_cast.h>

#include "base/ids.h"
#include "dataset/operators/distinct_counter_internal.h"

namespace gnomon::dataset::internal {

namespace {

constexpr int kNumPartitions = 16;
constexpr int64_t kGrant = 64 * 1024;
/// Held whatever the budget says, so that every level makes progress.
constexpr int64_t kLeastValues = 256;
constexpr size_t kAsideRows = 1024;

SchemaPtr AsideSchema() {
  return arrow::schema({arrow::field("group", arrow::int64(), false),
                        arrow::field("value", arrow::large_binary(), false)});
}

}  // namespace

DistinctCounter::DistinctCounter(const Environment& environment, OperatorStats* stats, int level)
    : environment_(environment),
      stats_(stats),
      level_(level),
      reservation_(environment.context.memory) {}

Status DistinctCounter::Add(int32_t group, std::string_view value) {
  key_.resize(sizeof(group));
  std::memcpy(key_.data(), &group, sizeof(group));
  key_.append(value);
  const uint64_t hash = HashBytes(key_, static_cast<uint64_t>(level_) + 1);
  if (values_.Find(key_, hash) != KeyMap::kAbsent) return Status::OK();
  const int64_t bytes = KeyMap::BytesOf(key_);
  if (!full_ && granted_ < bytes && values_.size() >= kLeastValues) {
    const int64_t grant = std::max(kGrant, bytes);
    full_ = !reservation_.TryGrow(grant);
    if (!full_) granted_ += grant;
  }
  if (full_) return PutAside(group, value, hash);
  granted_ = std::max<int64_t>(0, granted_ - bytes);
  values_.Insert(key_, hash);
  if (static_cast<size_t>(group) >= counts_.size()) counts_.resize(static_cast<size_t>(group) + 1);
  ++counts_[static_cast<size_t>(group)];
  return Status::OK();
}

Status DistinctCounter::PutAside(int32_t group, std::string_view value, uint64_t hash) {
  if (aside_ == nullptr) {
    aside_ = std::make_unique<PartitionWriter>(environment_, AsideSchema(), kNumPartitions, stats_);
  }
  aside_groups_.push_back(group);
  aside_values_.emplace_back(value);
  aside_partitions_.push_back(static_cast<int32_t>(hash >> 60));
  return aside_groups_.size() < kAsideRows ? Status::OK() : FlushAside();
}

Status DistinctCounter::FlushAside() {
  arrow::Int64Builder groups;
  arrow::LargeBinaryBuilder values;
  GNOMON_RETURN_NOT_OK(groups.AppendValues(aside_groups_));
  for (const std::string& value : aside_values_) GNOMON_RETURN_NOT_OK(values.Append(value));
  GNOMON_ASSIGN_OR_RETURN(auto group_array, groups.Finish());
  GNOMON_ASSIGN_OR_RETURN(auto value_array, values.Finish());
  const auto rows = static_cast<int64_t>(aside_groups_.size());
  const auto batch = arrow::RecordBatch::Make(AsideSchema(), rows,
                                              {std::move(group_array), std::move(value_array)});
  GNOMON_RETURN_NOT_OK(aside_->Add(batch, aside_partitions_));
  aside_groups_.clear();
  aside_values_.clear();
  aside_partitions_.clear();
  return Status::OK();
}

Status DistinctCounter::Finish(std::vector<int64_t>* counts) {
  for (size_t group = 0; group < counts_.size(); ++group) (*counts)[group] += counts_[group];
  values_ = KeyMap();
  reservation_.Clear();
  if (aside_ == nullptr) return Status::OK();
  GNOMON_RETURN_NOT_OK(FlushAside());
  GNOMON_RETURN_NOT_OK(aside_->FlushAll());
  for (int partition = 0; partition < kNumPartitions; ++partition) {
    DistinctCounter below(environment_, stats_, level_ + 1);
    GNOMON_ASSIGN_OR_RETURN(const auto source, aside_->Read(partition));
    while (true) {
      GNOMON_RETURN_NOT_OK(environment_.context.Check());
      GNOMON_ASSIGN_OR_RETURN(const auto batch, source->Next());
      if (batch == nullptr) break;
      const auto groups = Int64Column(*batch, 0);
      const auto& values =
          arrow::internal::checked_cast<const arrow::LargeBinaryArray&>(*batch->column(1));
      for (int64_t row = 0; row < batch->num_rows(); ++row) {
        GNOMON_RETURN_NOT_OK(
            below.Add(static_cast<int32_t>(groups[static_cast<size_t>(row)]), values.GetView(row)));
      }
    }
    GNOMON_RETURN_NOT_OK(below.Finish(counts));
    aside_->Drop(partition);
  }
  return Status::OK();
}

}  // namespace gnomon::dataset::internal
