#include <algorithm>
#include <iterator>
#include <utility>

#include <arrow/array.h>
#include <arrow/array/builder_base.h>
#include <arrow/array/builder_primitive.h>
#include <arrow/buffer.h>
#include <arrow/scalar.h>
#include <arrow/type.h>

#include "base/text.h"
#include "pit/digits_internal.h"
#include "pit/partial_state_internal.h"
#include "pit/quantile_internal.h"

namespace gnomon::pit::internal {
namespace {

std::vector<uint32_t> ValidRows(const ValueColumn& column, std::span<const uint32_t> rows) {
  std::vector<uint32_t> valid;
  valid.reserve(rows.size());
  std::ranges::copy_if(rows, std::back_inserter(valid),
                       [&](uint32_t row) { return column.IsValid(row); });
  return valid;
}

int64_t SizeOf(int64_t /*key*/) { return 16; }
int64_t SizeOf(const std::string& key) { return 12 + static_cast<int64_t>(key.size()); }

void AppendKey(int64_t key, std::string* bytes) { AppendNumber(key, bytes); }
void AppendKey(const std::string& key, std::string* bytes) {
  AppendNumber(static_cast<uint32_t>(key.size()), bytes);
  bytes->append(key);
}

bool ReadKey(ByteReader* bytes, int64_t* key) { return bytes->Read(key); }
bool ReadKey(ByteReader* bytes, std::string* key) {
  uint32_t length = 0;
  std::string_view text;
  if (!bytes->Read(&length) || !bytes->ReadText(length, &text)) return false;
  *key = text;
  return true;
}

/// The canonical value of a key, as a scalar of the builder's type.
Status AppendValueOf(KeyKind kind, int64_t key, arrow::ArrayBuilder* builder) {
  std::shared_ptr<arrow::Scalar> scalar;
  if (kind == KeyKind::kReal) {
    GNOMON_ASSIGN_OR_RETURN(scalar, arrow::MakeScalar(builder->type(), RealOfKey(key)));
  } else if (kind == KeyKind::kUnsigned) {
    const uint64_t value = static_cast<uint64_t>(key) ^ kHighestBit;
    GNOMON_ASSIGN_OR_RETURN(scalar, arrow::MakeScalar(builder->type(), value));
  } else {
    GNOMON_ASSIGN_OR_RETURN(scalar, arrow::MakeScalar(builder->type(), key));
  }
  return builder->AppendScalar(*scalar);
}
Status AppendValueOf(KeyKind /*kind*/, const std::string& key, arrow::ArrayBuilder* builder) {
  GNOMON_ASSIGN_OR_RETURN(const auto scalar,
                          arrow::MakeScalar(builder->type(), arrow::Buffer::FromString(key)));
  return builder->AppendScalar(*scalar);
}

/// How often each value occurs, in the order of the values.
template <typename Key>
class ValueCounts final : public StoredState {
 public:
  ValueCounts(KeyKind keys, int64_t max_bytes)
      : StoredState(PartialKind::kValueCounts, static_cast<uint8_t>(keys)),
        kind_(keys),
        max_bytes_(max_bytes) {}

  Status Add(const std::shared_ptr<arrow::Array>& values, std::span<const uint32_t> rows) override {
    std::vector<Entry> added;
    if constexpr (std::is_same_v<Key, int64_t>) {
      for (const int64_t key : KeysOf(values, rows)) added.emplace_back(key, 1);
    } else {
      for (const std::string_view key : StringsOf(values, rows)) added.emplace_back(key, 1);
    }
    std::ranges::sort(added);
    return MergeSorted(added);
  }
  Status Merge(const PartialState& other) override {
    return MergeSorted(static_cast<const ValueCounts&>(other).entries_);
  }

  Status AppendValue(const AggregateSpec& spec, arrow::ArrayBuilder* builder) const override {
    if (spec.function == AggregateFunction::kCountDistinct) {
      return static_cast<arrow::Int64Builder*>(builder)->Append(
          static_cast<int64_t>(entries_.size()));
    }
    if (entries_.empty()) return builder->AppendNull();
    if (spec.function == AggregateFunction::kMostFrequent)
      return AppendValueOf(kind_, std::ranges::max_element(entries_, {}, &Entry::second)->first,
                           builder);
    if constexpr (std::is_same_v<Key, int64_t>) {
      const double quantile = spec.function == AggregateFunction::kMedian ? 0.5 : spec.quantile;
      return static_cast<arrow::DoubleBuilder*>(builder)->Append(Quantile(quantile));
    }
    return Error(ErrorKind::kInternal, NameOf(spec.function), " of strings");
  }

  bool DecodeState(ByteReader* bytes) override {
    uint64_t size = 0;
    if (!bytes->Read(&size) || size > bytes->remaining()) return false;
    int64_t total = 0;
    for (uint64_t i = 0; i < size; ++i) {
      Entry entry;
      if (!ReadKey(bytes, &entry.first) || !bytes->Read(&entry.second)) return false;
      if (entry.second <= 0 || entry.second >= kMaxStoredCount - total) return false;
      if (!entries_.empty() && !(entries_.back().first < entry.first)) return false;
      total += entry.second;
      entries_.push_back(std::move(entry));
    }
    return true;
  }

 private:
  using Entry = std::pair<Key, int64_t>;

  void EncodeState(std::string* bytes) const override {
    AppendNumber(static_cast<uint64_t>(entries_.size()), bytes);
    for (const auto& [key, count] : entries_) {
      AppendKey(key, bytes);
      AppendNumber(count, bytes);
    }
  }

  /// `added` ascends and may have equal keys.
  Status MergeSorted(const std::vector<Entry>& added) {
    std::vector<Entry> both;
    both.reserve(entries_.size() + added.size());
    std::ranges::merge(entries_, added, std::back_inserter(both), {}, &Entry::first, &Entry::first);
    entries_.clear();
    int64_t size = 0;
    for (Entry& entry : both) {
      if (!entries_.empty() && entries_.back().first == entry.first) {
        entries_.back().second += entry.second;
        continue;
      }
      size += SizeOf(entry.first);
      entries_.push_back(std::move(entry));
    }
    if (size <= max_bytes_) return Status::OK();
    return Error(ErrorKind::kExhausted, "the counted values of a lifetime window take ", size,
                 " bytes, allowed are ", max_bytes_, ": ", entries_.size(), " distinct values");
  }

  double Quantile(double quantile) const
    requires std::is_same_v<Key, int64_t>
  {
    std::vector<int64_t> ends;
    ends.reserve(entries_.size());
    for (const auto& [key, count] : entries_)
      ends.push_back(count + (ends.empty() ? 0 : ends.back()));
    return InterpolateQuantile(quantile, ends.back() - 1, [&](int64_t place) {
      const auto at = std::ranges::upper_bound(ends, place) - ends.begin();
      return NumberOfKey(kind_, entries_[static_cast<size_t>(at)].first);
    });
  }

  const KeyKind kind_;
  const int64_t max_bytes_;
  std::vector<Entry> entries_;
};

}  // namespace

std::vector<int64_t> KeysOf(const std::shared_ptr<arrow::Array>& values,
                            std::span<const uint32_t> rows) {
  const ValueColumn column(values);
  std::vector<int64_t> keys;
  column.AppendKeys(ValidRows(column, rows), &keys);
  return keys;
}

std::vector<std::string_view> StringsOf(const std::shared_ptr<arrow::Array>& values,
                                        std::span<const uint32_t> rows) {
  const ValueColumn column(values);
  std::vector<std::string_view> strings;
  column.AppendStrings(ValidRows(column, rows), &strings);
  return strings;
}

std::unique_ptr<StoredState> MakeValueCounts(KeyKind keys, int64_t max_bytes) {
  if (keys == KeyKind::kString) return std::make_unique<ValueCounts<std::string>>(keys, max_bytes);
  return std::make_unique<ValueCounts<int64_t>>(keys, max_bytes);
}

}  // namespace gnomon::pit::internal
