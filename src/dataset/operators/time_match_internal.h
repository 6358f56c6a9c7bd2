#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "dataset/key_encoding_internal.h"
#include "dataset/operators/key_map_internal.h"
#include "dataset/operators/operator_internal.h"

/// Labels (left rows) in memory and events (right rows) that stream past them: what as-of joins and
/// window aggregates share.
namespace gnomon::dataset::internal {

inline constexpr uint64_t kTimeMatchSeed = 0x7469'6d65;

/// A node with its columns found. With `positions` the left has its input position as its last
/// column (int64), and so has the output.
struct TimeMatchPlan {
  TimeMatchPlan(const Environment& environment, const Plan& plan, bool positions);

  const Environment& environment;
  const Plan plan;
  const TimeMatch& match;  ///< of the plan
  SchemaPtr left;
  SchemaPtr right;
  SchemaPtr output;
  std::vector<int> left_keys;
  std::vector<int> right_keys;
  int left_time;
  int right_time;
  int created;                     ///< -1: none
  int64_t label_unit;              ///< nanoseconds, of the labels' times
  int64_t unit;                    ///< of everything that is compared
  std::optional<int64_t> reach;    ///< microseconds: older events match nothing; absent: all may
  bool includes_oldest;            ///< an event that is exactly `reach` old still counts
  std::vector<int> value_columns;  ///< of the right, one for each output column
  int num_left_columns;            ///< without the position
};

/// The labels, by key.
class LabelSet {
 public:
  explicit LabelSet(const TimeMatchPlan& plan)
      : plan_(plan), reservation_(plan.environment.context.memory) {}

  /// Adds the batch if memory is granted, or if it is the first. False: it was not added.
  Result<bool> TryAdd(const BatchPtr& batch);
  /// Rows in order of addition; the set is empty then.
  std::vector<BatchPtr> TakeBatches();

  int64_t num_rows() const { return static_cast<int64_t>(ids_.size()); }
  const std::vector<BatchPtr>& batches() const { return batches_; }
  /// The key of each label; -1 when it or the time is null.
  std::span<const int32_t> ids() const { return ids_; }
  /// In the plan's unit, rounded down.
  std::span<const int64_t> times() const { return times_; }
  /// The oldest event that counts for each label, when the plan has a reach; else empty.
  std::span<const int64_t> oldest() const { return oldest_; }
  int64_t latest_time() const { return latest_; }
  int64_t oldest_time() const { return oldest_event_; }
  /// The id of an event's key, -1 when no label has it.
  int32_t Find(std::string_view key) const;

 private:
  const TimeMatchPlan& plan_;
  MemoryReservation reservation_;
  std::vector<BatchPtr> batches_;
  KeyMap keys_;
  std::vector<int32_t> ids_;
  std::vector<int64_t> times_;
  std::vector<int64_t> oldest_;
  int64_t latest_ = INT64_MIN;
  int64_t oldest_event_ = INT64_MAX;
};

/// Events of a batch that may count for some label, in input order.
struct CandidateEvents {
  std::vector<int64_t> rows;  ///< of the batch, ascending
  std::vector<int32_t> ids;
  std::vector<int64_t> times;    ///< in the plan's unit, as the next
  std::vector<int64_t> created;  ///< empty without a column; INT64_MIN for a null
};
Result<CandidateEvents> FindCandidates(const TimeMatchPlan& plan, const LabelSet& labels,
                                       const arrow::RecordBatch& batch);

/// What becomes of the events that stream past a set of labels.
class EventMatcher {
 public:
  virtual ~EventMatcher() = default;
  /// Takes in the next events. False: memory for what has to be kept of them is refused and they
  /// were not taken in; never with `force`.
  virtual Result<bool> TryAdd(const BatchPtr& batch, bool force) = 0;
  /// The events that are still of use, in input order; the matcher is of no use then.
  virtual std::vector<BatchPtr> TakeBatches() = 0;
  /// Ends the events.
  virtual Status Finish() = 0;
  /// The output columns of labels [first, first + count). After Finish.
  virtual Result<arrow::ArrayVector> Columns(int64_t first, int64_t count) const = 0;
};

/// `plan` and `labels`, to which nothing is added any more, outlive the matcher.
Result<std::unique_ptr<EventMatcher>> MakeAsOfMatcher(const TimeMatchPlan& plan,
                                                      const LabelSet& labels);
Result<std::unique_ptr<EventMatcher>> MakeWindowMatcher(const TimeMatchPlan& plan,
                                                        const LabelSet& labels);

}  // namespace gnomon::dataset::internal
