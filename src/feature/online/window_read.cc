#include <algorithm>
#include <cstring>

#include <arrow/array.h>
#include <arrow/chunked_array.h>
#include <arrow/type.h>

#include "base/text.h"
#include "feature/online/window_read_internal.h"
#include "feature/online/window_row.h"
#include "table/column.h"

namespace gnomon::feature::internal {
namespace {

/// The values of a list column, one per event. Rows whose list is not as long as the list of times
/// (a column that the stored row does not have) give nulls.
Result<std::shared_ptr<arrow::Array>> EventValues(const arrow::ListArray& times,
                                                  const arrow::ListArray& lists) {
  const auto num_rows = static_cast<size_t>(times.length());
  if (std::memcmp(times.raw_value_offsets(), lists.raw_value_offsets(),
                  (num_rows + 1) * sizeof(int32_t)) == 0) {
    return lists.values();
  }
  std::vector<int64_t> indices;
  indices.reserve(static_cast<size_t>(times.values()->length()));
  for (int64_t row = 0; row < times.length(); ++row) {
    for (int32_t place = 0; place < times.value_length(row); ++place) {
      indices.push_back(place < lists.value_length(row) ? lists.value_offset(row) + place : -1);
    }
  }
  return table::Gather(arrow::ChunkedArray(lists.values()), indices);
}

std::optional<FoldedPart> PartOf(const WindowFolding& folding, int field,
                                 pit::AggregateFunction function) {
  const pit::PartialKind kind = pit::PartialKindOf(function);
  const auto part = std::ranges::find_if(folding.parts(), [&](const FoldedPart& other) {
    return other.field == field && other.kind == kind;
  });
  return part == folding.parts().end() ? std::nullopt : std::optional(*part);
}

}  // namespace

Result<WindowReader> WindowReader::Make(const OnlineTable& table, const FeatureView& view,
                                        std::span<const Field* const> features) {
  WindowReader reader;
  reader.view_ = view.name;
  reader.fields_.push_back(table.schema->GetFieldIndex(std::string(kEventTimes)));
  const bool folds = FoldsEvents(view);
  const WindowFolding folding = WindowFolding::Make(table, view);
  for (const Field* feature : features) {
    const auto aggregation =
        std::ranges::find(view.aggregations, feature->name, &Aggregation::name);
    if (aggregation == view.aggregations.end()) {
      return Error(ErrorKind::kInternal, "window view ", Quoted(view.name),
                   " has no aggregation of its feature ", Quoted(feature->name));
    }
    const int field = table.schema->GetFieldIndex(aggregation->column);
    auto column = std::ranges::find(reader.fields_, field);
    if (column == reader.fields_.end()) column = reader.fields_.insert(column, field);
    GNOMON_ASSIGN_OR_RETURN(pit::AggregateSpec spec, AggregateSpecOf(*aggregation));
    spec.column = static_cast<int>(column - reader.fields_.begin()) - 1;
    std::optional<FoldedPart> part;
    if (folds && !spec.window) part = PartOf(folding, field, spec.function);
    if (!part || pit::KeepsRows(part->kind)) {
      reader.direct_.push_back(reader.specs_.size());
      reader.direct_specs_.push_back(spec);
    }
    reader.parts_.push_back(std::move(part));
    reader.specs_.push_back(std::move(spec));
    reader.types_.push_back(feature->dtype.ToArrow());
  }
  reader.num_columns_ = reader.fields_.size() - 1;
  if (folds) {
    for (const std::string_view name : {kFolded, kPartialNames, kPartials})
      reader.fields_.push_back(table.schema->GetFieldIndex(std::string(name)));
  }
  return reader;
}

Result<WindowReader::Values> WindowReader::Evaluate(const Context& context,
                                                    const OnlineValues& stored,
                                                    int64_t as_of) const {
  const auto& times = static_cast<const arrow::ListArray&>(*stored.columns[0]);
  const auto& event_times = static_cast<const arrow::Int64Array&>(*times.values());
  const size_t num_rows = stored.found.size();
  Values values;
  values.found.resize(num_rows);
  values.event_times.resize(num_rows);
  std::vector<int32_t> ids(static_cast<size_t>(event_times.length()), -1);
  std::vector<int32_t> label_ids(num_rows);
  const std::vector<int64_t> label_times(num_rows, as_of);
  for (size_t row = 0; row < num_rows; ++row) {
    label_ids[row] = static_cast<int32_t>(row);
    const auto index = static_cast<int64_t>(row);
    const std::span<const int64_t> own(event_times.raw_values() + times.value_offset(index),
                                       static_cast<size_t>(times.value_length(index)));
    std::fill_n(ids.begin() + times.value_offset(index), own.size(), label_ids[row]);
    const auto after = std::ranges::upper_bound(own, as_of);
    if (after == own.begin()) continue;
    values.found[row] = true;
    values.event_times[row] = *(after - 1);
  }

  // Created times are not needed: rows are stored in their order, and ties in time keep the order
  // of the input.
  pit::Events events;
  events.ids = ids;
  events.times = std::span(event_times.raw_values(), static_cast<size_t>(event_times.length()));
  for (size_t i = 1; i <= num_columns_; ++i) {
    GNOMON_ASSIGN_OR_RETURN(
        auto column, EventValues(times, static_cast<const arrow::ListArray&>(*stored.columns[i])));
    events.columns.push_back(std::move(column));
  }
  GNOMON_ASSIGN_OR_RETURN(
      auto direct, pit::AggregateWindows(context, events, label_ids, label_times, direct_specs_));
  values.columns.resize(specs_.size());
  for (size_t i = 0; i < direct.size(); ++i) values.columns[direct_[i]] = std::move(direct[i]);
  if (stored.columns.size() > num_columns_ + 1)
    GNOMON_RETURN_NOT_OK(AddFolded(stored, events, as_of, &values));
  for (size_t i = 0; i < values.columns.size(); ++i) {
    if (values.columns[i]->type()->Equals(*types_[i])) continue;
    GNOMON_ASSIGN_OR_RETURN(values.columns[i], table::CastLossless(values.columns[i], types_[i]));
  }
  return values;
}

}  // namespace gnomon::feature::internal
