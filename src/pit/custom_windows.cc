#include <algorithm>
#include <bit>
#include <utility>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/compute/api_vector.h>
#include <arrow/compute/cast.h>
#include <arrow/compute/exec.h>
#include <arrow/type.h>

#include "pit/custom_windows_internal.h"

namespace gnomon::pit {

namespace {

constexpr int64_t kTilesPerWindow = 32;

/// The largest power of two of microseconds of which 32 fit into the window; 1 for short windows.
int TileShift(int64_t window, int64_t ticks_per_micro) {
  const int64_t widest = window / ticks_per_micro / kTilesPerWindow;
  return widest < 1 ? 0 : static_cast<int>(std::bit_width(static_cast<uint64_t>(widest))) - 1;
}

bool IsText(const arrow::DataType& type) { return type.id() == arrow::Type::STRING; }
bool IsReal(const arrow::DataType& type) { return type.id() == arrow::Type::DOUBLE; }

/// The rows' values as the aggregate's input type.
Result<std::shared_ptr<arrow::Array>> Values(const CustomAggregate& aggregate,
                                             const std::shared_ptr<arrow::Array>& values,
                                             std::span<const uint32_t> rows) {
  arrow::compute::ExecContext exec;
  exec.set_use_threads(false);
  const arrow::UInt32Array indices(
      static_cast<int64_t>(rows.size()),
      std::make_shared<arrow::Buffer>(reinterpret_cast<const uint8_t*>(rows.data()),
                                      static_cast<int64_t>(rows.size() * sizeof(uint32_t))));
  GNOMON_ASSIGN_OR_RETURN(
      auto taken,
      arrow::compute::Take(*values, indices, arrow::compute::TakeOptions::NoBoundsCheck(), &exec));
  if (taken->type()->Equals(*aggregate.input())) return taken;
  arrow::compute::CastOptions options = arrow::compute::CastOptions::Safe(aggregate.input());
  options.allow_float_truncate = true;  // integers beyond 2^53 round, as in the other aggregates
  auto cast = arrow::compute::Cast(*taken, aggregate.input(), options, &exec);
  if (cast.ok()) return cast;
  return Error(ErrorKind::kUser, "aggregate ", aggregate.name(), ": ", cast.status().message());
}

}  // namespace

int64_t OldestIn(const std::optional<int64_t>& window, int64_t time) {
  int64_t oldest = INT64_MIN;
  if (window && __builtin_sub_overflow(time, *window - 1, &oldest)) oldest = INT64_MIN;
  return oldest;
}

bool IsInputOf(const CustomAggregate& aggregate, const arrow::DataType& column) {
  switch (aggregate.input()->id()) {
    case arrow::Type::BOOL:
      return column.id() == arrow::Type::BOOL;
    case arrow::Type::INT64:
      return arrow::is_integer(column.id());
    case arrow::Type::DOUBLE:
      return arrow::is_integer(column.id()) || column.id() == arrow::Type::FLOAT ||
             column.id() == arrow::Type::DOUBLE;
    case arrow::Type::STRING:
      return column.id() == arrow::Type::STRING || column.id() == arrow::Type::LARGE_STRING;
    default:
      return false;
  }
}

Result<CustomColumn> CustomColumn::Make(const CustomAggregate& aggregate,
                                        const std::shared_ptr<arrow::Array>& values,
                                        const EntityIndex& index, MemoryReservation* memory) {
  const auto num_valid = index.order.size();  // at most
  GNOMON_RETURN_NOT_OK(memory->Grow(static_cast<int64_t>(
      num_valid * (sizeof(uint32_t) + sizeof(int64_t)) + index.offsets.size() * sizeof(uint32_t))));
  CustomColumn column;
  column.offsets.reserve(index.offsets.size());
  column.rows.reserve(num_valid);
  column.times.reserve(num_valid);
  size_t at = 0;
  for (const uint32_t offset : index.offsets) {
    for (; at < offset; ++at) {
      if (!values->IsValid(index.order[at])) continue;
      column.rows.push_back(index.order[at]);
      column.times.push_back(index.times[at]);
    }
    column.offsets.push_back(static_cast<uint32_t>(column.rows.size()));
  }
  GNOMON_ASSIGN_OR_RETURN(const auto ordered, Values(aggregate, values, column.rows));
  GNOMON_RETURN_NOT_OK(memory->Grow(static_cast<int64_t>(column.rows.size() * sizeof(int64_t))));
  GNOMON_ASSIGN_OR_RETURN(column.input, aggregate.Prepare(ordered));
  return column;
}

CustomWindows::CustomWindows(const AggregateSpec& spec, const CustomColumn& column,
                             std::span<const int64_t> created)
    : aggregate_(spec.custom.get()),
      type_(spec.custom->result()),
      window_(spec.window),
      ticks_per_micro_(spec.ticks_per_micro),
      column_(&column),
      created_(created) {
  if (window_) tile_shift_ = TileShift(*window_, ticks_per_micro_);
}

Result<CustomWindows> CustomWindows::Make(const AggregateSpec& spec, const CustomColumn& column,
                                          std::span<const int64_t> created, size_t num_labels,
                                          MemoryReservation* memory) {
  CustomWindows windows(spec, column, created);
  const bool is_text = IsText(*windows.type_);
  GNOMON_RETURN_NOT_OK(
      memory->Grow(static_cast<int64_t>(num_labels * (is_text ? 1 + sizeof(std::string) : 9))));
  windows.valid_.assign(num_labels, 0);
  if (is_text) {
    windows.texts_.resize(num_labels);
  } else if (IsReal(*windows.type_)) {
    windows.reals_.assign(num_labels, 0);
  } else {
    windows.integers_.assign(num_labels, 0);
  }
  if (!spec.custom->has_value_of_nothing()) return windows;
  GNOMON_ASSIGN_OR_RETURN(const auto fresh, spec.custom->MakeState());
  GNOMON_ASSIGN_OR_RETURN(const CustomValue nothing, fresh->Finish());
  for (size_t label = 0; label < num_labels; ++label) {
    windows.WriteValue(nothing, static_cast<uint32_t>(label));
  }
  return windows;
}

/// Tiles lie between multiples of their width, counted from 1970.
int64_t CustomWindows::TileOf(uint32_t row) const {
  const int64_t time = column_->times[row];
  const int64_t micros = time / ticks_per_micro_ - (time % ticks_per_micro_ < 0 ? 1 : 0);
  return micros >> tile_shift_;
}

bool CustomWindows::Exists(uint32_t row, int64_t time) const {
  return created_[column_->rows[row]] <= time;
}

Status CustomWindows::EvaluateEntity(size_t entity, const EntityIndex& labels,
                                     CustomScratch* scratch) {
  const uint32_t first = column_->offsets[entity];
  const uint32_t last = column_->offsets[entity + 1];
  if (first == last) return Status::OK();
  if (scratch->total == nullptr) {
    GNOMON_ASSIGN_OR_RETURN(scratch->total, aggregate_->MakeState());
  }
  GNOMON_RETURN_NOT_OK(scratch->total->Reset());
  uint32_t begin = first;
  uint32_t end = first;
  uint32_t running = first;  // lifetime: the rows up to here are in the total
  for (uint32_t i = labels.offsets[entity]; i < labels.offsets[entity + 1]; ++i) {
    const int64_t time = labels.times[i];
    const int64_t oldest = OldestIn(window_, time);
    while (end < last && column_->times[end] <= time) ++end;
    while (begin < end && column_->times[begin] < oldest) ++begin;
    if (!created_.empty()) {
      const auto exists = [&](uint32_t row) { return Exists(row, time); };
      uint32_t seen = begin;
      while (seen < end && !exists(seen)) ++seen;
      if (seen == end) continue;
      GNOMON_RETURN_NOT_OK(Replay(seen, end, time, scratch));
    } else if (begin == end) {
      continue;
    } else if (window_) {
      GNOMON_RETURN_NOT_OK(Follow(begin, end, scratch));
    } else {
      GNOMON_RETURN_NOT_OK(scratch->total->Accumulate(*column_->input, running, end));
      running = end;
    }
    GNOMON_RETURN_NOT_OK(Write(*scratch->total, labels.order[i]));
  }
  while (!scratch->tiles.empty()) {
    scratch->spare.push_back(std::move(scratch->tiles.front().state));
    scratch->tiles.pop_front();
  }
  return Status::OK();
}

/// Moves the tiles on to a window that begins and ends no earlier than the last one, and puts the
/// window's state into the total. Only the first tile is ever cut, and it is never whole again.
Status CustomWindows::Follow(uint32_t begin, uint32_t end, CustomScratch* scratch) const {
  std::deque<CustomScratch::Tile>& tiles = scratch->tiles;
  while (!tiles.empty() && tiles.front().end <= begin) {
    scratch->spare.push_back(std::move(tiles.front().state));
    tiles.pop_front();
  }
  if (!tiles.empty() && tiles.front().begin < begin) {
    CustomScratch::Tile& cut = tiles.front();
    GNOMON_RETURN_NOT_OK(cut.state->Reset());
    GNOMON_RETURN_NOT_OK(cut.state->Accumulate(*column_->input, begin, cut.end));
    cut.begin = begin;
  }
  const uint32_t known = tiles.empty() ? begin : tiles.back().end;
  GNOMON_RETURN_NOT_OK(Append(known, end, scratch));
  GNOMON_RETURN_NOT_OK(scratch->total->Reset());
  for (const CustomScratch::Tile& tile : tiles) {
    GNOMON_RETURN_NOT_OK(scratch->total->Merge(*tile.state));
  }
  return Status::OK();
}

/// Adds rows to the last tile and to new ones after it.
Status CustomWindows::Append(uint32_t begin, uint32_t end, CustomScratch* scratch) const {
  while (begin < end) {
    const int64_t number = TileOf(begin);
    uint32_t next = begin + 1;
    while (next < end && TileOf(next) == number) ++next;
    if (scratch->tiles.empty() || scratch->tiles.back().number != number) {
      CustomScratch::Tile tile{.number = number, .begin = begin, .end = begin, .state = nullptr};
      if (scratch->spare.empty()) {
        GNOMON_ASSIGN_OR_RETURN(tile.state, aggregate_->MakeState());
      } else {
        tile.state = std::move(scratch->spare.back());
        scratch->spare.pop_back();
        GNOMON_RETURN_NOT_OK(tile.state->Reset());
      }
      scratch->tiles.push_back(std::move(tile));
    }
    CustomScratch::Tile& tile = scratch->tiles.back();
    GNOMON_RETURN_NOT_OK(tile.state->Accumulate(*column_->input, begin, next));
    tile.end = next;
    begin = next;
  }
  return Status::OK();
}

/// The total of the rows that exist at `time`, by the same rule, from the beginning: rows come and
/// go with their created times. REQUIRES: row `begin` exists.
Status CustomWindows::Replay(uint32_t begin, uint32_t end, int64_t time,
                             CustomScratch* scratch) const {
  CustomState* const total = scratch->total.get();
  GNOMON_RETURN_NOT_OK(total->Reset());
  if (window_ && scratch->spare.empty()) {
    GNOMON_ASSIGN_OR_RETURN(scratch->spare.emplace_back(), aggregate_->MakeState());
  }
  CustomState* const part = window_ ? scratch->spare.back().get() : total;
  for (uint32_t row = begin; row < end;) {
    const int64_t number = window_ ? TileOf(row) : 0;
    if (window_) GNOMON_RETURN_NOT_OK(part->Reset());
    bool has_rows = false;
    for (; row < end && (!window_ || TileOf(row) == number); ++row) {
      if (!Exists(row, time)) continue;
      GNOMON_RETURN_NOT_OK(part->Accumulate(*column_->input, row, row + 1));
      has_rows = true;
    }
    if (window_ && has_rows) GNOMON_RETURN_NOT_OK(total->Merge(*part));
  }
  return Status::OK();
}

Status CustomWindows::Write(const CustomState& state, uint32_t label) {
  GNOMON_ASSIGN_OR_RETURN(const CustomValue value, state.Finish());
  WriteValue(value, label);
  return Status::OK();
}

void CustomWindows::WriteValue(const CustomValue& value, uint32_t label) {
  valid_[label] = value.is_valid ? 1 : 0;
  if (!value.is_valid) return;
  if (IsText(*type_)) {
    texts_[label] = value.text;
  } else if (IsReal(*type_)) {
    reals_[label] = value.real;
  } else {
    integers_[label] = value.integer;
  }
}

Result<std::shared_ptr<arrow::Array>> CustomWindows::Collect() const {
  const auto count = static_cast<int64_t>(valid_.size());
  switch (type_->id()) {
    case arrow::Type::STRING: {
      arrow::StringBuilder builder;
      GNOMON_RETURN_NOT_OK(builder.AppendValues(texts_, valid_.data()));
      return builder.Finish();
    }
    case arrow::Type::DOUBLE: {
      arrow::DoubleBuilder builder;
      GNOMON_RETURN_NOT_OK(builder.AppendValues(reals_.data(), count, valid_.data()));
      return builder.Finish();
    }
    case arrow::Type::BOOL: {
      std::vector<uint8_t> bytes;
      for (const int64_t value : integers_) bytes.push_back(value != 0 ? 1 : 0);
      arrow::BooleanBuilder builder;
      GNOMON_RETURN_NOT_OK(builder.AppendValues(bytes.data(), count, valid_.data()));
      return builder.Finish();
    }
    default: {
      arrow::Int64Builder builder;
      GNOMON_RETURN_NOT_OK(builder.AppendValues(integers_.data(), count, valid_.data()));
      return builder.Finish();
    }
  }
}

}  // namespace gnomon::pit
