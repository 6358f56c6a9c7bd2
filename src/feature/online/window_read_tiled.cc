#include <algorithm>
#include <cstring>
#include <utility>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/type.h>

#include "base/text.h"
#include "feature/online/window_read_tiled_internal.h"

namespace gnomon::feature::internal {
namespace {

int64_t Int64At(const table::PackedList& list, int64_t place) {
  int64_t value = 0;
  std::memcpy(&value, list.values.data() + place * int64_t{sizeof(value)}, sizeof(value));
  return value;
}

bool HasInt64s(const table::PackedList& list) {
  return list.values.size() / sizeof(int64_t) >= static_cast<size_t>(list.count);
}

/// How many of the times, which ascend, are at or before one.
int64_t CountUntil(const table::PackedList& times, int64_t time) {
  int64_t begin = 0;
  int64_t end = times.count;
  while (begin < end) {
    const int64_t middle = begin + (end - begin) / 2;
    if (Int64At(times, middle) <= time) {
      begin = middle + 1;
    } else {
      end = middle;
    }
  }
  return begin;
}

/// Takes the first text off the bytes of a list of them.
std::optional<std::string_view> TakeText(std::string_view* bytes) {
  uint32_t length = 0;
  if (bytes->size() < sizeof(length)) return std::nullopt;
  std::memcpy(&length, bytes->data(), sizeof(length));
  if (bytes->size() - sizeof(length) < length) return std::nullopt;
  const std::string_view text = bytes->substr(sizeof(length), length);
  bytes->remove_prefix(sizeof(length) + length);
  return text;
}

/// What FoldedRows::At says; absent when it is damaged.
std::optional<Folded> FoldedOf(const table::PackedList& list, int64_t num_events) {
  if (list.count != 4 || !HasInt64s(list)) return std::nullopt;
  const Folded folded{.kept = Int64At(list, 0),
                      .oldest = Int64At(list, 1),
                      .newest = Int64At(list, 2),
                      .newest_created = Int64At(list, 3)};
  if (folded.kept < 0 || folded.kept > num_events || folded.oldest > folded.newest)
    return std::nullopt;
  return folded;
}

}  // namespace

TiledRows::TiledRows(const WindowReader& reader, int64_t as_of) : reader_(reader), as_of_(as_of) {}

TiledRows::TiledRows(TiledRows&&) noexcept = default;
TiledRows::~TiledRows() = default;

bool TiledRows::Take(size_t row, const table::RowCodec& codec, std::span<const int> places,
                     std::string_view bytes) {
  if (row < next_) {  // the store reads again
    builders_.clear();
    taken_ = {};
    failed_ = Status::OK();
    next_ = 0;
  }
  constexpr size_t kTimes = kFewestTiledEvents * sizeof(int64_t);
  if (reader_.tiled_order_.empty() || bytes.size() < kTimes) return false;
  lists_.resize(places.size());
  // Damaged bytes are told by whoever decodes them.
  if (!codec.FindLists(bytes, places, lists_).ok()) return false;
  const auto taken = TakeRow(row);
  if (!taken.ok()) {
    if (failed_.ok()) failed_ = taken.status();
    return true;
  }
  return *taken && reader_.tiled_order_.size() == reader_.specs_.size();
}

Result<bool> TiledRows::TakeRow(size_t row) {
  if (!lists_.front() || lists_.front()->count < kFewestTiledEvents || !HasInt64s(*lists_.front()))
    return false;
  const table::PackedList& times = *lists_.front();
  GNOMON_ASSIGN_OR_RETURN(const bool opened, OpenColumns(times.count));
  if (!opened) return false;
  std::optional<Folded> folded;
  if (reader_.folds_ && lists_[reader_.num_columns_ + 1]) {
    folded = FoldedOf(*lists_[reader_.num_columns_ + 1], times.count);
    if (!folded) return false;
    GNOMON_RETURN_NOT_OK(reader_.CheckTime(*folded, as_of_));
  }
  GNOMON_RETURN_NOT_OK(PadTo(row));
  const int64_t end = CountUntil(times, as_of_);
  GNOMON_RETURN_NOT_OK(AppendValues(times, end));
  std::optional<int64_t> newest;
  if (end > 0) newest = Int64At(times, end - 1);
  if (folded && as_of_ >= folded->newest)
    newest = std::max(newest.value_or(folded->newest), folded->newest);
  taken_.rows.push_back(true);
  taken_.found.push_back(newest.has_value());
  taken_.event_times.push_back(newest.value_or(0));
  ++taken_.count;
  next_ = row + 1;
  return true;
}

/// Finds where the row's tiles end, and takes that off its parts; false when it is damaged.
bool TiledRows::OpenBorders(int64_t num_events, std::string_view* parts) {
  std::string_view rest = *parts;
  const auto name = TakeText(&rest);
  const auto lengths = TakeText(&rest);
  has_lengths_ = name == kTileLengths && lengths;
  if (!has_lengths_) {
    borders_ = pit::TileBorders::OfCounts(num_events);
    return true;
  }
  *parts = rest;
  auto borders = pit::TileBorders::OfLengths(*lengths, num_events);
  if (borders) borders_ = *std::move(borders);
  return borders.has_value();
}

/// Makes readers of the row's columns with all parts; false when one is missing.
Result<bool> TiledRows::OpenColumns(int64_t num_events) {
  std::string_view rest;
  if (lists_.back()) rest = lists_.back()->values;
  if (!OpenBorders(num_events, &rest)) return false;
  columns_.clear();
  columns_.resize(reader_.num_columns_);
  for (const size_t i : reader_.tiled_order_) {
    const auto column = static_cast<size_t>(reader_.specs_[i].column);
    if (columns_[column]) continue;
    const auto& list = lists_[column + 1];
    if (!list || list->count != num_events) return false;
    GNOMON_ASSIGN_OR_RETURN(columns_[column],
                            pit::TileReader::Make({.type = reader_.column_types_[column],
                                                   .length = list->count,
                                                   .nulls = list->nulls,
                                                   .values = list->values},
                                                  borders_));
  }
  size_t missing = reader_.tile_parts_.size();
  const auto stored_name =
      has_lengths_ ? &WindowReader::TiledPart::interval_name : &WindowReader::TiledPart::name;
  while (missing > 0) {
    const auto name = TakeText(&rest);
    const auto bytes = name ? TakeText(&rest) : std::nullopt;
    if (!bytes) return false;
    const auto part = std::ranges::find(reader_.tile_parts_, *name, stored_name);
    if (part == reader_.tile_parts_.end()) continue;
    GNOMON_RETURN_NOT_OK(columns_[part->column]->AddPart(part->part, *bytes));
    --missing;
  }
  return true;
}

Status TiledRows::AppendValues(const table::PackedList& times, int64_t end) {
  for (const size_t i : reader_.tiled_order_) {
    const pit::AggregateSpec& spec = reader_.specs_[i];
    int64_t before = 0;
    int64_t begin = 0;
    if (spec.window && !__builtin_sub_overflow(as_of_, *spec.window, &before))
      begin = CountUntil(times, before);
    pit::TileReader& column = *columns_[static_cast<size_t>(spec.column)];
    GNOMON_ASSIGN_OR_RETURN(const pit::TileValue value, column.Evaluate(spec, begin, end));
    GNOMON_RETURN_NOT_OK(AppendValue(i, value));
  }
  return Status::OK();
}

Status TiledRows::AppendValue(size_t feature, const pit::TileValue& value) {
  arrow::ArrayBuilder* const builder = builders_[feature].get();
  if (value.integer) return static_cast<arrow::Int64Builder*>(builder)->Append(*value.integer);
  if (value.real) {
    if (builder->type()->id() == arrow::Type::FLOAT)
      return static_cast<arrow::FloatBuilder*>(builder)->Append(static_cast<float>(*value.real));
    return static_cast<arrow::DoubleBuilder*>(builder)->Append(*value.real);
  }
  if (value.events.empty()) return builder->AppendNull();
  const pit::AggregateSpec& spec = reader_.specs_[feature];
  const auto column = static_cast<size_t>(spec.column);
  arrow::ArrayBuilder* values = builder;
  if (spec.function == pit::AggregateFunction::kLastK) {
    auto* const lists = static_cast<arrow::ListBuilder*>(builder);
    GNOMON_RETURN_NOT_OK(lists->Append());
    values = lists->value_builder();
  }
  for (const int64_t event : value.events) {
    GNOMON_ASSIGN_OR_RETURN(const std::string_view bytes, columns_[column]->BytesOf(event));
    GNOMON_RETURN_NOT_OK(
        table::RowCodec::AppendValue(*reader_.column_types_[column], bytes, values));
  }
  return Status::OK();
}

/// Rows that are not taken get the value of an empty window: they may not be stored at all.
Status TiledRows::PadTo(size_t row) {
  if (builders_.empty()) {
    builders_.resize(reader_.specs_.size());
    for (const size_t i : reader_.tiled_order_) {
      GNOMON_ASSIGN_OR_RETURN(builders_[i], arrow::MakeBuilder(reader_.tiled_[i]));
    }
  }
  for (; next_ < row; ++next_) {
    taken_.rows.push_back(false);
    taken_.found.push_back(false);
    taken_.event_times.push_back(0);
    for (const size_t i : reader_.tiled_order_) {
      const auto function = reader_.specs_[i].function;
      const bool counts = function == pit::AggregateFunction::kCount ||
                          function == pit::AggregateFunction::kCountDistinct;
      pit::TileValue value;
      if (counts) value.integer = 0;
      GNOMON_RETURN_NOT_OK(AppendValue(i, value));
    }
  }
  return Status::OK();
}

Result<TakenRows> TiledRows::Finish(size_t num_rows) {
  if (!failed_.ok()) return WithContext(failed_, Concat("feature view ", Quoted(reader_.view_)));
  if (taken_.count == 0) return TakenRows{};
  GNOMON_RETURN_NOT_OK(PadTo(num_rows));
  taken_.columns.resize(reader_.specs_.size());
  for (const size_t i : reader_.tiled_order_) {
    GNOMON_ASSIGN_OR_RETURN(taken_.columns[i], builders_[i]->Finish());
  }
  return std::move(taken_);
}

}  // namespace gnomon::feature::internal
