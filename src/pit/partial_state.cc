#include "pit/partial_state.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <utility>

#include <arrow/array.h>
#include <arrow/array/builder_base.h>
#include <arrow/array/builder_primitive.h>
#include <arrow/type.h>

#include "base/text.h"
#include "pit/bytes_internal.h"
#include "pit/digits_internal.h"
#include "pit/exact_sum.h"
#include "pit/exact_variance.h"
#include "pit/partial_state_internal.h"
#include "pit/value_column_internal.h"

namespace gnomon::pit {
namespace {

constexpr uint8_t kVersion = 1;

uint64_t ChecksumOf(std::string_view bytes) {
  uint64_t hash = 0xcbf29ce484222325U;
  for (const char byte : bytes) hash = (hash ^ static_cast<unsigned char>(byte)) * 0x100000001b3U;
  return hash;
}

Status AppendReal(double value, arrow::ArrayBuilder* builder) {
  return static_cast<arrow::DoubleBuilder*>(builder)->Append(value);
}

Status AppendInteger(int64_t value, arrow::ArrayBuilder* builder) {
  return static_cast<arrow::Int64Builder*>(builder)->Append(value);
}

bool ReadCount(ByteReader* bytes, int64_t* count) {
  return bytes->Read(count) && *count >= 0 && *count < kMaxStoredCount;
}

class Count final : public internal::StoredState {
 public:
  Count() : StoredState(PartialKind::kCount, 0) {}

  Status Add(const std::shared_ptr<arrow::Array>& values, std::span<const uint32_t> rows) override {
    count_ += std::ranges::count_if(rows, [&](uint32_t row) { return values->IsValid(row); });
    return Status::OK();
  }
  Status Merge(const PartialState& other) override {
    count_ += static_cast<const Count&>(other).count_;
    return Status::OK();
  }
  Status AppendValue(const AggregateSpec& /*spec*/, arrow::ArrayBuilder* builder) const override {
    return AppendInteger(count_, builder);
  }
  bool DecodeState(ByteReader* bytes) override { return ReadCount(bytes, &count_); }

 private:
  void EncodeState(std::string* bytes) const override { AppendNumber(count_, bytes); }

  int64_t count_ = 0;
};

class WholeSum final : public internal::StoredState {
 public:
  explicit WholeSum(KeyKind keys)
      : StoredState(PartialKind::kSum, static_cast<uint8_t>(keys)), keys_(keys) {}

  Status Add(const std::shared_ptr<arrow::Array>& values, std::span<const uint32_t> rows) override {
    for (const int64_t key : internal::KeysOf(values, rows)) {
      total_ += WholeOfKey(keys_, key);
      ++count_;
    }
    return Status::OK();
  }
  Status Merge(const PartialState& other) override {
    total_ += static_cast<const WholeSum&>(other).total_;
    count_ += static_cast<const WholeSum&>(other).count_;
    return Status::OK();
  }
  Status AppendValue(const AggregateSpec& spec, arrow::ArrayBuilder* builder) const override {
    if (count_ == 0) return builder->AppendNull();
    if (spec.function == AggregateFunction::kMean)
      return AppendReal(static_cast<double>(total_) / static_cast<double>(count_), builder);
    const auto value = static_cast<int64_t>(total_);
    if (value != total_) {
      return WithHint(
          Error(ErrorKind::kUser, "sum of integers beyond 64 bits: value column ", spec.column),
          "use mean, or cast the column to double");
    }
    return AppendInteger(value, builder);
  }
  bool DecodeState(ByteReader* bytes) override {
    if (!ReadCount(bytes, &count_) || !bytes->Read(&total_)) return false;
    const Int128 bound = static_cast<Int128>(count_) << 64;
    return total_ >= -bound && total_ <= bound;
  }

 private:
  void EncodeState(std::string* bytes) const override {
    AppendNumber(count_, bytes);
    AppendNumber(total_, bytes);
  }

  const KeyKind keys_;
  int64_t count_ = 0;
  Int128 total_ = 0;
};

class RealSum final : public internal::StoredState {
 public:
  RealSum() : StoredState(PartialKind::kSum, static_cast<uint8_t>(KeyKind::kReal)) {}

  Status Add(const std::shared_ptr<arrow::Array>& values, std::span<const uint32_t> rows) override {
    for (const int64_t key : internal::KeysOf(values, rows)) {
      total_.Add(RealOfKey(key));
      ++count_;
    }
    return Status::OK();
  }
  Status Merge(const PartialState& other) override {
    total_.Merge(static_cast<const RealSum&>(other).total_);
    count_ += static_cast<const RealSum&>(other).count_;
    return Status::OK();
  }
  Status AppendValue(const AggregateSpec& spec, arrow::ArrayBuilder* builder) const override {
    if (count_ == 0) return builder->AppendNull();
    const double sum = total_.Round();
    const bool mean = spec.function == AggregateFunction::kMean;
    return AppendReal(mean ? sum / static_cast<double>(count_) : sum, builder);
  }
  bool DecodeState(ByteReader* bytes) override {
    return ReadCount(bytes, &count_) && total_.Read(bytes);
  }

 private:
  void EncodeState(std::string* bytes) const override {
    AppendNumber(count_, bytes);
    total_.Append(bytes);
  }

  int64_t count_ = 0;
  ExactSum total_;
};

class Moments final : public internal::StoredState {
 public:
  explicit Moments(KeyKind keys)
      : StoredState(PartialKind::kMoments, static_cast<uint8_t>(keys)), keys_(keys) {}

  Status Add(const std::shared_ptr<arrow::Array>& values, std::span<const uint32_t> rows) override {
    for (const int64_t key : internal::KeysOf(values, rows)) {
      // The key of an unsigned value is the value less 2^63: variance does not see the shift.
      if (keys_ == KeyKind::kReal) {
        total_.Add(RealOfKey(key));
      } else {
        total_.AddInteger(key);
      }
    }
    return Status::OK();
  }
  Status Merge(const PartialState& other) override {
    total_.Merge(static_cast<const Moments&>(other).total_);
    return Status::OK();
  }
  Status AppendValue(const AggregateSpec& spec, arrow::ArrayBuilder* builder) const override {
    if (total_.count() <= spec.ddof) return builder->AppendNull();
    const bool root = spec.function == AggregateFunction::kStd;
    return AppendReal(root ? total_.StandardDeviation(spec.ddof) : total_.Variance(spec.ddof),
                      builder);
  }
  bool DecodeState(ByteReader* bytes) override { return total_.Read(bytes); }

 private:
  void EncodeState(std::string* bytes) const override { total_.Append(bytes); }

  const KeyKind keys_;
  ExactVariance total_;
};

Result<std::unique_ptr<internal::StoredState>> MakeStored(PartialKind kind,
                                                          const arrow::DataType& type,
                                                          int64_t max_bytes) {
  const KeyKind keys = KeyKindOf(type);
  const bool numeric = IsNumeric(type);
  if (kind == PartialKind::kCount) return std::make_unique<Count>();
  if (kind == PartialKind::kSum && numeric) {
    if (keys == KeyKind::kReal) return std::make_unique<RealSum>();
    return std::make_unique<WholeSum>(keys);
  }
  if (kind == PartialKind::kMoments && numeric) return std::make_unique<Moments>(keys);
  if (kind == PartialKind::kValueCounts && keys != KeyKind::kNone)
    return internal::MakeValueCounts(keys, max_bytes);
  return Error(ErrorKind::kInternal, "no partial state of this kind and type: ", NameOf(kind),
               " of ", type.ToString());
}

/// The position among `rows` that wins: of equals the last.
template <typename Value>
uint32_t Extreme(const std::vector<Value>& values, bool is_min) {
  uint32_t best = 0;
  for (uint32_t i = 1; i < values.size(); ++i) {
    if (is_min ? !(values[best] < values[i]) : !(values[i] < values[best])) best = i;
  }
  return best;
}

}  // namespace

PartialKind PartialKindOf(AggregateFunction function) {
  switch (function) {
    case AggregateFunction::kCount:
      return PartialKind::kCount;
    case AggregateFunction::kSum:
    case AggregateFunction::kMean:
      return PartialKind::kSum;
    case AggregateFunction::kStd:
    case AggregateFunction::kVar:
      return PartialKind::kMoments;
    case AggregateFunction::kCountDistinct:
    case AggregateFunction::kMedian:
    case AggregateFunction::kQuantile:
    case AggregateFunction::kMostFrequent:
      return PartialKind::kValueCounts;
    case AggregateFunction::kMin:
      return PartialKind::kMinRow;
    case AggregateFunction::kMax:
      return PartialKind::kMaxRow;
    case AggregateFunction::kFirst:
      return PartialKind::kFirstRow;
    case AggregateFunction::kLast:
    case AggregateFunction::kLastK:
      return PartialKind::kLastRows;
    case AggregateFunction::kCustom:
      break;
  }
  return PartialKind::kNone;
}

const char* NameOf(PartialKind kind) {
  switch (kind) {
    case PartialKind::kCount:
      return "count";
    case PartialKind::kSum:
      return "sum";
    case PartialKind::kMoments:
      return "moments";
    case PartialKind::kValueCounts:
      return "value_counts";
    case PartialKind::kMinRow:
      return "min_row";
    case PartialKind::kMaxRow:
      return "max_row";
    case PartialKind::kFirstRow:
      return "first_row";
    case PartialKind::kLastRows:
      return "last_rows";
    case PartialKind::kNone:
      break;
  }
  return "none";
}

bool KeepsRows(PartialKind kind) { return kind >= PartialKind::kMinRow; }

void SelectKeptRows(PartialKind kind, int64_t count, const std::shared_ptr<arrow::Array>& values,
                    std::span<const uint32_t> rows, std::vector<uint32_t>* kept) {
  const ValueColumn column(values);
  std::vector<uint32_t> valid;
  std::ranges::copy_if(rows, std::back_inserter(valid),
                       [&](uint32_t row) { return column.IsValid(row); });
  if (valid.empty()) return;
  if (kind == PartialKind::kFirstRow) {
    kept->push_back(valid.front());
  } else if (kind == PartialKind::kLastRows) {
    const auto length = std::min(count, static_cast<int64_t>(valid.size()));
    kept->insert(kept->end(), valid.end() - length, valid.end());
  } else if (column.kind() == KeyKind::kString) {
    std::vector<std::string_view> strings;
    column.AppendStrings(valid, &strings);
    kept->push_back(valid[Extreme(strings, kind == PartialKind::kMinRow)]);
  } else {
    std::vector<int64_t> keys;
    column.AppendKeys(valid, &keys);
    // NaN, the greatest key, is the last choice of both.
    if (kind == PartialKind::kMaxRow && column.kind() == KeyKind::kReal)
      std::ranges::replace(keys, kNanKey, std::numeric_limits<int64_t>::min());
    kept->push_back(valid[Extreme(keys, kind == PartialKind::kMinRow)]);
  }
}

Result<std::unique_ptr<PartialState>> PartialState::Make(PartialKind kind,
                                                         const arrow::DataType& type,
                                                         int64_t max_bytes) {
  return MakeStored(kind, type, max_bytes);
}

Result<std::unique_ptr<PartialState>> PartialState::Decode(PartialKind kind,
                                                           const arrow::DataType& type,
                                                           int64_t max_bytes,
                                                           std::string_view bytes) {
  const auto damaged = [&] {
    return Error(ErrorKind::kDataLoss, "a stored partial state is damaged: ", NameOf(kind), " of ",
                 type.ToString());
  };
  constexpr size_t kTail = sizeof(uint64_t);
  if (bytes.size() < 3 + kTail) return damaged();
  const std::string_view content = bytes.substr(0, bytes.size() - kTail);
  uint64_t checksum = 0;
  ByteReader(bytes.substr(content.size())).Read(&checksum);
  if (checksum != ChecksumOf(content)) return damaged();
  ByteReader reader(content);
  uint8_t version = 0;
  uint8_t stored_kind = 0;
  uint8_t type_class = 0;
  reader.Read(&version);
  reader.Read(&stored_kind);
  reader.Read(&type_class);
  if (version > kVersion) {
    return MakeError(ErrorKind::kUnsupported,
                     Concat("a stored partial state has version ", int{version},
                            ", this build reads up to ", int{kVersion}),
                     {}, "a newer gnomon wrote it: use that one");
  }
  GNOMON_ASSIGN_OR_RETURN(auto state, MakeStored(kind, type, max_bytes));
  if (version == 0 || stored_kind != static_cast<uint8_t>(kind) ||
      type_class != state->type_class() || !state->DecodeState(&reader) ||
      reader.remaining() != 0) {
    return damaged();
  }
  return state;
}

void PartialState::Encode(std::string* bytes) const {
  const size_t begin = bytes->size();
  AppendNumber(kVersion, bytes);
  AppendNumber(static_cast<uint8_t>(kind_), bytes);
  AppendNumber(type_class_, bytes);
  EncodeState(bytes);
  AppendNumber(ChecksumOf(std::string_view(*bytes).substr(begin)), bytes);
}

}  // namespace gnomon::pit
