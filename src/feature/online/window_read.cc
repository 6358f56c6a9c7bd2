#include <algorithm>
#include <cstring>
#include <iterator>
#include <utility>

#include <arrow/array.h>
#include <arrow/chunked_array.h>
#include <arrow/type.h>

#include "base/text.h"
#include "feature/online/window_read_internal.h"
#include "feature/online/window_read_tiled_internal.h"
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
  const bool folds = reader.folds_ = FoldsEvents(view);
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
      reader.direct_.places.push_back(reader.specs_.size());
      reader.direct_.specs.push_back(spec);
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
  reader.PlanTiles(table);
  return reader;
}

void WindowReader::PlanTiles(const OnlineTable& table) {
  packed_fields_ = fields_;
  packed_fields_.push_back(table.schema->GetFieldIndex(std::string(kTiles)));
  for (size_t i = 1; i <= num_columns_; ++i)
    column_types_.push_back(table.schema->field(fields_[i])->type()->field(0)->type());
  tiled_.resize(specs_.size());
  for (size_t i = 0; i < specs_.size(); ++i) {
    const pit::AggregateSpec& spec = specs_[i];
    const auto column = static_cast<size_t>(spec.column);
    const auto& type = column_types_[column];
    const auto parts = pit::TilePartsOf(spec.function, *type);
    const auto result = pit::ResultType(spec, *type);
    if (!parts || !result.ok() || (folds_ && !spec.window)) continue;
    tiled_[i] = *result;
    tiled_order_.push_back(i);
    for (const pit::TilePart part : *parts) {
      const bool known = std::ranges::any_of(tile_parts_, [&](const TiledPart& other) {
        return other.column == column && other.part == part;
      });
      if (known) continue;
      const std::string& name = table.schema->field(fields_[column + 1])->name();
      tile_parts_.push_back({.column = column,
                             .part = part,
                             .name = NameOfTilePart(part, false, *type, name),
                             .interval_name = NameOfTilePart(part, true, *type, name)});
    }
  }
  std::ranges::stable_sort(tiled_order_, {}, [this](size_t i) {
    return std::pair(!specs_[i].window.has_value(), specs_[i].window.value_or(0));
  });
  for (size_t i = 0; i < direct_.places.size(); ++i) {
    if (tiled_[direct_.places[i]] != nullptr) continue;
    untiled_.places.push_back(direct_.places[i]);
    untiled_.specs.push_back(direct_.specs[i]);
  }
}

Result<WindowReader::Values> WindowReader::Evaluate(const Context& context,
                                                    const OnlineValues& stored, int64_t as_of,
                                                    TiledRows* tiled) const {
  const size_t num_rows = stored.found.size();
  TakenRows taken;
  if (tiled != nullptr) {
    GNOMON_ASSIGN_OR_RETURN(taken, tiled->Finish(num_rows));
  }
  Values values;
  values.columns.resize(specs_.size());
  if (taken.count == 0) {
    GNOMON_RETURN_NOT_OK(EvaluateDecoded(context, stored, as_of, direct_, &values));
  } else {
    const auto num_found = static_cast<size_t>(std::ranges::count(stored.found, true));
    const bool all = taken.count == num_found;
    if (!all || tiled_order_.size() < specs_.size()) {
      GNOMON_RETURN_NOT_OK(
          EvaluateDecoded(context, stored, as_of, all ? untiled_ : direct_, &values));
    } else {
      values.found.resize(num_rows);
      values.event_times.resize(num_rows);
    }
    GNOMON_RETURN_NOT_OK(PutTaken(std::move(taken), all, &values));
  }
  for (size_t i = 0; i < values.columns.size(); ++i) {
    if (values.columns[i]->type()->Equals(*types_[i])) continue;
    GNOMON_ASSIGN_OR_RETURN(values.columns[i], table::CastLossless(values.columns[i], types_[i]));
  }
  return values;
}

/// `all`: what was not taken is nowhere stored.
Status WindowReader::PutTaken(TakenRows taken, bool all, Values* values) const {
  const size_t num_rows = taken.rows.size();
  std::vector<int64_t> indices(num_rows);
  for (size_t row = 0; row < num_rows; ++row) {
    indices[row] = static_cast<int64_t>(taken.rows[row] ? num_rows + row : row);
    if (!taken.rows[row]) continue;
    values->found[row] = taken.found[row];
    values->event_times[row] = taken.event_times[row];
  }
  for (const size_t i : tiled_order_) {
    if (all) {
      values->columns[i] = std::move(taken.columns[i]);
      continue;
    }
    const arrow::ChunkedArray both({values->columns[i], taken.columns[i]});
    GNOMON_ASSIGN_OR_RETURN(values->columns[i], table::Gather(both, indices));
  }
  return Status::OK();
}

Status WindowReader::EvaluateDecoded(const Context& context, const OnlineValues& stored,
                                     int64_t as_of, const DirectSpecs& direct,
                                     Values* values) const {
  const auto& times = static_cast<const arrow::ListArray&>(*stored.columns[0]);
  const auto& event_times = static_cast<const arrow::Int64Array&>(*times.values());
  const size_t num_rows = stored.found.size();
  values->found.resize(num_rows);
  values->event_times.resize(num_rows);
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
    values->found[row] = true;
    values->event_times[row] = *(after - 1);
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
  GNOMON_ASSIGN_OR_RETURN(auto aggregates, pit::AggregateWindows(context, events, label_ids,
                                                                 label_times, direct.specs));
  for (size_t i = 0; i < aggregates.size(); ++i)
    values->columns[direct.places[i]] = std::move(aggregates[i]);
  return folds_ ? AddFolded(stored, events, as_of, values) : Status::OK();
}

}  // namespace gnomon::feature::internal
