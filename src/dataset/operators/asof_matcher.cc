#include <algorithm>

#include <arrow/array.h>
#include <arrow/chunked_array.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "base/text.h"
#include "dataset/operators/time_match_internal.h"
#include "pit/asof_join.h"
#include "table/column.h"

namespace gnomon::dataset::internal {

namespace {

/// Beyond this, and twice what was left the last time, rows that no label wants any more are let
/// go.
constexpr int64_t kCompactBytes = int64_t{16} << 20;

/// Keeps the rows that are the newest for some label so far: a row that another has beaten for all
/// labels never wins again. So memory is O(labels) however many events there are.
class AsOfMatcher : public EventMatcher {
 public:
  AsOfMatcher(const TimeMatchPlan& plan, const LabelSet& labels, pit::AsOfJoin kernel)
      : plan_(plan),
        labels_(labels),
        spec_(std::get<AsOfJoinSpec>(plan.plan->spec())),
        kernel_(std::move(kernel)),
        reservation_(plan.environment.context.memory) {}

  Result<bool> TryAdd(const BatchPtr& batch, bool force) override {
    GNOMON_ASSIGN_OR_RETURN(const auto events, FindCandidates(plan_, labels_, *batch));
    const int64_t first = seen_;
    seen_ += batch->num_rows();
    if (events.rows.empty()) return true;
    BatchPtr rows = batch;
    if (static_cast<int64_t>(events.rows.size()) < batch->num_rows()) {
      GNOMON_ASSIGN_OR_RETURN(rows, GatherRows(plan_.environment.context, batch, events.rows));
    }
    GNOMON_ASSIGN_OR_RETURN(int64_t bytes, BatchBytes(*rows));
    bytes += 16 * rows->num_rows();
    bool granted = reservation_.TryGrow(bytes);
    if (!granted) {
      GNOMON_RETURN_NOT_OK(Compact());
      granted = reservation_.TryGrow(bytes);
    }
    if (!granted && !force) return false;
    std::vector<int64_t> numbers(events.rows);
    for (int64_t& number : numbers) number += first;
    GNOMON_RETURN_NOT_OK(
        kernel_.AddNumberedRows(events.ids, events.times, events.created, numbers));
    kept_.push_back(std::move(rows));
    numbers_.insert(numbers_.end(), numbers.begin(), numbers.end());
    bytes_ += bytes;
    if (bytes_ > 2 * compacted_bytes_ + kCompactBytes || !granted) GNOMON_RETURN_NOT_OK(Compact());
    return true;
  }

  std::vector<BatchPtr> TakeBatches() override {
    reservation_.Clear();
    return std::exchange(kept_, {});
  }

  Status Finish() override {
    GNOMON_ASSIGN_OR_RETURN(winners_, kernel_.Finish(plan_.environment.context));
    for (int64_t& winner : winners_) {
      if (winner != pit::kNoRow) winner = PlaceOf(winner);
    }
    return Status::OK();
  }

  Result<arrow::ArrayVector> Columns(int64_t first, int64_t count) const override {
    const std::span places =
        std::span(winners_).subspan(static_cast<size_t>(first), static_cast<size_t>(count));
    GNOMON_ASSIGN_OR_RETURN(const auto rows,
                            GatherRows(plan_.environment.context, Values(), Pieces(), places));
    arrow::ArrayVector columns;
    for (size_t i = 0; i < spec_.features.size(); ++i) {
      auto column = rows->column(static_cast<int>(i));
      if (spec_.features[i].type != nullptr) {
        auto cast = table::CastLossless(column, spec_.features[i].type);
        GNOMON_RETURN_NOT_OK(
            WithContext(cast.status(), Concat("feature ", spec_.features[i].name)));
        column = *std::move(cast);
      }
      columns.push_back(std::move(column));
    }
    return columns;
  }

 private:
  /// Of a number in numbers_.
  int64_t PlaceOf(int64_t number) const {
    return std::ranges::lower_bound(numbers_, number) - numbers_.begin();
  }

  SchemaPtr Values() const {
    arrow::FieldVector fields;
    for (size_t i = 0; i < plan_.value_columns.size(); ++i) {
      fields.push_back(
          arrow::field(spec_.features[i].name, plan_.right->field(plan_.value_columns[i])->type()));
    }
    return arrow::schema(std::move(fields));
  }

  /// The kept rows' features; one piece without rows when there are none.
  std::vector<BatchPtr> Pieces() const {
    std::vector<BatchPtr> pieces;
    for (const BatchPtr& batch : kept_) {
      arrow::ArrayVector columns;
      for (const int column : plan_.value_columns) columns.push_back(batch->column(column));
      pieces.push_back(arrow::RecordBatch::Make(Values(), batch->num_rows(), std::move(columns)));
    }
    return pieces;
  }

  Status Compact() {
    if (kept_.empty()) return Status::OK();
    GNOMON_ASSIGN_OR_RETURN(auto winners, kernel_.Finish(plan_.environment.context));
    std::ranges::sort(winners);
    winners.erase(std::ranges::unique(winners).begin(), winners.end());
    std::erase(winners, pit::kNoRow);
    std::vector<int64_t> places(winners);
    for (int64_t& place : places) place = PlaceOf(place);
    GNOMON_ASSIGN_OR_RETURN(auto rows,
                            GatherRows(plan_.environment.context, plan_.right, kept_, places));
    GNOMON_ASSIGN_OR_RETURN(compacted_bytes_, BatchBytes(*rows));
    compacted_bytes_ += 16 * rows->num_rows();
    kept_.clear();
    if (rows->num_rows() > 0) kept_.push_back(std::move(rows));
    numbers_ = std::move(winners);
    bytes_ = compacted_bytes_;
    // Rows that came by force were not reserved.
    reservation_.Shrink(std::max<int64_t>(0, reservation_.bytes() - compacted_bytes_));
    return Status::OK();
  }

  const TimeMatchPlan& plan_;
  const LabelSet& labels_;
  const AsOfJoinSpec& spec_;
  pit::AsOfJoin kernel_;
  MemoryReservation reservation_;
  std::vector<BatchPtr> kept_;
  std::vector<int64_t> numbers_;  ///< of the kept rows, ascending
  int64_t bytes_ = 0;             ///< of the kept rows
  int64_t compacted_bytes_ = 0;
  int64_t seen_ = 0;
  std::vector<int64_t> winners_;  ///< places in kept_
};

}  // namespace

Result<std::unique_ptr<EventMatcher>> MakeAsOfMatcher(const TimeMatchPlan& plan,
                                                      const LabelSet& labels) {
  // The labels' reservation counts what the kernel takes.
  Context context = plan.environment.context;
  context.memory = nullptr;
  GNOMON_ASSIGN_OR_RETURN(
      auto kernel, pit::AsOfJoin::Make(context, labels.ids(), labels.times(), labels.oldest(),
                                       {.filter_by_created = plan.match.filter_by_created}));
  return std::make_unique<AsOfMatcher>(plan, labels, std::move(kernel));
}

}  // namespace gnomon::dataset::internal
