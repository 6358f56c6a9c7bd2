#pragma once

#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <arrow/array.h>

/// Values and operators of an interpreter that works on one row at a time.
namespace gnomon::expr::naive {

struct Null {
  friend bool operator==(const Null&, const Null&) = default;
};
using Value = std::variant<Null, bool, int64_t, double, std::string>;
using Outcome = std::optional<Value>;  // nothing: an error
using Row = std::vector<Value>;
using Interpreter = std::function<Outcome(const Row&)>;

inline bool IsNull(const Value& value) { return std::holds_alternative<Null>(value); }
inline double AsFloat(const Value& value) {
  const auto* const whole = std::get_if<int64_t>(&value);
  return whole != nullptr ? static_cast<double>(*whole) : std::get<double>(value);
}

// A function of arguments that are all evaluated first; null when one is.
inline Interpreter Strict(std::vector<Interpreter> parts,
                          std::function<Outcome(const std::vector<Value>&)> apply) {
  return [parts = std::move(parts), apply = std::move(apply)](const Row& row) -> Outcome {
    std::vector<Value> values;
    bool any_null = false;
    for (const Interpreter& part : parts) {
      const Outcome outcome = part(row);
      if (!outcome) return std::nullopt;
      any_null = any_null || IsNull(*outcome);
      values.push_back(*outcome);
    }
    return any_null ? Outcome(Null{}) : apply(values);
  };
}

__extension__ using Wide = __int128;

inline Outcome Integer(Wide value) {
  if (value > std::numeric_limits<int64_t>::max() || value < std::numeric_limits<int64_t>::min())
    return std::nullopt;
  return Value(static_cast<int64_t>(value));
}

inline Outcome ApplyInteger(const std::string& sign, int64_t left, int64_t right) {
  const Wide a = left;
  const Wide b = right;
  if (sign == "+") return Integer(a + b);
  if (sign == "-") return Integer(a - b);
  if (sign == "*") return Integer(a * b);
  if (b == 0) return std::nullopt;
  Wide quotient = a / b;
  if (quotient * b != a && (a < 0) != (b < 0)) --quotient;
  return sign == "//" ? Integer(quotient) : Integer(a - quotient * b);
}

inline Value ApplyFloat(const std::string& sign, double a, double b) {
  if (sign == "+") return a + b;
  if (sign == "-") return a - b;
  if (sign == "*") return a * b;
  return a / b;
}

template <typename T>
bool Compare(const std::string& sign, const T& a, const T& b) {
  if (sign == "=") return a == b;
  if (sign == "!=") return a != b;
  if (sign == "<") return a < b;
  if (sign == "<=") return a <= b;
  if (sign == ">") return a > b;
  return a >= b;
}

inline bool CompareValues(const std::string& sign, const Value& a, const Value& b) {
  if (std::holds_alternative<std::string>(a))
    return Compare(sign, std::get<std::string>(a), std::get<std::string>(b));
  if (std::holds_alternative<bool>(a)) return Compare(sign, std::get<bool>(a), std::get<bool>(b));
  const bool whole = std::holds_alternative<int64_t>(a) && std::holds_alternative<int64_t>(b);
  if (whole) return Compare(sign, std::get<int64_t>(a), std::get<int64_t>(b));
  return Compare(sign, AsFloat(a), AsFloat(b));
}

inline Value ValueAt(const arrow::Array& array, int64_t row) {
  if (array.IsNull(row)) return Null{};
  switch (array.type_id()) {
    case arrow::Type::BOOL:
      return static_cast<const arrow::BooleanArray&>(array).Value(row);
    case arrow::Type::INT64:
      return static_cast<const arrow::Int64Array&>(array).Value(row);
    case arrow::Type::DOUBLE:
      return static_cast<const arrow::DoubleArray&>(array).Value(row);
    case arrow::Type::STRING:
      return static_cast<const arrow::StringArray&>(array).GetString(row);
    default:
      return Null{};
  }
}

inline bool Same(const Value& a, const Value& b) {
  if (std::holds_alternative<double>(a) || std::holds_alternative<double>(b)) {
    // Where the only values are integers, a float expression may be typed as one of integers.
    if (IsNull(a) || IsNull(b)) return false;
    const double left = AsFloat(a);
    const double right = AsFloat(b);
    return left == right || (std::isnan(left) && std::isnan(right));
  }
  return a == b;
}

}  // namespace gnomon::expr::naive
