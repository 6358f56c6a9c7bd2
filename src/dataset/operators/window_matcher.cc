#include <algorithm>

#include <arrow/array.h>
#include <arrow/array/concatenate.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "base/text.h"
#include "dataset/operators/time_match_internal.h"
#include "pit/time_unit.h"
#include "pit/window.h"
#include "table/column.h"

namespace gnomon::dataset::internal {

namespace {

constexpr int64_t kMicro = 1000;      ///< nanoseconds
constexpr int64_t kBytesPerRow = 96;  ///< of the kernel's order and of sums, about

/// Keeps the events of the labels' keys and time range, and aggregates at the end.
class WindowMatcher : public EventMatcher {
 public:
  WindowMatcher(const TimeMatchPlan& plan, const LabelSet& labels)
      : plan_(plan),
        labels_(labels),
        spec_(std::get<WindowAggregateSpec>(plan.plan->spec())),
        reservation_(plan.environment.context.memory) {}

  Result<bool> TryAdd(const BatchPtr& batch, bool force) override {
    GNOMON_ASSIGN_OR_RETURN(const auto events, FindCandidates(plan_, labels_, *batch));
    if (events.rows.empty()) return true;
    BatchPtr rows = batch;
    if (static_cast<int64_t>(events.rows.size()) < batch->num_rows()) {
      GNOMON_ASSIGN_OR_RETURN(rows, GatherRows(plan_.environment.context, batch, events.rows));
    }
    // The columns are put together at the end, before their pieces are let go.
    GNOMON_ASSIGN_OR_RETURN(const int64_t bytes, BatchBytes(*rows));
    const bool granted = reservation_.TryGrow(2 * bytes + kBytesPerRow * rows->num_rows());
    if (!granted && !force) return false;
    kept_.push_back(std::move(rows));
    const auto append = [](const auto& from, auto* to) {
      to->insert(to->end(), from.begin(), from.end());
    };
    append(events.ids, &ids_);
    append(events.times, &times_);
    append(events.created, &created_);
    return true;
  }

  std::vector<BatchPtr> TakeBatches() override {
    reservation_.Clear();
    return std::exchange(kept_, {});
  }

  Status Finish() override {
    pit::Events events{.ids = ids_, .times = times_, .created = created_, .columns = {}};
    std::vector<pit::AggregateSpec> specs;
    std::vector<std::pair<int, const arrow::DataType*>> known;
    for (size_t i = 0; i < spec_.items.size(); ++i) {
      const std::pair input(plan_.value_columns[i], spec_.items[i].input_type.get());
      auto place = std::ranges::find_if(known, [&](const auto& other) {
        return other.first == input.first && SameType(other.second, input.second);
      });
      if (place == known.end()) {
        GNOMON_ASSIGN_OR_RETURN(events.columns.emplace_back(), Values(i));
        known.push_back(input);
        place = known.end() - 1;
      }
      specs.push_back(SpecOf(spec_.items[i]));
      specs.back().column = static_cast<int>(place - known.begin());
    }
    kept_.clear();
    // What the kernel takes is reserved with the labels and the events.
    Context context = plan_.environment.context;
    context.memory = nullptr;
    GNOMON_ASSIGN_OR_RETURN(
        columns_, pit::AggregateWindows(context, events, labels_.ids(), labels_.times(), specs,
                                        plan_.match.filter_by_created));
    for (size_t i = 0; i < columns_.size(); ++i) {
      if (spec_.items[i].type == nullptr) continue;
      auto cast = table::CastLossless(columns_[i], spec_.items[i].type);
      GNOMON_RETURN_NOT_OK(WithContext(cast.status(), Concat("aggregate ", spec_.items[i].name)));
      columns_[i] = *std::move(cast);
    }
    return Status::OK();
  }

  Result<arrow::ArrayVector> Columns(int64_t first, int64_t count) const override {
    arrow::ArrayVector columns;
    for (const auto& column : columns_) columns.push_back(column->Slice(first, count));
    return columns;
  }

 private:
  static bool SameType(const arrow::DataType* a, const arrow::DataType* b) {
    return a == b || (a != nullptr && b != nullptr && a->Equals(*b));
  }

  Result<std::shared_ptr<arrow::Array>> Values(size_t item) const {
    const int column = plan_.value_columns[item];
    arrow::ArrayVector pieces;
    for (const BatchPtr& batch : kept_) pieces.push_back(batch->column(column));
    if (pieces.empty()) {
      GNOMON_ASSIGN_OR_RETURN(pieces.emplace_back(),
                              arrow::MakeEmptyArray(plan_.right->field(column)->type()));
    }
    GNOMON_ASSIGN_OR_RETURN(auto values, arrow::Concatenate(pieces));
    if (spec_.items[item].input_type == nullptr) return values;
    auto cast = table::CastLossless(values, spec_.items[item].input_type);
    return cast.ok() ? cast : WithContext(cast.status(), spec_.items[item].column);
  }

  pit::AggregateSpec SpecOf(const WindowItem& item) const {
    pit::AggregateSpec spec{.function = item.function,
                            .window = {},
                            .k = item.k,
                            .quantile = item.quantile,
                            .ddof = item.ddof,
                            .custom = item.custom,
                            .ticks_per_micro = kMicro / plan_.unit};
    if (item.window) spec.window = pit::FloorToUnit(pit::ToNanos(*item.window, kMicro), plan_.unit);
    return spec;
  }

  const TimeMatchPlan& plan_;
  const LabelSet& labels_;
  const WindowAggregateSpec& spec_;
  MemoryReservation reservation_;
  std::vector<BatchPtr> kept_;
  std::vector<int32_t> ids_;
  std::vector<int64_t> times_;
  std::vector<int64_t> created_;
  arrow::ArrayVector columns_;
};

}  // namespace

Result<std::unique_ptr<EventMatcher>> MakeWindowMatcher(const TimeMatchPlan& plan,
                                                        const LabelSet& labels) {
  return std::make_unique<WindowMatcher>(plan, labels);
}

}  // namespace gnomon::dataset::internal
