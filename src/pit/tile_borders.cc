#include "pit/tile_borders.h"

#include <algorithm>
#include <utility>

namespace gnomon::pit {
namespace {

int64_t IntervalOf(int64_t time, int64_t interval) {
  return time / interval - (time % interval < 0 ? 1 : 0);
}

}  // namespace

TileBorders TileBorders::OfCounts(int64_t num_events) {
  TileBorders borders;
  borders.ends_.reserve(static_cast<size_t>((num_events + kTileEvents - 1) / kTileEvents));
  for (int64_t end = kTileEvents; end < num_events; end += kTileEvents)
    borders.ends_.push_back(static_cast<uint32_t>(end));
  if (num_events > 0) borders.ends_.push_back(static_cast<uint32_t>(num_events));
  return borders;
}

TileBorders TileBorders::OfIntervals(std::span<const int64_t> times, int64_t interval) {
  TileBorders borders;
  constexpr auto kMost = static_cast<size_t>(kTileEvents);
  for (size_t begin = 0; begin < times.size();) {
    size_t end = std::min(times.size(), begin + kMost);
    if (end < times.size()) {
      const int64_t next = IntervalOf(times[end], interval);
      size_t whole = end;
      while (whole > begin && IntervalOf(times[whole - 1], interval) == next) --whole;
      if (whole > begin) end = whole;
    }
    borders.ends_.push_back(static_cast<uint32_t>(end));
    begin = end;
  }
  return borders;
}

std::optional<TileBorders> TileBorders::OfLengths(std::string_view lengths, int64_t num_events) {
  TileBorders borders;
  borders.ends_.reserve(lengths.size());
  int64_t end = 0;
  for (const char length : lengths) {
    const int64_t events = static_cast<unsigned char>(length);
    if (events == 0 || events > kTileEvents || events > num_events - end) return std::nullopt;
    end += events;
    borders.ends_.push_back(static_cast<uint32_t>(end));
  }
  return end == num_events ? std::optional(std::move(borders)) : std::nullopt;
}

void TileBorders::AppendLengths(std::string* bytes) const {
  uint32_t begin = 0;
  for (const uint32_t end : ends_) {
    bytes->push_back(static_cast<char>(end - begin));
    begin = end;
  }
}

int64_t TileBorders::TileOf(int64_t event) const {
  return std::ranges::upper_bound(ends_, static_cast<uint32_t>(event)) - ends_.begin();
}

}  // namespace gnomon::pit
