#include "pit/partial_state.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/compare.h>
#include <doctest/doctest.h>

#include "base/text.h"
#include "pit/test_random.h"
#include "tests/support/status.h"

namespace gnomon::pit {
namespace {

using F = AggregateFunction;
using test::ValueOf;

constexpr int64_t kNoLimit = int64_t{1} << 40;
constexpr F kFunctions[] = {F::kCount, F::kSum,    F::kMean,     F::kMin,           F::kMax,
                            F::kStd,   F::kVar,    F::kFirst,    F::kCountDistinct, F::kLast,
                            F::kLastK, F::kMedian, F::kQuantile, F::kMostFrequent};

const std::vector<std::shared_ptr<arrow::DataType>>& Types() {
  static const std::vector<std::shared_ptr<arrow::DataType>> types = {
      arrow::float64(),
      arrow::float32(),
      arrow::int64(),
      arrow::int32(),
      arrow::int8(),
      arrow::uint64(),
      arrow::boolean(),
      arrow::utf8(),
      arrow::binary(),
      arrow::date32(),
      arrow::timestamp(arrow::TimeUnit::MICRO, "UTC")};
  return types;
}

bool Takes(F function, const arrow::DataType& type) {
  return ResultType({.function = function}, type).ok();
}

template <typename Builder, typename Make>
std::shared_ptr<arrow::Array> Column(Builder&& builder, int64_t length, TestRandom* random,
                                     const Make& make) {
  for (int64_t i = 0; i < length; ++i) {
    REQUIRE((random->Chance(0.15) ? builder.AppendNull() : builder.Append(make())).ok());
  }
  return builder.Finish().ValueOrDie();
}

/// Cancelling magnitudes, signed zeros, NaN and infinities among them.
template <typename T>
T RandomReal(TestRandom* random, bool special) {
  const T specials[] = {T{0},
                        -T{0},
                        std::numeric_limits<T>::quiet_NaN(),
                        std::numeric_limits<T>::infinity(),
                        -std::numeric_limits<T>::infinity(),
                        std::numeric_limits<T>::max(),
                        std::numeric_limits<T>::denorm_min()};
  if (special && random->Chance(0.2)) return specials[random->Int(0, 6)];
  if (random->Chance(0.5)) return static_cast<T>(random->Int(-3, 3));
  return static_cast<T>(std::ldexp(random->Real() - 0.5, static_cast<int>(random->Int(-90, 90))));
}

std::shared_ptr<arrow::Array> RandomColumn(const std::shared_ptr<arrow::DataType>& type,
                                           int64_t length, TestRandom* random) {
  const bool special = random->Chance(0.4);
  const auto text = [&] { return std::string(static_cast<size_t>(random->Int(0, 2)), 'a'); };
  const auto small = [&](int64_t low) { return random->Int(low, 40); };
  switch (type->id()) {
    case arrow::Type::DOUBLE:
      return Column(arrow::DoubleBuilder(), length, random,
                    [&] { return RandomReal<double>(random, special); });
    case arrow::Type::FLOAT:
      return Column(arrow::FloatBuilder(), length, random,
                    [&] { return RandomReal<float>(random, special); });
    case arrow::Type::INT64:
      return Column(arrow::Int64Builder(), length, random, [&] {
        return random->Chance(0.05) ? std::numeric_limits<int64_t>::min() / 4 : small(-40);
      });
    case arrow::Type::INT32:
      return Column(arrow::Int32Builder(), length, random,
                    [&] { return static_cast<int32_t>(small(-40)); });
    case arrow::Type::INT8:
      return Column(arrow::Int8Builder(), length, random,
                    [&] { return static_cast<int8_t>(small(-40)); });
    case arrow::Type::UINT64:
      return Column(arrow::UInt64Builder(), length, random, [&] {
        return random->Chance(0.02) ? uint64_t{1} << 63 : static_cast<uint64_t>(small(0));
      });
    case arrow::Type::BOOL:
      return Column(arrow::BooleanBuilder(), length, random, [&] { return random->Chance(0.5); });
    case arrow::Type::STRING:
      return Column(arrow::StringBuilder(), length, random, text);
    case arrow::Type::BINARY:
      return Column(arrow::BinaryBuilder(), length, random, text);
    case arrow::Type::DATE32:
      return Column(arrow::Date32Builder(), length, random,
                    [&] { return static_cast<int32_t>(small(-40)); });
    default:
      return Column(arrow::TimestampBuilder(type, arrow::default_memory_pool()), length, random,
                    [&] { return small(-40); });
  }
}

std::vector<uint32_t> Iota(size_t begin, size_t end) {
  std::vector<uint32_t> rows(end - begin);
  std::iota(rows.begin(), rows.end(), static_cast<uint32_t>(begin));
  return rows;
}

/// The lifetime aggregate of the rows, which stand in the order of their times.
Result<std::shared_ptr<arrow::Array>> Aggregate(const AggregateSpec& spec,
                                                const std::shared_ptr<arrow::Array>& values,
                                                std::span<const uint32_t> rows) {
  std::vector<int32_t> ids(static_cast<size_t>(values->length()), -1);
  for (const uint32_t row : rows) ids[row] = 0;
  std::vector<int64_t> times(ids.size());
  std::iota(times.begin(), times.end(), 0);
  const Events events{.ids = ids, .times = times, .created = {}, .columns = {values}};
  const std::vector<int32_t> label_ids = {0};
  const std::vector<int64_t> label_times = {static_cast<int64_t>(ids.size())};
  GNOMON_ASSIGN_OR_RETURN(
      auto arrays, AggregateWindows({}, events, label_ids, label_times, std::span(&spec, 1)));
  return arrays[0];
}

Result<std::shared_ptr<arrow::Array>> ValueOfState(const AggregateSpec& spec,
                                                   const arrow::DataType& type,
                                                   const PartialState& state) {
  GNOMON_ASSIGN_OR_RETURN(const auto result, ResultType(spec, type));
  GNOMON_ASSIGN_OR_RETURN(auto builder, arrow::MakeBuilder(result));
  GNOMON_RETURN_NOT_OK(state.AppendValue(spec, builder.get()));
  return builder->Finish();
}

std::unique_ptr<PartialState> StateOf(PartialKind kind, const std::shared_ptr<arrow::Array>& values,
                                      std::span<const uint32_t> rows) {
  auto state = ValueOf(PartialState::Make(kind, *values->type(), kNoLimit));
  REQUIRE(state->Add(values, rows).ok());
  return state;
}

std::string Encoded(const PartialState& state) {
  std::string bytes;
  state.Encode(&bytes);
  return bytes;
}

bool SameBits(const arrow::Array& left, const arrow::Array& right) {
  return left.Equals(right, arrow::EqualOptions().nans_equal(true).signed_zeros_equal(false));
}

TEST_CASE("what is kept of older events and the later ones together give the bits of all of them") {
  TestRandom random(606);
  INFO("GNOMON_TEST_SEED=", random.seed);
  for (int round = 0; round < 150; ++round) {
    CAPTURE(round);
    for (const auto& type : Types()) {
      CAPTURE(type->ToString());
      const auto count = static_cast<size_t>(random.Int(0, random.Chance(0.1) ? 300 : 30));
      const auto values = RandomColumn(type, static_cast<int64_t>(count), &random);
      const auto cut = static_cast<size_t>(random.Int(0, static_cast<int64_t>(count)));
      const auto middle = static_cast<size_t>(random.Int(0, static_cast<int64_t>(cut)));
      for (const F function : kFunctions) {
        if (!Takes(function, *type)) continue;
        CAPTURE(std::string(NameOf(function)));
        AggregateSpec spec{.function = function};
        spec.k = random.Int(1, 4);
        spec.quantile = random.Chance(0.3) ? 1.0 : random.Real();
        spec.ddof = static_cast<int>(random.Int(0, 2));
        const auto expected = Aggregate(spec, values, Iota(0, count));
        const PartialKind kind = PartialKindOf(function);
        Result<std::shared_ptr<arrow::Array>> actual;
        if (KeepsRows(kind)) {
          // Kept in two steps: a selection of what was selected before.
          const int64_t kept_count = function == F::kLastK ? spec.k + random.Int(0, 2) : 1;
          std::vector<uint32_t> kept;
          SelectKeptRows(kind, kept_count, values, Iota(0, middle), &kept);
          std::ranges::sort(kept);
          for (const uint32_t row : Iota(middle, cut)) kept.push_back(row);
          std::vector<uint32_t> rows;
          SelectKeptRows(kind, kept_count, values, kept, &rows);
          for (const uint32_t row : Iota(cut, count)) rows.push_back(row);
          actual = Aggregate(spec, values, rows);
        } else {
          const auto state = StateOf(kind, values, Iota(middle, cut));
          const std::string stored = Encoded(*StateOf(kind, values, Iota(0, middle)));
          const auto older = ValueOf(PartialState::Decode(kind, *type, kNoLimit, stored));
          CHECK(Encoded(*older) == stored);
          REQUIRE(state->Merge(*older).ok());
          REQUIRE(state->Add(values, Iota(cut, count)).ok());
          CHECK(Encoded(*state) == Encoded(*StateOf(kind, values, Iota(0, count))));
          actual = ValueOfState(spec, *type, *state);
        }
        REQUIRE(actual.ok() == expected.ok());
        if (!expected.ok()) {
          CHECK(KindOf(actual.status()) == KindOf(expected.status()));
          continue;
        }
        CAPTURE((*expected)->ToString());
        CAPTURE((*actual)->ToString());
        REQUIRE((*actual)->ValidateFull().ok());
        CHECK(SameBits(**actual, **expected));
      }
    }
  }
}

TEST_CASE("a stored state with any bit flipped or any end missing is data loss") {
  TestRandom random(707);
  INFO("GNOMON_TEST_SEED=", random.seed);
  for (const auto& type : Types()) {
    CAPTURE(type->ToString());
    const auto values = RandomColumn(type, 12, &random);
    for (const PartialKind kind : {PartialKind::kCount, PartialKind::kSum, PartialKind::kMoments,
                                   PartialKind::kValueCounts}) {
      if (!PartialState::Make(kind, *type, kNoLimit).ok()) continue;
      const std::string bytes = Encoded(*StateOf(kind, values, Iota(0, 12)));
      for (size_t length = 0; length < bytes.size(); ++length) {
        CHECK_ERROR(PartialState::Decode(kind, *type, kNoLimit, bytes.substr(0, length)),
                    ErrorKind::kDataLoss, "damaged");
      }
      for (size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
        std::string flipped = bytes;
        flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
        CHECK_ERROR(PartialState::Decode(kind, *type, kNoLimit, flipped), ErrorKind::kDataLoss,
                    "damaged");
      }
    }
  }
}

/// The checksum of the format, so that damage below it is seen by the decoder.
void Seal(std::string* content) {
  uint64_t hash = 0xcbf29ce484222325U;
  for (const char byte : *content)
    hash = (hash ^ static_cast<unsigned char>(byte)) * 0x100000001b3U;
  for (int i = 0; i < 8; ++i) content->push_back(static_cast<char>(hash >> (8 * i)));
}

TEST_CASE("a forged state is refused, or is a state like any other") {
  TestRandom random(808);
  INFO("GNOMON_TEST_SEED=", random.seed);
  int refused = 0;
  int accepted = 0;
  for (int round = 0; round < 20'000; ++round) {
    const auto& type = Types()[static_cast<size_t>(round) % Types().size()];
    const auto kind = static_cast<PartialKind>(random.Int(1, 4));
    if (!PartialState::Make(kind, *type, kNoLimit).ok()) continue;
    const auto values = RandomColumn(type, random.Int(0, 6), &random);
    std::string content =
        Encoded(*StateOf(kind, values, Iota(0, static_cast<size_t>(values->length()))));
    content.resize(content.size() - 8);
    for (int64_t i = random.Int(1, 3); i > 0; --i) {
      const auto at = static_cast<size_t>(random.Int(3, static_cast<int64_t>(content.size()) - 1));
      content[at] = static_cast<char>(random.Int(0, 255));
    }
    if (random.Chance(0.2)) content.resize(static_cast<size_t>(random.Int(0, 40)));
    Seal(&content);
    auto state = PartialState::Decode(kind, *type, kNoLimit, content);
    if (!state.ok()) {
      ++refused;
      continue;
    }
    ++accepted;
    REQUIRE((*state)->Add(values, Iota(0, static_cast<size_t>(values->length()))).ok());
    for (const F function : kFunctions) {
      if (PartialKindOf(function) != kind || !Takes(function, *type)) continue;
      const auto value = ValueOfState({.function = function}, *type, **state);
      CHECK((value.ok() || KindOf(value.status()) == ErrorKind::kUser));
    }
  }
  CHECK(refused > 1000);
  CHECK(accepted > 1000);
}

std::string HexOf(PartialKind kind, const std::shared_ptr<arrow::Array>& values) {
  constexpr const char* kDigits = "0123456789abcdef";
  std::string hex;
  for (const char byte :
       Encoded(*StateOf(kind, values, Iota(0, static_cast<size_t>(values->length()))))) {
    hex += kDigits[static_cast<unsigned char>(byte) >> 4];
    hex += kDigits[static_cast<unsigned char>(byte) & 15];
  }
  return hex;
}

TEST_CASE("the bytes of a state are those of docs/formats/online_packed.md") {
  arrow::DoubleBuilder reals;
  REQUIRE(reals.AppendValues({2.5, -1.0, -3.0}).ok());
  const auto three = reals.Finish().ValueOrDie();
  arrow::Int64Builder integers;
  REQUIRE(integers.AppendValues({2, -7}).ok());
  const auto two = integers.Finish().ValueOrDie();
  arrow::StringBuilder texts;
  REQUIRE(texts.AppendValues({"a", "", "a"}).ok());
  const auto text = texts.Finish().ValueOrDie();
  CHECK(HexOf(PartialKind::kCount, three) == "0101000300000000000000f636ae70f0526ccf");
  CHECK(HexOf(PartialKind::kSum, three) ==
        "0102030300000000000000210001000100000600007f5ccf2018fdc763");
  CHECK(HexOf(PartialKind::kMoments, three) ==
        "010303030000000000000021000100010000060043000100000401000000e1abe1d49a5b0140");
  CHECK(HexOf(PartialKind::kValueCounts, three) ==
        "0104030300000000000000fffffffffffff7bf0100000000000000ffffffffffff0fc00100000000000000"
        "00000000000004400100000000000000268dacd2bfe033e0");
  CHECK(HexOf(PartialKind::kSum, two) ==
        "0102010200000000000000fbffffffffffffffffffffffffffffff270be083ff252bf8");
  CHECK(HexOf(PartialKind::kValueCounts, text) ==
        "010404020000000000000000000000010000000000000001000000610200000000000000979504e64d310359");
}

TEST_CASE("a state of another kind, type or version is refused by name") {
  TestRandom random(1);
  const auto values = RandomColumn(arrow::int64(), 5, &random);
  const std::string bytes = Encoded(*StateOf(PartialKind::kSum, values, Iota(0, 5)));
  CHECK_ERROR(PartialState::Decode(PartialKind::kMoments, *arrow::int64(), kNoLimit, bytes),
              ErrorKind::kDataLoss, "moments of int64");
  CHECK_ERROR(PartialState::Decode(PartialKind::kSum, *arrow::float64(), kNoLimit, bytes),
              ErrorKind::kDataLoss, "sum of double");
  CHECK_ERROR(PartialState::Make(PartialKind::kSum, *arrow::utf8(), kNoLimit), ErrorKind::kInternal,
              "sum of string");
  std::string newer = bytes.substr(0, bytes.size() - 8);
  newer[0] = 2;
  Seal(&newer);
  CHECK_ERROR(PartialState::Decode(PartialKind::kSum, *arrow::int64(), kNoLimit, newer),
              ErrorKind::kUnsupported, "version 2");
}

TEST_CASE("counted values are bounded, repeated ones cost nothing") {
  arrow::Int64Builder builder;
  for (int64_t i = 0; i < 1000; ++i) REQUIRE(builder.Append(i % 10).ok());
  const auto few = builder.Finish().ValueOrDie();
  for (int64_t i = 0; i < 11; ++i) REQUIRE(builder.Append(i).ok());
  const auto more = builder.Finish().ValueOrDie();
  auto state = ValueOf(PartialState::Make(PartialKind::kValueCounts, *arrow::int64(), 160));
  REQUIRE(state->Add(few, Iota(0, 1000)).ok());
  CHECK(Encoded(*state).size() < 200);
  CHECK_ERROR(state->Add(more, Iota(0, 11)), ErrorKind::kExhausted, "11 distinct values");
}

}  // namespace
}  // namespace gnomon::pit
