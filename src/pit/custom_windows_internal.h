#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/error.h"
#include "base/memory_reservation.h"
#include "pit/custom_aggregate.h"
#include "pit/entity_index_internal.h"
#include "pit/window.h"

namespace gnomon::pit {

/// Can a column of this type be read as the aggregate's input?
bool IsInputOf(const CustomAggregate& aggregate, const arrow::DataType& column);

/// A value column as an aggregate reads it: the rows with values by entity, in the order of (time,
/// created, input).
struct CustomColumn {
  std::vector<uint32_t> offsets;  ///< of entities in `rows` and `times`
  std::vector<uint32_t> rows;     ///< in the input
  std::vector<int64_t> times;
  std::unique_ptr<CustomInput> input;

  static Result<CustomColumn> Make(const CustomAggregate& aggregate,
                                   const std::shared_ptr<arrow::Array>& values,
                                   const EntityIndex& index, MemoryReservation* memory);
};

/// States that a thread reuses from entity to entity, for one spec.
struct CustomScratch {
  /// Rows [begin, end) of the column: those of one tile that the present window sees.
  struct Tile {
    int64_t number = 0;
    uint32_t begin = 0;
    uint32_t end = 0;
    std::unique_ptr<CustomState> state;
  };
  std::deque<Tile> tiles;
  std::vector<std::unique_ptr<CustomState>> spare;
  std::unique_ptr<CustomState> total;
};

/// The windows of one spec. Constant but for the values, each of which is written by one thread.
class CustomWindows {
 public:
  /// `created` is empty unless rows are seen only from their created time on. `column` outlives
  /// this.
  static Result<CustomWindows> Make(const AggregateSpec& spec, const CustomColumn& column,
                                    std::span<const int64_t> created, size_t num_labels,
                                    MemoryReservation* memory);

  Status EvaluateEntity(size_t entity, const EntityIndex& labels, CustomScratch* scratch);
  Result<std::shared_ptr<arrow::Array>> Collect() const;

 private:
  CustomWindows(const AggregateSpec& spec, const CustomColumn& column,
                std::span<const int64_t> created);
  int64_t TileOf(uint32_t row) const;
  bool Exists(uint32_t row, int64_t time) const;
  Status Follow(uint32_t begin, uint32_t end, CustomScratch* scratch) const;
  Status Append(uint32_t begin, uint32_t end, CustomScratch* scratch) const;
  Status Replay(uint32_t begin, uint32_t end, int64_t time, CustomScratch* scratch) const;
  Status Write(const CustomState& state, uint32_t label);
  void WriteValue(const CustomValue& value, uint32_t label);

  const CustomAggregate* aggregate_;
  std::shared_ptr<arrow::DataType> type_;
  std::optional<int64_t> window_;
  int64_t ticks_per_micro_;
  int tile_shift_ = 0;  ///< a tile is 2^tile_shift_ microseconds
  const CustomColumn* column_;
  std::span<const int64_t> created_;
  std::vector<uint8_t> valid_;
  std::vector<int64_t> integers_;
  std::vector<double> reals_;
  std::vector<std::string> texts_;
};

/// The oldest time inside the window that ends at `time`.
int64_t OldestIn(const std::optional<int64_t>& window, int64_t time);

}  // namespace gnomon::pit
