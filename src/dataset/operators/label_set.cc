#include <algorithm>

#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "base/ids.h"
#include "base/text.h"
#include "dataset/operators/time_match_internal.h"
#include "dataset/plan_internal.h"
#include "pit/time_unit.h"
#include "table/column.h"

namespace gnomon::dataset::internal {

namespace {

constexpr int64_t kMicro = 1000;  ///< nanoseconds

const TimeMatch& MatchOf(const NodeSpec& spec) {
  const auto* join = std::get_if<AsOfJoinSpec>(&spec);
  return join != nullptr ? join->match : std::get<WindowAggregateSpec>(spec).match;
}

/// The longest window; absent when one is the whole past.
std::optional<int64_t> LongestWindow(const WindowAggregateSpec& spec) {
  int64_t longest = 0;
  for (const WindowItem& item : spec.items) {
    if (!item.window) return std::nullopt;
    longest = std::max(longest, *item.window);
  }
  return longest;
}

int64_t UnitOf(const arrow::Schema& schema, int column) {
  return table::UnitNanos(*schema.field(column)->type());
}

/// The encoder gives one empty key a row when there are no key columns.
Result<EncodedKeys> EncodeKeys(const std::vector<int>& columns, const arrow::RecordBatch& batch) {
  return KeyEncoder(columns).Encode(batch);
}

Status TimeDoesNotFit(const TimeMatchPlan& plan) {
  return MakeError(ErrorKind::kUser,
                   Concat("a time of ", Quoted(plan.match.right_time), " does not fit the unit ",
                          "in which it has to be compared"),
                   {}, "store times of one unit, microseconds for instance");
}

}  // namespace

TimeMatchPlan::TimeMatchPlan(const Environment& of, const Plan& node, bool positions)
    : environment(of),
      plan(node),
      match(MatchOf(node->spec())),
      left(node->inputs()[0]->schema()),
      right(node->inputs()[1]->schema()),
      output(node->schema()),
      left_time(left->GetFieldIndex(match.left_time)),
      right_time(right->GetFieldIndex(match.right_time)),
      created(match.created.empty() ? -1 : right->GetFieldIndex(match.created)),
      label_unit(UnitOf(*left, left_time)),
      unit(UnitOf(*right, right_time)),
      includes_oldest(std::holds_alternative<AsOfJoinSpec>(node->spec())),
      num_left_columns(left->num_fields()) {
  for (const std::string& key : match.left_keys) left_keys.push_back(left->GetFieldIndex(key));
  for (const std::string& key : match.right_keys) right_keys.push_back(right->GetFieldIndex(key));
  if (created >= 0) unit = std::min(unit, UnitOf(*right, created));
  if (const auto* join = std::get_if<AsOfJoinSpec>(&plan->spec())) {
    if (join->tolerance > 0) reach = join->tolerance;
    for (const auto& feature : join->features)
      value_columns.push_back(right->GetFieldIndex(feature.column));
  } else {
    const auto& windows = std::get<WindowAggregateSpec>(plan->spec());
    reach = LongestWindow(windows);
    unit = std::min(unit, kMicro);  // windows are given in microseconds
    for (const auto& item : windows.items)
      value_columns.push_back(right->GetFieldIndex(item.column));
  }
  if (!positions) return;
  const auto with_position = [](const SchemaPtr& schema) {
    arrow::FieldVector fields = schema->fields();
    fields.push_back(arrow::field("__position", arrow::int64(), false));
    return arrow::schema(std::move(fields));
  };
  left = with_position(left);
  output = with_position(output);
}

Result<bool> LabelSet::TryAdd(const BatchPtr& batch) {
  GNOMON_ASSIGN_OR_RETURN(const auto keys, EncodeKeys(plan_.left_keys, *batch));
  GNOMON_ASSIGN_OR_RETURN(const int64_t batch_bytes, BatchBytes(*batch));
  // The kernel's index and slots of a label, its place here, and its results.
  const auto per_row = static_cast<int64_t>(96 + 16 * plan_.value_columns.size());
  const int64_t bytes = batch_bytes + 2 * keys.ByteSize() + batch->num_rows() * per_row;
  if (!reservation_.TryGrow(bytes) && !batches_.empty()) return false;
  const auto& times = *batch->column(plan_.left_time);
  GNOMON_ASSIGN_OR_RETURN(const auto raw, table::RawTimes(times));
  batches_.push_back(batch);
  for (int64_t row = 0; row < batch->num_rows(); ++row) {
    const pit::Nanos nanos = pit::ToNanos(raw[static_cast<size_t>(row)], plan_.label_unit);
    const int64_t time = pit::FloorToUnit(nanos, plan_.unit);
    times_.push_back(time);
    if (plan_.reach) {
      const pit::Nanos oldest = nanos - pit::ToNanos(*plan_.reach, kMicro);
      oldest_.push_back(plan_.includes_oldest ? pit::CeilToUnit(oldest, plan_.unit)
                                              : pit::FloorToUnit(oldest, plan_.unit));
    }
    if (keys.HasNull(row) || times.IsNull(row)) {
      ids_.push_back(-1);
      continue;
    }
    latest_ = std::max(latest_, time);
    oldest_event_ = std::min(oldest_event_, plan_.reach ? oldest_.back() : INT64_MIN);
    const uint64_t hash = HashBytes(keys[row], kTimeMatchSeed);
    const int32_t id = keys_.Find(keys[row], hash);
    ids_.push_back(id != KeyMap::kAbsent ? id : keys_.Insert(keys[row], hash));
  }
  return true;
}

std::vector<BatchPtr> LabelSet::TakeBatches() {
  keys_ = KeyMap();
  ids_.clear();
  times_.clear();
  oldest_.clear();
  reservation_.Clear();
  return std::exchange(batches_, {});
}

int32_t LabelSet::Find(std::string_view key) const {
  return keys_.Find(key, HashBytes(key, kTimeMatchSeed));
}

Result<CandidateEvents> FindCandidates(const TimeMatchPlan& plan, const LabelSet& labels,
                                       const arrow::RecordBatch& batch) {
  CandidateEvents events;
  GNOMON_ASSIGN_OR_RETURN(const auto keys, EncodeKeys(plan.right_keys, batch));
  const auto& times = *batch.column(plan.right_time);
  GNOMON_ASSIGN_OR_RETURN(const auto raw, table::RawTimes(times));
  const int64_t time_unit = table::UnitNanos(*times.type());
  const arrow::Array* created_column =
      plan.created < 0 ? nullptr : batch.column(plan.created).get();
  std::vector<int64_t> created;
  int64_t created_unit = 1;
  if (created_column != nullptr) {
    GNOMON_ASSIGN_OR_RETURN(created, table::RawTimes(*created_column));
    created_unit = table::UnitNanos(*created_column->type());
  }
  const pit::Nanos latest = pit::ToNanos(labels.latest_time(), plan.unit);
  const pit::Nanos oldest = pit::ToNanos(labels.oldest_time(), plan.unit);
  for (int64_t row = 0; row < batch.num_rows(); ++row) {
    if (times.IsNull(row) || keys.HasNull(row)) continue;
    const auto at = static_cast<size_t>(row);
    const pit::Nanos time = pit::ToNanos(raw[at], time_unit);
    if (time > latest || (plan.reach && time < oldest)) continue;
    int64_t created_at = INT64_MIN;
    if (created_column != nullptr && created_column->IsValid(row)) {
      const pit::Nanos nanos = pit::ToNanos(created[at], created_unit);
      const auto& before = plan.match.created_before;
      if (before && nanos > pit::ToNanos(*before, kMicro)) continue;
      created_at = pit::FloorToUnit(nanos, plan.unit);
    }
    const int32_t id = labels.Find(keys[row]);
    if (id < 0) continue;
    const int64_t in_unit = pit::FloorToUnit(time, plan.unit);
    if (pit::ToNanos(in_unit, plan.unit) != time) return TimeDoesNotFit(plan);
    events.rows.push_back(row);
    events.ids.push_back(id);
    events.times.push_back(in_unit);
    if (created_column != nullptr) events.created.push_back(created_at);
  }
  return events;
}

}  // namespace gnomon::dataset::internal
