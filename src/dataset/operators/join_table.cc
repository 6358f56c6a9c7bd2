#include <algorithm>

#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "base/ids.h"
#include "dataset/operators/hash_join_internal.h"
#include "dataset/plan_internal.h"

namespace gnomon::dataset::internal {

JoinPlan::JoinPlan(const Environment& of, const Plan& plan, bool with_positions)
    : environment(of), spec(std::get<JoinSpec>(plan->spec())), positions(with_positions) {
  const auto position = arrow::field("__position", arrow::int64(), false);
  const auto with_position = [&](const SchemaPtr& schema) {
    arrow::FieldVector fields = schema->fields();
    if (positions) fields.push_back(position);
    return arrow::schema(std::move(fields));
  };
  left = with_position(plan->inputs()[0]->schema());
  right = with_position(plan->inputs()[1]->schema());
  num_left_columns = plan->inputs()[0]->schema()->num_fields();
  for (const std::string& key : spec.left_keys) left_keys.push_back(left->GetFieldIndex(key));
  for (const std::string& key : spec.right_keys) right_keys.push_back(right->GetFieldIndex(key));
  const bool gives_right = spec.type != JoinType::kSemi && spec.type != JoinType::kAnti;
  for (int i = 0; gives_right && i < plan->inputs()[1]->schema()->num_fields(); ++i) {
    if (std::ranges::find(right_keys, i) == right_keys.end()) right_output.push_back(i);
  }
  arrow::FieldVector fields = plan->schema()->fields();
  if (positions) {
    fields.push_back(arrow::field("__left_position", arrow::int64(), false));
    fields.push_back(arrow::field("__right_position", arrow::int64(), false));
  }
  output = arrow::schema(std::move(fields));
}

Result<bool> JoinTable::TryAdd(const BatchPtr& batch) {
  GNOMON_ASSIGN_OR_RETURN(const auto keys, KeyEncoder(plan_.right_keys).Encode(*batch));
  GNOMON_ASSIGN_OR_RETURN(const int64_t batch_bytes, BatchBytes(*batch));
  constexpr int64_t kBytesPerRow = 8 * sizeof(int64_t) + 32;
  const int64_t bytes = batch_bytes + 2 * keys.ByteSize() + batch->num_rows() * kBytesPerRow;
  if (!reservation_.TryGrow(bytes) && !batches_.empty()) return false;
  batches_.push_back(batch);
  const int64_t begin = num_rows_;
  num_rows_ += batch->num_rows();
  next_.resize(static_cast<size_t>(num_rows_), -1);
  for (int64_t row = 0; row < batch->num_rows(); ++row) {
    if (keys.HasNull(row)) continue;
    const uint64_t hash = HashBytes(keys[row], kJoinSeed);
    int32_t id = keys_.Find(keys[row], hash);
    if (id == KeyMap::kAbsent) {
      id = keys_.Insert(keys[row], hash);
      head_.push_back(begin + row);
      tail_.push_back(begin + row);
      continue;
    }
    int64_t& tail = tail_[static_cast<size_t>(id)];
    next_[static_cast<size_t>(tail)] = begin + row;
    tail = begin + row;
  }
  if (plan_.positions) {
    const auto positions = Int64Column(*batch, plan_.right->num_fields() - 1);
    positions_.insert(positions_.end(), positions.begin(), positions.end());
  }
  return true;
}

std::vector<BatchPtr> JoinTable::TakeBatches() {
  keys_ = KeyMap();
  head_.clear();
  tail_.clear();
  next_.clear();
  reservation_.Clear();
  return std::exchange(batches_, {});
}

int64_t JoinTable::FirstRow(std::string_view key, uint64_t hash) const {
  const int32_t id = keys_.Find(key, hash);
  return id == KeyMap::kAbsent ? -1 : head_[static_cast<size_t>(id)];
}

}  // namespace gnomon::dataset::internal
