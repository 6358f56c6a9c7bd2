#include "pit/window.h"

#include <algorithm>
#include <map>
#include <utility>

#include <arrow/array.h>
#include <arrow/buffer.h>
#include <arrow/type.h>

#include "base/parallel.h"
#include "pit/custom_windows_internal.h"
#include "pit/entity_index_internal.h"
#include "pit/window_kernels_internal.h"
#include "pit/window_output_internal.h"

namespace gnomon::pit {

namespace {

/// The aggregates of one value column, by window length.
struct ColumnPlan {
  size_t column = 0;
  std::vector<size_t> specs;
  bool needs_values = false;                    ///< not only which events there are
  std::optional<int64_t> longest = int64_t{1};  ///< window; absent: lifetime
};

bool NeedsValues(AggregateFunction function) {
  const OutputKind kind = OutputKindOf(function, KeyKind::kReal);
  return function != AggregateFunction::kCount && function != AggregateFunction::kFirst &&
         function != AggregateFunction::kLast && kind != OutputKind::kRowList;
}

std::vector<ColumnPlan> PlanColumns(std::span<const AggregateSpec> specs, size_t num_columns) {
  std::vector<ColumnPlan> plans(num_columns);
  for (size_t i = 0; i < specs.size(); ++i) {
    if (specs[i].function == AggregateFunction::kCustom) continue;
    ColumnPlan& plan = plans[static_cast<size_t>(specs[i].column)];
    plan.column = static_cast<size_t>(specs[i].column);
    plan.specs.push_back(i);
    plan.needs_values = plan.needs_values || NeedsValues(specs[i].function);
    plan.longest = plan.longest && specs[i].window
                       ? std::optional(std::max(*plan.longest, *specs[i].window))
                       : std::nullopt;
  }
  std::erase_if(plans, [](const ColumnPlan& plan) { return plan.specs.empty(); });
  for (ColumnPlan& plan : plans) {
    // From the shortest to lifetime, so that states can be widened.
    std::ranges::stable_sort(plan.specs, {}, [&](size_t i) {
      return std::pair(!specs[i].window.has_value(), specs[i].window.value_or(0));
    });
  }
  return plans;
}

/// What one thread reuses from entity to entity.
struct Worker {
  Series series;
  Series existing;  ///< with filter_by_created: what exists for one label
  std::vector<Window> windows;
  WindowScratch scratch;
  std::vector<CustomScratch> custom;
};

/// One call of AggregateWindows. Constant but for the outputs, each label of which is written once.
class WindowJob {
 public:
  WindowJob(const Events& events, std::span<const AggregateSpec> specs, bool filter_by_created)
      : events_(events),
        specs_(specs),
        filter_by_created_(filter_by_created && !events.created.empty()),
        plans_(PlanColumns(specs, events.columns.size())) {
    for (const auto& column : events.columns) columns_.emplace_back(column);
  }

  Status Index(const Context& context, std::span<const int32_t> label_ids,
               std::span<const int64_t> label_times, MemoryReservation* memory) {
    GNOMON_ASSIGN_OR_RETURN(labels_,
                            BuildEntityIndex(context, label_ids, label_times, {}, nullptr, memory));
    GNOMON_ASSIGN_OR_RETURN(rows_, BuildEntityIndex(context, events_.ids, events_.times,
                                                    events_.created, &labels_, memory));
    for (const AggregateSpec& spec : specs_) {
      if (spec.function == AggregateFunction::kCustom) {
        GNOMON_RETURN_NOT_OK(AddCustom(spec, label_ids.size(), memory));
        outputs_.emplace_back();
        continue;
      }
      const KeyKind kind = columns_[static_cast<size_t>(spec.column)].kind();
      GNOMON_ASSIGN_OR_RETURN(Output output, MakeOutput(spec, kind, label_ids.size(), memory));
      outputs_.push_back(std::move(output));
    }
    return Status::OK();
  }

  Status Run(const Context& context, Pass pass) {
    const int64_t num_entities = labels_.num_entities();
    const auto work = static_cast<int64_t>(labels_.order.size() + rows_.order.size());
    // About 4,096 labels and events a range.
    const int64_t grain = std::max<int64_t>(1, 4096 * num_entities / std::max<int64_t>(1, work));
    return ParallelRanges(context, num_entities, grain, [&](int64_t begin, int64_t end) -> Status {
      Worker worker;
      worker.custom.resize(custom_.size());
      for (auto entity = static_cast<size_t>(begin); entity < static_cast<size_t>(end); ++entity) {
        GNOMON_RETURN_NOT_OK(EvaluateEntity(entity, pass, &worker));
      }
      return Status::OK();
    });
  }

  bool has_lists() const {
    return std::ranges::any_of(
        outputs_, [](const Output& output) { return output.kind == OutputKind::kRowList; });
  }

  Status PlaceAllLists(MemoryReservation* memory) {
    for (Output& output : outputs_) {
      if (output.kind == OutputKind::kRowList) GNOMON_RETURN_NOT_OK(PlaceLists(&output, memory));
    }
    return Status::OK();
  }

  Result<std::vector<std::shared_ptr<arrow::Array>>> Collect() {
    std::vector<std::shared_ptr<arrow::Array>> arrays;
    auto custom = custom_.begin();
    for (size_t i = 0; i < specs_.size(); ++i) {
      if (specs_[i].function == AggregateFunction::kCustom) {
        GNOMON_ASSIGN_OR_RETURN(arrays.emplace_back(), (custom++)->Collect());
        continue;
      }
      const ValueColumn& column = columns_[static_cast<size_t>(specs_[i].column)];
      GNOMON_ASSIGN_OR_RETURN(arrays.emplace_back(),
                              CollectOutput(specs_[i], column, std::move(outputs_[i])));
    }
    return arrays;
  }

 private:
  /// Specs with one aggregate of one column share the column's values in order.
  Status AddCustom(const AggregateSpec& spec, size_t num_labels, MemoryReservation* memory) {
    const std::pair key(spec.column, spec.custom.get());
    auto found = custom_columns_.find(key);
    if (found == custom_columns_.end()) {
      const auto& values = events_.columns[static_cast<size_t>(spec.column)];
      GNOMON_ASSIGN_OR_RETURN(CustomColumn column,
                              CustomColumn::Make(*spec.custom, values, rows_, memory));
      found = custom_columns_.emplace(key, std::move(column)).first;
    }
    const auto created = filter_by_created_ ? events_.created : std::span<const int64_t>();
    GNOMON_ASSIGN_OR_RETURN(CustomWindows windows,
                            CustomWindows::Make(spec, found->second, created, num_labels, memory));
    custom_.push_back(std::move(windows));
    return Status::OK();
  }

  Status EvaluateEntity(size_t entity, Pass pass, Worker* worker) {
    const uint32_t first = labels_.offsets[entity];
    const uint32_t last = labels_.offsets[entity + 1];
    if (first == last) return Status::OK();
    for (size_t i = 0; i < custom_.size() && pass == Pass::kValuesAndLengths; ++i) {
      GNOMON_RETURN_NOT_OK(custom_[i].EvaluateEntity(entity, labels_, &worker->custom[i]));
    }
    for (const ColumnPlan& plan : plans_) {
      if (filter_by_created_) {
        for (uint32_t label = first; label < last; ++label) {
          LoadSeries(plan, entity, label, label + 1, &worker->series);
          KeepExisting(labels_.times[label], worker->series, &worker->existing);
          GNOMON_RETURN_NOT_OK(
              EvaluateColumn(plan, label, label + 1, pass, &worker->existing, worker));
        }
      } else {
        LoadSeries(plan, entity, first, last, &worker->series);
        GNOMON_RETURN_NOT_OK(EvaluateColumn(plan, first, last, pass, &worker->series, worker));
      }
    }
    return Status::OK();
  }

  /// The events with values that some window of the labels [first, last) can see; their values come
  /// with FillValues.
  void LoadSeries(const ColumnPlan& plan, size_t entity, uint32_t first, uint32_t last,
                  Series* series) const {
    const ValueColumn& column = columns_[plan.column];
    series->Clear(column.kind());
    const auto begin = rows_.times.begin() + rows_.offsets[entity];
    const auto end = rows_.times.begin() + rows_.offsets[entity + 1];
    const auto from = std::lower_bound(begin, end, OldestIn(plan.longest, labels_.times[first]));
    const auto to = std::upper_bound(from, end, labels_.times[last - 1]);
    if (!column.may_have_nulls()) {
      series->times.assign(from, to);
      const auto rows = rows_.order.begin() + (from - rows_.times.begin());
      series->rows.assign(rows, rows + (to - from));
      return;
    }
    for (auto time = from; time != to; ++time) {
      const uint32_t row = rows_.order[static_cast<size_t>(time - rows_.times.begin())];
      if (!column.IsValid(row)) continue;
      series->times.push_back(*time);
      series->rows.push_back(row);
    }
  }

  /// Copies the events that were created by `time`.
  void KeepExisting(int64_t time, const Series& series, Series* existing) const {
    existing->Clear(series.kind);
    for (size_t i = 0; i < series.rows.size(); ++i) {
      if (events_.created[series.rows[i]] > time) continue;
      existing->times.push_back(series.times[i]);
      existing->rows.push_back(series.rows[i]);
    }
  }

  Status EvaluateColumn(const ColumnPlan& plan, uint32_t first, uint32_t last, Pass pass,
                        Series* series, Worker* worker) {
    if (series->rows.empty()) return Status::OK();
    if (plan.needs_values && pass == Pass::kValuesAndLengths) {
      const ValueColumn& column = columns_[plan.column];
      if (series->kind == KeyKind::kString) {
        column.AppendStrings(series->rows, &series->strings);
      } else if (series->kind != KeyKind::kNone) {
        column.AppendKeys(series->rows, &series->keys);
      }
    }
    worker->scratch.Forget();
    bool have_windows = false;
    std::optional<int64_t> length;
    for (const size_t i : plan.specs) {
      const AggregateSpec& spec = specs_[i];
      if (pass == Pass::kLists && outputs_[i].kind != OutputKind::kRowList) continue;
      if (!have_windows || spec.window != length) {
        length = spec.window;
        have_windows = true;
        FindWindows(length, first, last, series->times, &worker->windows);
      }
      GNOMON_RETURN_NOT_OK(
          EvaluateWindows(spec, series, worker->windows, pass, &worker->scratch, &outputs_[i]));
    }
    return Status::OK();
  }

  /// The labels' times and the events' times ascend, so both ends only move forwards.
  void FindWindows(const std::optional<int64_t>& length, uint32_t first, uint32_t last,
                   const std::vector<int64_t>& times, std::vector<Window>* windows) const {
    windows->clear();
    Window window;
    if (last - first == 1) {
      const int64_t time = labels_.times[first];
      const auto end = std::ranges::upper_bound(times, time);
      const auto begin = std::lower_bound(times.begin(), end, OldestIn(length, time));
      windows->push_back({.begin = static_cast<uint32_t>(begin - times.begin()),
                          .end = static_cast<uint32_t>(end - times.begin()),
                          .label = labels_.order[first]});
      return;
    }
    for (uint32_t i = first; i < last; ++i) {
      const int64_t time = labels_.times[i];
      const int64_t oldest = OldestIn(length, time);
      while (window.end < times.size() && times[window.end] <= time) ++window.end;
      while (window.begin < window.end && times[window.begin] < oldest) ++window.begin;
      window.label = labels_.order[i];
      windows->push_back(window);
    }
  }

  const Events& events_;
  const std::span<const AggregateSpec> specs_;
  const bool filter_by_created_;
  const std::vector<ColumnPlan> plans_;
  std::vector<ValueColumn> columns_;
  EntityIndex labels_;
  EntityIndex rows_;
  std::vector<Output> outputs_;  ///< by spec, without use for custom ones
  std::map<std::pair<int, const CustomAggregate*>, CustomColumn> custom_columns_;
  std::vector<CustomWindows> custom_;  ///< of the custom specs, in their order
};

Status CheckInput(const Events& events, std::span<const AggregateSpec> specs) {
  for (const auto& column : events.columns) {
    GNOMON_CHECK(static_cast<size_t>(column->length()) == events.ids.size(), column->length(),
                 " values, ", events.ids.size(), " events");
  }
  for (const AggregateSpec& spec : specs) {
    if (spec.column < 0 || static_cast<size_t>(spec.column) >= events.columns.size()) {
      return Error(ErrorKind::kUser, NameOf(spec.function), " of value column ", spec.column,
                   ", but there are ", events.columns.size());
    }
    GNOMON_RETURN_NOT_OK(
        ResultType(spec, *events.columns[static_cast<size_t>(spec.column)]->type()));
  }
  return Status::OK();
}

}  // namespace

Result<std::vector<std::shared_ptr<arrow::Array>>> AggregateWindows(
    const Context& context, const Events& events, std::span<const int32_t> label_ids,
    std::span<const int64_t> label_times, std::span<const AggregateSpec> specs,
    bool filter_by_created) {
  GNOMON_RETURN_NOT_OK(CheckInput(events, specs));
  MemoryReservation memory(context.memory);
  WindowJob job(events, specs, filter_by_created);
  GNOMON_RETURN_NOT_OK(job.Index(context, label_ids, label_times, &memory));
  GNOMON_RETURN_NOT_OK(job.Run(context, Pass::kValuesAndLengths));
  if (job.has_lists()) {
    GNOMON_RETURN_NOT_OK(job.PlaceAllLists(&memory));
    GNOMON_RETURN_NOT_OK(job.Run(context, Pass::kLists));
  }
  return job.Collect();
}

}  // namespace gnomon::pit
