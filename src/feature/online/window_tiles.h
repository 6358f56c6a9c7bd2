#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/error.h"
#include "feature/definition/definition.h"
#include "feature/online/online_store.h"
#include "pit/event_tiles.h"

/// The events of a stored row, grouped in tiles with partials: a read adds the events of the tiles
/// that a window cuts to the partials of the others and leaves the rest of the row alone. The
/// slide_interval of a view's aggregations says where tiles end; a row says itself where its tiles
/// do, so it is read as it was written. docs/formats/online_packed.md draws them.
namespace gnomon::feature {

/// Column of a window view's table: names of parts and their bytes by turns, null for a row with
/// too few events.
inline constexpr std::string_view kTiles = "__tiles";

/// Rows of fewer events are decoded and aggregated as a whole, which is as fast.
inline constexpr int64_t kFewestTiledEvents = 128;

/// The part of kTiles that comes first where tiles end between intervals: a byte a tile, its number
/// of events. Without it they have pit::kTileEvents each.
inline constexpr std::string_view kTileLengths = "lengths";

/// A part as it is stored: "sums double amount", with kTileLengths "interval sums double amount".
/// So a build that knows no lengths does not find parts which it would take for others.
std::string NameOfTilePart(pit::TilePart part, bool has_lengths, const arrow::DataType& type,
                           std::string_view column);

/// The shortest slide_interval of the view's aggregations, but for those whose events are folded;
/// absent: none has one.
std::optional<int64_t> TileIntervalOf(const FeatureView& view);

/// Fills kTiles. Immutable, thread-safe.
class WindowTiling {
 public:
  static WindowTiling Make(const OnlineTable& table, const FeatureView& view);

  /// Of rows that are complete but for kTiles.
  Result<std::shared_ptr<arrow::RecordBatch>> Add(
      const std::shared_ptr<arrow::RecordBatch>& rows) const;

 private:
  struct Part {
    int field = 0;  ///< the column, in the table's schema
    pit::TilePart part = pit::TilePart::kSums;
    std::string name;
  };
  std::vector<Part> parts_;
  std::optional<int64_t> interval_;  ///< TileIntervalOf
};

}  // namespace gnomon::feature
