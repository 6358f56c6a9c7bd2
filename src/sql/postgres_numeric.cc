#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "base/text.h"
#include "sql/postgres_batches_internal.h"
#include "sql/wire_bytes.h"

// A binary numeric: number of digits, weight, sign, display scale (16 bits each), then digits to
// the base 10,000, the first of which counts 10,000^weight.

namespace gnomon::sql {

namespace {

constexpr uint16_t kPositive = 0x0000;
constexpr uint16_t kNegative = 0x4000;
constexpr uint16_t kNan = 0xC000;
constexpr uint16_t kInfinity = 0xD000;
constexpr uint16_t kMinusInfinity = 0xF000;
constexpr int kBaseDigits = 4;

std::string Numeric(const std::vector<int>& digits, int weight, uint16_t sign, int scale) {
  std::string out;
  AppendBigEndian(&out, static_cast<int16_t>(digits.size()));
  AppendBigEndian(&out, static_cast<int16_t>(weight));
  AppendBigEndian(&out, sign);
  AppendBigEndian(&out, static_cast<int16_t>(scale));
  for (const int digit : digits) AppendBigEndian(&out, static_cast<int16_t>(digit));
  return out;
}

}  // namespace

Result<double> DoubleOfNumeric(std::string_view bytes) {
  const auto broken = [] { return Error(ErrorKind::kDataLoss, "broken numeric"); };
  if (bytes.size() < 8) return broken();
  const auto count = ReadBigEndian<int16_t>(bytes.data());
  const int weight = ReadBigEndian<int16_t>(bytes.data() + 2);
  const auto sign = ReadBigEndian<uint16_t>(bytes.data() + 4);
  if (count < 0 || bytes.size() != 8 + 2 * static_cast<size_t>(count)) return broken();
  if (sign == kNan) return std::numeric_limits<double>::quiet_NaN();
  if (sign == kInfinity) return std::numeric_limits<double>::infinity();
  if (sign == kMinusInfinity) return -std::numeric_limits<double>::infinity();
  if (count == 0) return 0.0;
  // "-12345678e-4": the digits as one whole number.
  std::string text = sign == kNegative ? "-" : "";
  for (int i = 0; i < count; ++i) {
    const std::string digit = Concat(ReadBigEndian<int16_t>(bytes.data() + 8 + 2 * i));
    if (digit.size() > kBaseDigits || digit[0] == '-') return broken();
    text.append(kBaseDigits - digit.size(), '0');
    text += digit;
  }
  text += Concat("e", (weight - count + 1) * kBaseDigits);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc::result_out_of_range) {
    const bool large = weight > 0;
    value = large ? std::numeric_limits<double>::infinity() : 0.0;
    return sign == kNegative ? -value : value;
  }
  return error == std::errc() ? Result<double>(value) : broken();
}

std::string NumericOfDouble(double value) {
  if (std::isnan(value)) return Numeric({}, 0, kNan, 0);
  if (std::isinf(value)) return Numeric({}, 0, value > 0 ? kInfinity : kMinusInfinity, 0);
  const uint16_t sign = value < 0 ? kNegative : kPositive;
  if (value == 0) return Numeric({}, 0, kPositive, 0);
  // Shortest digits and exponent: d.ddde[+-]xx.
  char buffer[64];
  const auto printed = std::to_chars(buffer, buffer + sizeof(buffer), std::fabs(value),
                                     std::chars_format::scientific);
  const std::string text(buffer, printed.ptr);
  const size_t mark = text.find('e');
  int exponent = std::stoi(text.substr(mark + 1));
  std::string digits = text.substr(0, mark);
  std::erase(digits, '.');
  const int scale = std::max(0, static_cast<int>(digits.size()) - 1 - exponent);
  // Whole groups of four around the decimal point: the first group begins at a multiple of four.
  const int weight =
      exponent >= 0 ? exponent / kBaseDigits : -((-exponent + kBaseDigits - 1) / kBaseDigits);
  const int lead = weight * kBaseDigits + (kBaseDigits - 1) - exponent;
  digits.insert(0, static_cast<size_t>(lead), '0');
  digits.append((kBaseDigits - digits.size() % kBaseDigits) % kBaseDigits, '0');
  std::vector<int> groups;
  for (size_t i = 0; i < digits.size(); i += kBaseDigits)
    groups.push_back(std::stoi(digits.substr(i, kBaseDigits)));
  return Numeric(groups, weight, sign, scale);
}

}  // namespace gnomon::sql
