#include "feature/online/window_tiles.h"

#include <algorithm>
#include <utility>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "base/text.h"
#include "feature/online/event_lists_internal.h"
#include "feature/online/window_folding.h"
#include "feature/online/window_row.h"

namespace gnomon::feature {

using internal::EventLists;

namespace {

pit::TileBorders BordersOf(const EventLists& times, int64_t row,
                           const std::optional<int64_t>& interval) {
  const int64_t length = times.length(row);
  if (!interval) return pit::TileBorders::OfCounts(length);
  const auto& all = static_cast<const arrow::Int64Array&>(*times.values());
  return pit::TileBorders::OfIntervals(
      {all.raw_values() + times.begin(row), static_cast<size_t>(length)}, *interval);
}

}  // namespace

std::string NameOfTilePart(pit::TilePart part, bool has_lengths, const arrow::DataType& type,
                           std::string_view column) {
  const char* const grid = has_lengths && pit::IsOfTiles(part) ? "interval " : "";
  return Concat(grid, pit::NameOf(part), " ", type.ToString(), " ", column);
}

std::optional<int64_t> TileIntervalOf(const FeatureView& view) {
  const bool folds = FoldsEvents(view);
  std::optional<int64_t> shortest;
  for (const Aggregation& aggregation : view.aggregations) {
    if ((folds && !aggregation.time_window) || !aggregation.slide_interval) continue;
    shortest =
        std::min(shortest.value_or(*aggregation.slide_interval), *aggregation.slide_interval);
  }
  return shortest;
}

WindowTiling WindowTiling::Make(const OnlineTable& table, const FeatureView& view) {
  WindowTiling tiling;
  tiling.interval_ = TileIntervalOf(view);
  const bool folds = FoldsEvents(view);
  for (const Aggregation& aggregation : view.aggregations) {
    if (folds && !aggregation.time_window) continue;  // has a part of the folded events
    const int field = table.schema->GetFieldIndex(aggregation.column);
    const auto& type =
        static_cast<const arrow::ListType&>(*table.schema->field(field)->type()).value_type();
    for (const pit::TilePart part :
         pit::TilePartsOf(aggregation.function, *type).value_or(std::vector<pit::TilePart>())) {
      const bool known = std::ranges::any_of(tiling.parts_, [&](const Part& other) {
        return other.field == field && other.part == part;
      });
      if (known) continue;
      tiling.parts_.push_back(
          {.field = field,
           .part = part,
           .name = NameOfTilePart(part, tiling.interval_.has_value(), *type, aggregation.column)});
    }
  }
  return tiling;
}

Result<std::shared_ptr<arrow::RecordBatch>> WindowTiling::Add(
    const std::shared_ptr<arrow::RecordBatch>& rows) const {
  const EventLists times(rows->GetColumnByName(std::string(kEventTimes)));
  const auto parts = std::make_shared<arrow::BinaryBuilder>();
  arrow::ListBuilder tiles(arrow::default_memory_pool(), parts);
  std::string bytes;
  for (int64_t row = 0; row < rows->num_rows(); ++row) {
    const int64_t length = times.length(row);
    if (length < kFewestTiledEvents) {
      GNOMON_RETURN_NOT_OK(tiles.AppendNull());
      continue;
    }
    GNOMON_RETURN_NOT_OK(tiles.Append());
    const pit::TileBorders borders = BordersOf(times, row, interval_);
    if (interval_) {
      bytes.clear();
      borders.AppendLengths(&bytes);
      GNOMON_RETURN_NOT_OK(parts->Append(kTileLengths));
      GNOMON_RETURN_NOT_OK(parts->Append(bytes));
    }
    for (const Part& part : parts_) {
      const EventLists lists(rows->column(part.field));
      if (lists.length(row) != length) continue;
      bytes.clear();
      pit::AppendTilePart(part.part, lists.values(), lists.begin(row), borders, &bytes);
      GNOMON_RETURN_NOT_OK(parts->Append(part.name));
      GNOMON_RETURN_NOT_OK(parts->Append(bytes));
    }
  }
  GNOMON_ASSIGN_OR_RETURN(auto column, tiles.Finish());
  const int field = rows->schema()->GetFieldIndex(std::string(kTiles));
  return rows->SetColumn(field, rows->schema()->field(field), std::move(column));
}

}  // namespace gnomon::feature
