#include "pit/event_tiles.h"

#include <algorithm>
#include <limits>
#include <utility>

#include <arrow/array.h>
#include <arrow/type.h>

#include "pit/bytes_internal.h"
#include "pit/event_tiles_internal.h"
#include "pit/exact_sum.h"
#include "pit/exact_variance.h"
#include "pit/value_column_internal.h"

namespace gnomon::pit {
namespace {

/// The values of a column's events from `begin` on, and the tiles that they are in.
class TileWriter {
 public:
  TileWriter(const std::shared_ptr<arrow::Array>& values, int64_t begin, const TileBorders& tiles)
      : column_(values), begin_(begin), tiles_(tiles) {}

  void AppendSums(std::string* bytes) const {
    AppendStates(bytes, [&](std::span<const int64_t> keys, std::string* states) {
      if (column_.kind() != KeyKind::kReal) {
        Int128 total = 0;
        for (const int64_t key : keys) total += WholeOfKey(column_.kind(), key);
        AppendNumber(total, states);
        return;
      }
      ExactSum total;
      for (const int64_t key : keys) total.Add(RealOfKey(key));
      total.Append(states);
    });
  }

  void AppendMoments(std::string* bytes) const {
    AppendStates(bytes, [&](std::span<const int64_t> keys, std::string* states) {
      ExactVariance total;
      for (const int64_t key : keys) {
        // The key of an unsigned value is the value less 2^63: variance does not see the shift.
        if (column_.kind() == KeyKind::kReal) {
          total.Add(RealOfKey(key));
        } else {
          total.AddInteger(key);
        }
      }
      total.Append(states);
    });
  }

  void AppendExtremes(bool is_min, std::string* bytes) const {
    if (column_.kind() == KeyKind::kString) {
      AppendBest(&TileWriter::StringsOf, StringBefore{is_min}, bytes);
    } else {
      AppendBest(&TileWriter::KeysOf, KeyBefore{column_.kind(), is_min}, bytes);
    }
  }

  void AppendOrder(std::string* bytes) const {
    if (column_.kind() == KeyKind::kString) {
      AppendSorted(StringsOf(0, tiles_.num_events()), bytes);
    } else {
      AppendSorted(KeysOf(0, tiles_.num_events()), bytes);
    }
  }

  void AppendPlaces(std::string* bytes) const {
    constexpr int64_t kLengthBytes = sizeof(uint32_t);
    uint32_t place = 0;
    std::vector<std::string_view> texts;
    for (int64_t tile = 0; tile < tiles_.num_tiles(); ++tile) {
      AppendNumber(place, bytes);
      texts.clear();
      column_.AppendStrings(RowsOf(tiles_.begin(tile), tiles_.end(tile)), &texts);
      place += static_cast<uint32_t>((tiles_.end(tile) - tiles_.begin(tile)) * kLengthBytes);
      for (const std::string_view text : texts) place += static_cast<uint32_t>(text.size());
    }
  }

 private:
  uint32_t RowOf(int64_t event) const { return static_cast<uint32_t>(begin_ + event); }

  /// Of the events [from, to) that have a value.
  std::vector<uint32_t> RowsOf(int64_t from, int64_t to) const {
    std::vector<uint32_t> rows;
    rows.reserve(static_cast<size_t>(to - from));
    for (int64_t event = from; event < to; ++event) {
      if (column_.IsValid(RowOf(event))) rows.push_back(RowOf(event));
    }
    return rows;
  }
  template <typename Value>
  using Numbered = std::vector<std::pair<Value, uint32_t>>;  ///< value, number of the event

  template <typename Value>
  Numbered<Value> Number(std::span<const Value> values, std::span<const uint32_t> rows) const {
    Numbered<Value> numbered;
    numbered.reserve(values.size());
    for (size_t i = 0; i < values.size(); ++i)
      numbered.emplace_back(values[i], rows[i] - static_cast<uint32_t>(begin_));
    return numbered;
  }
  Numbered<int64_t> KeysOf(int64_t from, int64_t to) const {
    const std::vector<uint32_t> rows = RowsOf(from, to);
    std::vector<int64_t> keys;
    column_.AppendKeys(rows, &keys);
    return Number<int64_t>(keys, rows);
  }
  Numbered<std::string_view> StringsOf(int64_t from, int64_t to) const {
    const std::vector<uint32_t> rows = RowsOf(from, to);
    std::vector<std::string_view> strings;
    column_.AppendStrings(rows, &strings);
    return Number<std::string_view>(strings, rows);
  }

  /// Where each tile's state ends, then the states.
  template <typename AppendState>
  void AppendStates(std::string* bytes, const AppendState& append) const {
    std::string states;
    std::vector<int64_t> keys;
    for (int64_t tile = 0; tile < tiles_.num_tiles(); ++tile) {
      keys.clear();
      column_.AppendKeys(RowsOf(tiles_.begin(tile), tiles_.end(tile)), &keys);
      append(keys, &states);
      AppendNumber(static_cast<uint32_t>(states.size()), bytes);
    }
    bytes->append(states);
  }

  template <typename Values, typename Before>
  void AppendBest(const Values& values_of, const Before& before, std::string* bytes) const {
    for (int64_t tile = 0; tile < tiles_.num_tiles(); ++tile) {
      const int64_t from = tiles_.begin(tile);
      const auto values = (this->*values_of)(from, tiles_.end(tile));
      const auto best =
          std::ranges::min_element(values, before, [](const auto& v) { return v.first; });
      const bool any = best != values.end();
      AppendNumber(any ? static_cast<uint8_t>(best->second - from) : kNoPlace, bytes);
    }
  }

  template <typename Value>
  void AppendSorted(Numbered<Value> events, std::string* bytes) const {
    std::ranges::sort(events);
    const bool wide = IsWideOrder(tiles_.num_events());
    std::string order;
    uint32_t num_distinct = 0;
    for (size_t i = 0; i < events.size(); ++i) {
      const bool is_new = i == 0 || events[i].first != events[i - 1].first;
      num_distinct += is_new ? 1 : 0;
      if (wide) {
        AppendNumber(static_cast<uint32_t>(events[i].second | (is_new ? 1U << 31 : 0)), &order);
      } else {
        AppendNumber(static_cast<uint16_t>(events[i].second | (is_new ? 1U << 15 : 0)), &order);
      }
    }
    AppendNumber(num_distinct, bytes);
    bytes->append(order);
  }

  const ValueColumn column_;
  const int64_t begin_;
  const TileBorders& tiles_;
};

}  // namespace

const char* NameOf(TilePart part) {
  switch (part) {
    case TilePart::kSums:
      return "sums";
    case TilePart::kMoments:
      return "moments";
    case TilePart::kMinima:
      return "minima";
    case TilePart::kMaxima:
      return "maxima";
    case TilePart::kOrder:
      return "order";
    case TilePart::kPlaces:
      break;
  }
  return "places";
}

bool IsOfTiles(TilePart part) { return part != TilePart::kOrder; }

std::optional<std::vector<TilePart>> TilePartsOf(AggregateFunction function,
                                                 const arrow::DataType& type) {
  std::vector<TilePart> parts;
  bool takes_value = false;
  switch (function) {
    case AggregateFunction::kCount:
      break;
    case AggregateFunction::kSum:
    case AggregateFunction::kMean:
      parts = {TilePart::kSums};
      break;
    case AggregateFunction::kStd:
    case AggregateFunction::kVar:
      parts = {TilePart::kMoments};
      break;
    case AggregateFunction::kMin:
      parts = {TilePart::kMinima};
      takes_value = true;
      break;
    case AggregateFunction::kMax:
      parts = {TilePart::kMaxima};
      takes_value = true;
      break;
    case AggregateFunction::kMostFrequent:
      parts = {TilePart::kOrder};
      takes_value = true;
      break;
    case AggregateFunction::kCountDistinct:
    case AggregateFunction::kMedian:
    case AggregateFunction::kQuantile:
      parts = {TilePart::kOrder};
      break;
    case AggregateFunction::kFirst:
    case AggregateFunction::kLast:
    case AggregateFunction::kLastK:
      takes_value = true;
      break;
    case AggregateFunction::kCustom:
      return std::nullopt;
  }
  if (takes_value && KeyKindOf(type) == KeyKind::kString) parts.push_back(TilePart::kPlaces);
  return parts;
}

void AppendTilePart(TilePart part, const std::shared_ptr<arrow::Array>& values, int64_t begin,
                    const TileBorders& tiles, std::string* bytes) {
  const TileWriter writer(values, begin, tiles);
  switch (part) {
    case TilePart::kSums:
      return writer.AppendSums(bytes);
    case TilePart::kMoments:
      return writer.AppendMoments(bytes);
    case TilePart::kMinima:
      return writer.AppendExtremes(true, bytes);
    case TilePart::kMaxima:
      return writer.AppendExtremes(false, bytes);
    case TilePart::kOrder:
      return writer.AppendOrder(bytes);
    case TilePart::kPlaces:
      return writer.AppendPlaces(bytes);
  }
}

}  // namespace gnomon::pit
