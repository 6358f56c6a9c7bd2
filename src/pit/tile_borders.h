#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace gnomon::pit {

/// The most events of a tile.
inline constexpr int64_t kTileEvents = 64;

/// Where the events of one entity, which lie in their order, are divided in tiles. Fewer than 2^31
/// events.
class TileBorders {
 public:
  /// Of no events.
  TileBorders() = default;

  /// kTileEvents a tile, the last one maybe fewer.
  static TileBorders OfCounts(int64_t num_events);

  /// Tiles end between the intervals [k * interval, (k + 1) * interval) of time. A tile takes as
  /// many whole intervals as kTileEvents hold; one that has more by itself is cut after so many.
  /// So neighbours have more than kTileEvents together, whatever the interval. REQUIRES: times that
  /// ascend, interval > 0.
  static TileBorders OfIntervals(std::span<const int64_t> times, int64_t interval);

  /// What AppendLengths wrote; absent when it does not fit so many events.
  static std::optional<TileBorders> OfLengths(std::string_view lengths, int64_t num_events);

  /// Appends a byte a tile: its number of events.
  void AppendLengths(std::string* bytes) const;

  int64_t num_events() const { return ends_.empty() ? 0 : int64_t{ends_.back()}; }
  int64_t num_tiles() const { return static_cast<int64_t>(ends_.size()); }
  int64_t begin(int64_t tile) const { return tile == 0 ? 0 : end(tile - 1); }
  int64_t end(int64_t tile) const { return ends_[static_cast<size_t>(tile)]; }
  /// REQUIRES: 0 <= event < num_events().
  int64_t TileOf(int64_t event) const;

 private:
  std::vector<uint32_t> ends_;
};

}  // namespace gnomon::pit
