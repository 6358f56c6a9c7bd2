#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/error.h"
#include "pit/tile_borders.h"
#include "pit/window.h"

/// Aggregates over the events of one entity that lie in their order (time, created, input), grouped
/// in tiles with a partial each: a range of events costs its two cut tiles and the partials of the
/// whole ones between. What comes out is what AggregateWindows gives for the range.
namespace gnomon::pit {

/// What is kept of a column's tiles.
enum class TilePart : uint8_t {
  kSums,     ///< sum, mean: the exact sum of each tile
  kMoments,  ///< std, var: the exact sums of x and x*x of each tile
  kMinima,   ///< min: where in each tile it is
  kMaxima,
  kOrder,   ///< median, quantile, count_distinct, most_frequent: the events in the order of values
  kPlaces,  ///< of texts: where each tile's first one begins
};
inline constexpr size_t kNumTileParts = 6;
const char* NameOf(TilePart part);

/// Does it depend on where the tiles end?
bool IsOfTiles(TilePart part);

/// The parts that an aggregate over a column of the type needs; absent: it has to see the values
/// themselves (custom aggregates).
std::optional<std::vector<TilePart>> TilePartsOf(AggregateFunction function,
                                                 const arrow::DataType& type);

/// Appends a part for the events of a column from `begin` on, as many as `tiles` divides. REQUIRES:
/// a part that TilePartsOf names for the column's type.
void AppendTilePart(TilePart part, const std::shared_ptr<arrow::Array>& values, int64_t begin,
                    const TileBorders& tiles, std::string* bytes);

/// The stored values of one column, one an event (docs/formats/packed_row.md, lists). Borrows.
struct StoredValues {
  std::shared_ptr<arrow::DataType> type;
  int64_t length = 0;
  std::string_view nulls;   ///< a bit per event, 1: null
  std::string_view values;  ///< side by side; each text after its length, u32
};

/// An aggregate's value, null when all are empty.
struct TileValue {
  std::optional<int64_t> integer;  ///< count, count_distinct, sum of integers
  std::optional<double> real;      ///< other numbers; min, max and most_frequent of floats
  std::vector<int64_t> events;     ///< else the event that has it; last_k: events, newest first
};

/// Reads aggregates over ranges of one column's events. Cheapest when ranges with one end come from
/// the shortest to the longest. Not thread-safe.
class TileReader {
 public:
  /// `tiles` must outlive it. kDataLoss when the values are fewer than the length says, or not
  /// those that the tiles divide.
  static Result<TileReader> Make(StoredValues values, const TileBorders& tiles);
  TileReader(TileReader&&) noexcept;
  TileReader& operator=(TileReader&&) noexcept;
  ~TileReader();

  /// What AppendTilePart wrote for the same tiles. kDataLoss when it does not fit the column.
  Status AddPart(TilePart part, std::string_view bytes);

  /// Over the events [begin, end). REQUIRES: the parts of TilePartsOf were added; 0 <= begin <= end
  /// <= length. kUser as AggregateWindows, kDataLoss when what is stored is damaged.
  Result<TileValue> Evaluate(const AggregateSpec& spec, int64_t begin, int64_t end);

  /// The bytes of an event's value. REQUIRES: no null; of texts, kPlaces. kDataLoss as above.
  Result<std::string_view> BytesOf(int64_t event) const;

 private:
  struct Impl;
  explicit TileReader(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace gnomon::pit
