#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <utility>

#include <arrow/type.h>

#include "pit/bytes_internal.h"
#include "pit/event_tiles.h"
#include "pit/event_tiles_internal.h"
#include "pit/exact_sum.h"
#include "pit/exact_variance.h"
#include "pit/quantile_internal.h"
#include "pit/value_order_internal.h"

namespace gnomon::pit {
namespace {

Status Damaged() { return Error(ErrorKind::kDataLoss, "stored tiles of events are damaged"); }

/// Bytes of a stored value, 0 for texts.
size_t WidthOf(const arrow::DataType& type) {
  if (type.id() == arrow::Type::BOOL) return 1;
  return arrow::is_fixed_width(type.id()) ? static_cast<size_t>(type.byte_width()) : 0;
}

void Clear(ExactSum* sum) { sum->Clear(); }
void Clear(ExactVariance* sums) { sums->Clear(); }
void Clear(Int128* total) { *total = 0; }
void Clear(std::optional<int64_t>* event) { event->reset(); }

/// What a state holds: the events [begin, end); end below 0: none of any range yet.
template <typename State>
struct Held {
  State state = {};
  int64_t begin = 0;
  int64_t end = -1;
};

}  // namespace

struct TileReader::Impl {
  Impl(StoredValues stored, const TileBorders& borders)
      : values(std::move(stored)),
        tiles(borders),
        kind(KeyKindOf(*values.type)),
        width(WidthOf(*values.type)),
        any_null(std::ranges::any_of(values.nulls, [](char bits) { return bits != 0; })) {}

  std::string_view part(TilePart which) const { return parts[static_cast<size_t>(which)]; }

  bool IsNull(int64_t event) const {
    return any_null && (values.nulls[static_cast<size_t>(event / 8)] >> (event % 8) & 1) != 0;
  }
  int64_t CountValid(int64_t begin, int64_t end) const;
  std::optional<int64_t> FirstValid(int64_t begin, int64_t end) const;
  std::optional<int64_t> LastValid(int64_t begin, int64_t end) const;
  int64_t KeyAt(int64_t event) const;
  Result<std::string_view> TextAt(int64_t event) const;
  Result<std::string_view> StateAt(TilePart which, int64_t tile) const;

  template <typename State, typename AddEvent, typename AddTile>
  Status Widen(int64_t begin, int64_t end, Held<State>* held, const AddEvent& add_event,
               const AddTile& add_tile) const;
  Status SumReals(int64_t begin, int64_t end);
  Status SumWholes(int64_t begin, int64_t end);
  Status Sum(const AggregateSpec& spec, int64_t begin, int64_t end, TileValue* value);
  Status Spread(const AggregateSpec& spec, int64_t begin, int64_t end, TileValue* value);
  Status Extreme(bool is_min, int64_t begin, int64_t end, TileValue* value);
  Result<bool> IsBefore(bool is_min, int64_t a, int64_t b) const;
  Status FromOrder(const AggregateSpec& spec, int64_t begin, int64_t end, TileValue* value);
  void LastK(int64_t k, int64_t begin, int64_t end, TileValue* value) const;
  void SetComparable(int64_t event, TileValue* value) const;

  const StoredValues values;
  const TileBorders& tiles;
  const KeyKind kind;
  const size_t width;
  const bool any_null;
  std::array<std::string_view, kNumTileParts> parts;
  bool all_distinct = false;        ///< in kOrder
  std::optional<ValueOrder> order;  ///< kOrder
  Held<ExactSum> reals;
  Held<Int128> wholes;
  Held<ExactVariance> moments;
  Held<std::optional<int64_t>> minimum;
  Held<std::optional<int64_t>> maximum;
};

int64_t TileReader::Impl::CountValid(int64_t begin, int64_t end) const {
  if (!any_null) return end - begin;
  int64_t nulls = 0;
  int64_t event = begin;
  for (; event < end && event % 8 != 0; ++event) nulls += IsNull(event) ? 1 : 0;
  for (; event + 64 <= end; event += 64)
    nulls += std::popcount(Load<uint64_t>(values.nulls.data() + event / 8));
  for (; event < end; ++event) nulls += IsNull(event) ? 1 : 0;
  return end - begin - nulls;
}

std::optional<int64_t> TileReader::Impl::FirstValid(int64_t begin, int64_t end) const {
  while (begin < end && IsNull(begin)) ++begin;
  return begin < end ? std::optional(begin) : std::nullopt;
}

std::optional<int64_t> TileReader::Impl::LastValid(int64_t begin, int64_t end) const {
  while (begin < end && IsNull(end - 1)) --end;
  return begin < end ? std::optional(end - 1) : std::nullopt;
}

int64_t TileReader::Impl::KeyAt(int64_t event) const {
  const char* at = values.values.data() + static_cast<size_t>(event) * width;
  switch (values.type->id()) {
    case arrow::Type::BOOL:
      return *at != 0 ? 1 : 0;
    case arrow::Type::INT8:
      return Load<int8_t>(at);
    case arrow::Type::UINT8:
      return Load<uint8_t>(at);
    case arrow::Type::INT16:
      return Load<int16_t>(at);
    case arrow::Type::UINT16:
      return Load<uint16_t>(at);
    case arrow::Type::UINT32:
      return Load<uint32_t>(at);
    case arrow::Type::UINT64:
      return static_cast<int64_t>(Load<uint64_t>(at) ^ kHighestBit);
    case arrow::Type::FLOAT:
      return KeyOfReal(static_cast<double>(Load<float>(at)));
    case arrow::Type::DOUBLE:
      return KeyOfReal(Load<double>(at));
    default:
      return width == sizeof(int32_t) ? Load<int32_t>(at) : Load<int64_t>(at);
  }
}

Result<std::string_view> TileReader::Impl::TextAt(int64_t event) const {
  const int64_t tile = tiles.TileOf(event);
  const size_t at = static_cast<size_t>(tile) * sizeof(uint32_t);
  size_t place = Load<uint32_t>(part(TilePart::kPlaces).data() + at);
  for (int64_t next = tiles.begin(tile);; ++next) {
    if (place > values.values.size() || values.values.size() - place < sizeof(uint32_t))
      return Damaged();
    const size_t length = Load<uint32_t>(values.values.data() + place);
    place += sizeof(uint32_t);
    if (values.values.size() - place < length) return Damaged();
    if (next == event) return values.values.substr(place, length);
    place += length;
  }
}

/// AddPart has seen that there are ends for all tiles.
Result<std::string_view> TileReader::Impl::StateAt(TilePart which, int64_t tile) const {
  const std::string_view bytes = part(which);
  const auto end_at = [&](int64_t i) -> size_t {
    return i < 0 ? 0 : Load<uint32_t>(bytes.data() + static_cast<size_t>(i) * sizeof(uint32_t));
  };
  const size_t begin = end_at(tile - 1);
  const size_t end = end_at(tile);
  const std::string_view states =
      bytes.substr(static_cast<size_t>(tiles.num_tiles()) * sizeof(uint32_t));
  if (begin > end || end > states.size()) return Damaged();
  return states.substr(begin, end - begin);
}

/// Goes on from what the state holds when that ends where the range does.
template <typename State, typename AddEvent, typename AddTile>
Status TileReader::Impl::Widen(int64_t begin, int64_t end, Held<State>* held,
                               const AddEvent& add_event, const AddTile& add_tile) const {
  if (held->end != end || held->begin < begin) {
    if (held->end >= 0) Clear(&held->state);
    held->begin = held->end = end;
  }
  if (held->begin <= begin) return Status::OK();
  for (int64_t tile = tiles.TileOf(held->begin - 1); held->begin > begin; --tile) {
    const int64_t first = tiles.begin(tile);
    if (held->begin == tiles.end(tile) && first >= begin) {
      GNOMON_RETURN_NOT_OK(add_tile(tile));
      held->begin = first;
      continue;
    }
    for (const int64_t from = std::max(begin, first); held->begin > from;) {
      if (!IsNull(--held->begin)) GNOMON_RETURN_NOT_OK(add_event(held->begin));
    }
  }
  return Status::OK();
}

Status TileReader::Impl::SumReals(int64_t begin, int64_t end) {
  const auto add_event = [&](int64_t event) {
    reals.state.Add(RealOfKey(KeyAt(event)));
    return Status::OK();
  };
  return Widen(begin, end, &reals, add_event, [&](int64_t tile) -> Status {
    GNOMON_ASSIGN_OR_RETURN(const std::string_view bytes, StateAt(TilePart::kSums, tile));
    ByteReader reader(bytes);
    return reals.state.AddRead(&reader) && reader.remaining() == 0 ? Status::OK() : Damaged();
  });
}

Status TileReader::Impl::SumWholes(int64_t begin, int64_t end) {
  const auto add_event = [&](int64_t event) {
    wholes.state += WholeOfKey(kind, KeyAt(event));
    return Status::OK();
  };
  return Widen(begin, end, &wholes, add_event, [&](int64_t tile) -> Status {
    GNOMON_ASSIGN_OR_RETURN(const std::string_view bytes, StateAt(TilePart::kSums, tile));
    if (bytes.size() != sizeof(Int128)) return Damaged();
    const auto total = Load<Int128>(bytes.data());
    constexpr Int128 kBound = static_cast<Int128>(kTileEvents) << 64;
    if (total < -kBound || total > kBound) return Damaged();
    wholes.state += total;
    return Status::OK();
  });
}

Status TileReader::Impl::Sum(const AggregateSpec& spec, int64_t begin, int64_t end,
                             TileValue* value) {
  const int64_t count = CountValid(begin, end);
  if (count == 0) return Status::OK();
  const bool mean = spec.function == AggregateFunction::kMean;
  if (kind == KeyKind::kReal) {
    GNOMON_RETURN_NOT_OK(SumReals(begin, end));
    const double sum = reals.state.Round();
    value->real = mean ? sum / static_cast<double>(count) : sum;
    return Status::OK();
  }
  GNOMON_RETURN_NOT_OK(SumWholes(begin, end));
  if (mean) {
    value->real = static_cast<double>(wholes.state) / static_cast<double>(count);
    return Status::OK();
  }
  value->integer = static_cast<int64_t>(wholes.state);
  if (*value->integer == wholes.state) return Status::OK();
  return WithHint(
      Error(ErrorKind::kUser, "sum of integers beyond 64 bits: value column ", spec.column),
      "use mean, or cast the column to double");
}

Status TileReader::Impl::Spread(const AggregateSpec& spec, int64_t begin, int64_t end,
                                TileValue* value) {
  const int64_t count = CountValid(begin, end);
  if (count <= spec.ddof) return Status::OK();
  const auto add_event = [&](int64_t event) {
    // The key of an unsigned value is the value less 2^63: variance does not see the shift.
    if (kind == KeyKind::kReal) {
      moments.state.Add(RealOfKey(KeyAt(event)));
    } else {
      moments.state.AddInteger(KeyAt(event));
    }
    return Status::OK();
  };
  GNOMON_RETURN_NOT_OK(Widen(begin, end, &moments, add_event, [&](int64_t tile) -> Status {
    GNOMON_ASSIGN_OR_RETURN(const std::string_view bytes, StateAt(TilePart::kMoments, tile));
    ByteReader reader(bytes);
    return moments.state.AddRead(&reader) && reader.remaining() == 0 ? Status::OK() : Damaged();
  }));
  if (moments.state.count() != count || !moments.state.HasRealVariance()) return Damaged();
  value->real = spec.function == AggregateFunction::kStd
                    ? moments.state.StandardDeviation(spec.ddof)
                    : moments.state.Variance(spec.ddof);
  return Status::OK();
}

Result<bool> TileReader::Impl::IsBefore(bool is_min, int64_t a, int64_t b) const {
  if (kind != KeyKind::kString) return KeyBefore{kind, is_min}(KeyAt(a), KeyAt(b));
  GNOMON_ASSIGN_OR_RETURN(const std::string_view text, TextAt(a));
  GNOMON_ASSIGN_OR_RETURN(const std::string_view other, TextAt(b));
  return StringBefore{is_min}(text, other);
}

Status TileReader::Impl::Extreme(bool is_min, int64_t begin, int64_t end, TileValue* value) {
  auto& held = is_min ? minimum : maximum;
  const std::string_view places = part(is_min ? TilePart::kMinima : TilePart::kMaxima);
  const auto add_event = [&](int64_t event) -> Status {
    bool better = !held.state.has_value();
    if (!better) {
      GNOMON_ASSIGN_OR_RETURN(better, IsBefore(is_min, event, *held.state));
    }
    if (better) held.state = event;
    return Status::OK();
  };
  GNOMON_RETURN_NOT_OK(Widen(begin, end, &held, add_event, [&](int64_t tile) -> Status {
    const auto place = static_cast<uint8_t>(places[static_cast<size_t>(tile)]);
    if (place == kNoPlace) return Status::OK();
    const int64_t event = tiles.begin(tile) + place;
    if (event >= tiles.end(tile) || IsNull(event)) return Damaged();
    return add_event(event);
  }));
  if (held.state.has_value()) SetComparable(*held.state, value);
  return Status::OK();
}

Status TileReader::Impl::FromOrder(const AggregateSpec& spec, int64_t begin, int64_t end,
                                   TileValue* value) {
  const int64_t count = CountValid(begin, end);
  if (spec.function == AggregateFunction::kCountDistinct && all_distinct) {
    value->integer = count;
    return Status::OK();
  }
  order->Select(begin, end);
  if (spec.function == AggregateFunction::kCountDistinct) {
    value->integer = order->CountDistinct();
    return Status::OK();
  }
  if (count == 0) return Status::OK();
  if (spec.function == AggregateFunction::kMostFrequent) {
    const auto event = all_distinct ? order->Kth(0) : order->MostFrequent();
    if (!event || IsNull(*event)) return Damaged();
    SetComparable(*event, value);
    return Status::OK();
  }
  bool damaged = false;
  const auto number = [&](int64_t k) {
    const auto event = k == count - 1 ? order->Last() : order->Kth(k);
    damaged = damaged || !event;
    return event ? NumberOfKey(kind, KeyAt(*event)) : 0.0;
  };
  const double quantile = spec.function == AggregateFunction::kMedian ? 0.5 : spec.quantile;
  value->real = InterpolateQuantile(quantile, count - 1, number);
  return damaged ? Damaged() : Status::OK();
}

void TileReader::Impl::LastK(int64_t k, int64_t begin, int64_t end, TileValue* value) const {
  for (int64_t event = end; event > begin && k > 0; --event) {
    if (IsNull(event - 1)) continue;
    value->events.push_back(event - 1);
    --k;
  }
}

/// The value of an event, all zeros +0.0 and all NaN the same.
void TileReader::Impl::SetComparable(int64_t event, TileValue* value) const {
  if (kind != KeyKind::kReal) {
    value->events = {event};
    return;
  }
  const int64_t key = KeyAt(event);
  value->real = key == kNanKey ? std::numeric_limits<double>::quiet_NaN() : RealOfKey(key);
}

TileReader::TileReader(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
TileReader::TileReader(TileReader&&) noexcept = default;
TileReader& TileReader::operator=(TileReader&&) noexcept = default;
TileReader::~TileReader() = default;

Result<TileReader> TileReader::Make(StoredValues values, const TileBorders& tiles) {
  const auto length = static_cast<size_t>(values.length);
  if (values.length != tiles.num_events() || values.nulls.size() < (length + 7) / 8 ||
      values.values.size() / std::max<size_t>(1, WidthOf(*values.type)) < length) {
    return Damaged();
  }
  return TileReader(std::make_unique<Impl>(std::move(values), tiles));
}

Status TileReader::AddPart(TilePart part, std::string_view bytes) {
  Impl& impl = *impl_;
  const auto tiles = static_cast<size_t>(impl.tiles.num_tiles());
  bool fits = false;
  switch (part) {
    case TilePart::kSums:
    case TilePart::kMoments:
      fits = bytes.size() / sizeof(uint32_t) >= tiles;
      break;
    case TilePart::kMinima:
    case TilePart::kMaxima:
      fits = bytes.size() == tiles;
      break;
    case TilePart::kPlaces:
      fits = bytes.size() == tiles * sizeof(uint32_t);
      break;
    case TilePart::kOrder: {
      const bool wide = IsWideOrder(impl.values.length);
      const size_t entry = wide ? sizeof(uint32_t) : sizeof(uint16_t);
      const auto count = static_cast<size_t>(impl.CountValid(0, impl.values.length));
      fits = bytes.size() == sizeof(uint32_t) + count * entry;
      if (!fits) break;
      impl.all_distinct = Load<uint32_t>(bytes.data()) == count;
      impl.order.emplace(bytes.substr(sizeof(uint32_t)), wide);
      break;
    }
  }
  if (!fits) return Damaged();
  impl.parts[static_cast<size_t>(part)] = bytes;
  return Status::OK();
}

Result<TileValue> TileReader::Evaluate(const AggregateSpec& spec, int64_t begin, int64_t end) {
  Impl& impl = *impl_;
  TileValue value;
  switch (spec.function) {
    case AggregateFunction::kCount:
      value.integer = impl.CountValid(begin, end);
      break;
    case AggregateFunction::kSum:
    case AggregateFunction::kMean:
      GNOMON_RETURN_NOT_OK(impl.Sum(spec, begin, end, &value));
      break;
    case AggregateFunction::kStd:
    case AggregateFunction::kVar:
      GNOMON_RETURN_NOT_OK(impl.Spread(spec, begin, end, &value));
      break;
    case AggregateFunction::kMin:
    case AggregateFunction::kMax:
      GNOMON_RETURN_NOT_OK(
          impl.Extreme(spec.function == AggregateFunction::kMin, begin, end, &value));
      break;
    case AggregateFunction::kCountDistinct:
    case AggregateFunction::kMedian:
    case AggregateFunction::kQuantile:
    case AggregateFunction::kMostFrequent:
      GNOMON_RETURN_NOT_OK(impl.FromOrder(spec, begin, end, &value));
      break;
    case AggregateFunction::kFirst:
      if (const auto event = impl.FirstValid(begin, end)) value.events = {*event};
      break;
    case AggregateFunction::kLast:
      if (const auto event = impl.LastValid(begin, end)) value.events = {*event};
      break;
    case AggregateFunction::kLastK:
      impl.LastK(spec.k, begin, end, &value);
      break;
    case AggregateFunction::kCustom:
      return Error(ErrorKind::kInternal, "no tiles for a custom aggregate");
  }
  return value;
}

Result<std::string_view> TileReader::BytesOf(int64_t event) const {
  const Impl& impl = *impl_;
  if (impl.width == 0) return impl.TextAt(event);
  return impl.values.values.substr(static_cast<size_t>(event) * impl.width, impl.width);
}

}  // namespace gnomon::pit
