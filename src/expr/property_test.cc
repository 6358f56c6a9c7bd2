// Random well-typed expressions against a naive interpreter that works on one row at a time: the
// same values, errors in exactly the rows in which the interpreter fails, and the same for every
// way to cut the batch.

#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <doctest/doctest.h>

#include "base/text.h"
#include "expr/expression.h"
#include "expr/naive_values_test.h"

namespace gnomon::expr {

namespace {

using naive::ApplyFloat;
using naive::ApplyInteger;
using naive::AsFloat;
using naive::CompareValues;
using naive::Interpreter;
using naive::IsNull;
using naive::Null;
using naive::Outcome;
using naive::Row;
using naive::Same;
using naive::Strict;
using naive::Value;
using naive::ValueAt;

struct Sample {
  std::string text;
  Interpreter run;
};

enum class Kind { kBool, kInt, kFloat, kText };

struct Column {
  std::string name;
  Kind kind;
};
const std::vector<Column> kColumns = {{"i", Kind::kInt},   {"j", Kind::kInt},  {"x", Kind::kFloat},
                                      {"y", Kind::kFloat}, {"p", Kind::kBool}, {"q", Kind::kBool},
                                      {"s", Kind::kText},  {"r", Kind::kText}};

class Generator {
 public:
  explicit Generator(uint64_t seed) : random_(seed) {}

  size_t Below(size_t limit) { return static_cast<size_t>(random_() % limit); }

  Sample Any() { return Make(static_cast<Kind>(Below(4)), 1 + static_cast<int>(Below(5))); }

  Value RandomValue(Kind kind, bool extremes) {
    if (Below(5) == 0) return Null{};
    switch (kind) {
      case Kind::kBool:
        return Below(2) == 0;
      case Kind::kInt:
        if (extremes && Below(12) == 0) {
          return Below(2) == 0 ? std::numeric_limits<int64_t>::max()
                               : std::numeric_limits<int64_t>::min();
        }
        return static_cast<int64_t>(Below(7)) - 3;
      case Kind::kFloat: {
        static const std::vector<double> kFloats = {0.0, -0.0, 1.0, -1.5, 2.0, 1e300, -3.0};
        return kFloats[Below(kFloats.size())];
      }
      case Kind::kText: {
        static const std::vector<std::string> kTexts = {"", "a", "b", "ab", "Grün", "%"};
        return kTexts[Below(kTexts.size())];
      }
    }
    return Null{};
  }

 private:
  Sample Make(Kind kind, int depth) {
    if (depth == 0) return Leaf(kind);
    switch (Below(4)) {
      case 0:
        return Case(kind, depth - 1);
      case 1:
        return Below(2) == 0 ? Coalesce(kind, depth - 1) : CaseOf(kind, depth - 1);
      default:
        break;
    }
    switch (kind) {
      case Kind::kBool:
        return Boolean(depth - 1);
      case Kind::kInt:
        return Whole(depth - 1);
      case Kind::kFloat:
        return Float(depth - 1);
      case Kind::kText:
        return Text(depth - 1);
    }
    return Leaf(kind);
  }

  Sample Leaf(Kind kind) {
    if (Below(3) == 0) return Literal(kind);
    std::vector<size_t> fitting;
    for (size_t i = 0; i < kColumns.size(); ++i) {
      if (kColumns[i].kind == kind) fitting.push_back(i);
    }
    const size_t index = fitting[Below(fitting.size())];
    return {kColumns[index].name, [index](const Row& row) { return Outcome(row[index]); }};
  }

  Sample Literal(Kind kind) {
    const Value value = RandomValue(kind, true);
    const std::string text = std::visit(
        [](const auto& held) -> std::string {
          using T = std::decay_t<decltype(held)>;
          if constexpr (std::is_same_v<T, Null>) return "null";
          if constexpr (std::is_same_v<T, std::string>) return "'" + held + "'";
          if constexpr (std::is_same_v<T, bool>) return held ? "true" : "false";
          if constexpr (std::is_same_v<T, int64_t>) return std::to_string(held);
          if constexpr (std::is_same_v<T, double>)
            return held == 1e300 ? "1e300" : std::to_string(held);
          return {};
        },
        value);
    return {text, [value](const Row&) { return Outcome(value); }};
  }

  Sample Numeric(int depth) { return Make(Below(2) == 0 ? Kind::kInt : Kind::kFloat, depth); }

  Sample Whole(int depth) {
    static const std::vector<std::string> kSigns = {"+", "-", "*", "//", "%"};
    if (Below(5) == 0) {
      Sample text = Make(Kind::kText, depth);
      return {Concat("length(", text.text, ")"), Strict({text.run}, [](const auto& v) {
                int64_t count = 0;
                for (const char c : std::get<std::string>(v[0]))
                  count += (c & 0xC0) == 0x80 ? 0 : 1;
                return Outcome(count);
              })};
    }
    // A typed null on its own could make the operation one of floats or times.
    Sample a = Make(Kind::kInt, depth);
    Sample b = Make(Kind::kInt, depth);
    const std::string sign = kSigns[Below(kSigns.size())];
    return {Concat("(cast(", a.text, " as int64) ", sign, " ", b.text, ")"),
            Strict({a.run, b.run}, [sign](const auto& v) {
              return ApplyInteger(sign, std::get<int64_t>(v[0]), std::get<int64_t>(v[1]));
            })};
  }

  Sample Float(int depth) {
    static const std::vector<std::string> kSigns = {"+", "-", "*", "/"};
    Sample a = Make(Kind::kFloat, depth);
    Sample b = Numeric(depth);
    const std::string sign = kSigns[Below(kSigns.size())];
    return {Concat("(cast(", a.text, " as float64) ", sign, " ", b.text, ")"),
            Strict({a.run, b.run}, [sign](const auto& v) {
              return Outcome(ApplyFloat(sign, AsFloat(v[0]), AsFloat(v[1])));
            })};
  }

  Sample Text(int depth) {
    Sample a = Make(Kind::kText, depth);
    Sample b = Make(Below(2) == 0 ? Kind::kText : Kind::kInt, depth);
    return {Concat("concat(", a.text, ", ", b.text, ")"), Strict({a.run, b.run}, [](const auto& v) {
              const auto* const number = std::get_if<int64_t>(&v[1]);
              return Outcome(std::get<std::string>(v[0]) + (number != nullptr
                                                                ? std::to_string(*number)
                                                                : std::get<std::string>(v[1])));
            })};
  }

  Sample Boolean(int depth) {
    switch (Below(6)) {
      case 0:
        return Connect(depth, true);
      case 1:
        return Connect(depth, false);
      case 2: {
        Sample a = Make(Kind::kBool, depth);
        return {Concat("(not ", a.text, ")"),
                Strict({a.run}, [](const auto& v) { return Outcome(!std::get<bool>(v[0])); })};
      }
      case 3: {
        Sample a = Make(static_cast<Kind>(Below(4)), depth);
        const bool negated = Below(2) == 0;
        return {Concat("(", a.text, negated ? " is not null)" : " is null)"),
                [a, negated](const Row& row) -> Outcome {
                  const Outcome value = a.run(row);
                  if (!value) return std::nullopt;
                  return Value(IsNull(*value) != negated);
                }};
      }
      case 4:
        return In(depth);
      default:
        return Comparison(depth);
    }
  }

  Sample Connect(int depth, bool is_and) {
    std::vector<Sample> parts;
    std::string text;
    for (size_t count = 2 + Below(2); count > 0; --count) {
      parts.push_back(Make(Kind::kBool, depth));
      text += Concat(text.empty() ? "(" : is_and ? " and " : " or ", parts.back().text);
    }
    return {text + ")", [parts, is_and](const Row& row) -> Outcome {
              Value result = is_and;
              for (const Sample& part : parts) {
                const Outcome value = part.run(row);
                if (!value) return std::nullopt;
                if (IsNull(*value)) {
                  result = Null{};
                } else if (std::get<bool>(*value) != is_and) {
                  return *value;
                }
              }
              return result;
            }};
  }

  Sample Comparison(int depth) {
    static const std::vector<std::string> kSigns = {"=", "!=", "<", "<=", ">", ">="};
    const std::string sign = kSigns[Below(kSigns.size())];
    const auto kind = static_cast<Kind>(Below(4));
    const bool numeric = kind == Kind::kInt || kind == Kind::kFloat;
    Sample a = numeric ? Numeric(depth) : Make(kind, depth);
    Sample b = numeric ? Numeric(depth) : Make(kind, depth);
    return {Concat("(", a.text, " ", sign, " ", b.text, ")"),
            Strict({a.run, b.run},
                   [sign](const auto& v) { return Outcome(CompareValues(sign, v[0], v[1])); })};
  }

  Sample In(int depth) {
    Sample value = Make(Kind::kInt, depth);
    std::vector<Sample> items;
    bool any_float = false;  // then all are compared as floats
    std::string text;
    for (size_t count = 1 + Below(12); count > 0; --count) {
      const bool is_float = Below(4) == 0;
      items.push_back(Leaf(is_float ? Kind::kFloat : Kind::kInt));
      any_float = any_float || (is_float && items.back().text != "null");
      text += Concat(text.empty() ? "" : ", ", items.back().text);
    }
    return {Concat("(", value.text, " in (", text, "))"),
            [value, items, any_float](const Row& row) -> Outcome {
              const Outcome wanted = value.run(row);
              if (!wanted || IsNull(*wanted)) return wanted;
              bool any_null = false;
              for (const Sample& item : items) {
                const Value candidate = *item.run(row);
                any_null = any_null || IsNull(candidate);
                if (IsNull(candidate)) continue;
                const bool equal =
                    any_float ? AsFloat(*wanted) == AsFloat(candidate) : *wanted == candidate;
                if (equal) return Value(true);
              }
              return any_null ? Value(Null{}) : Value(false);
            }};
  }

  Sample Coalesce(Kind kind, int depth) {
    Sample a = Make(kind, depth);
    Sample b = Make(kind, depth);
    return {Concat("coalesce(", a.text, ", ", b.text, ")"), [a, b](const Row& row) -> Outcome {
              const Outcome value = a.run(row);
              return !value || !IsNull(*value) ? value : b.run(row);
            }};
  }

  Sample Case(Kind kind, int depth) {
    Sample when = Make(Kind::kBool, depth);
    Sample then = Make(kind, depth);
    Sample otherwise = Make(kind, depth);
    const bool has_else = Below(3) != 0;
    return {Concat("case when ", when.text, " then ", then.text,
                   has_else ? " else " + otherwise.text : "", " end"),
            [=](const Row& row) -> Outcome {
              const Outcome condition = when.run(row);
              if (!condition) return std::nullopt;
              if (*condition == Value(true)) return then.run(row);
              return has_else ? otherwise.run(row) : Outcome(Null{});
            }};
  }

  Sample CaseOf(Kind kind, int depth) {
    Sample operand = Make(Kind::kText, depth);
    Sample key = Make(Kind::kText, depth);
    Sample then = Make(kind, depth);
    Sample otherwise = Make(kind, depth);
    return {Concat("case ", operand.text, " when ", key.text, " then ", then.text, " else ",
                   otherwise.text, " end"),
            [=](const Row& row) -> Outcome {
              const Outcome wanted = operand.run(row);
              if (!wanted) return std::nullopt;
              const Outcome held = key.run(row);
              if (!held) return std::nullopt;
              return (!IsNull(*wanted) && *wanted == *held ? then : otherwise).run(row);
            }};
  }

  std::mt19937_64 random_;
};

std::shared_ptr<arrow::RecordBatch> BatchOf(const std::vector<Row>& rows) {
  arrow::FieldVector fields;
  arrow::ArrayVector arrays;
  const std::vector<std::shared_ptr<arrow::DataType>> types = {arrow::boolean(), arrow::int64(),
                                                               arrow::float64(), arrow::utf8()};
  for (size_t c = 0; c < kColumns.size(); ++c) {
    fields.push_back(arrow::field(kColumns[c].name, types[static_cast<size_t>(kColumns[c].kind)]));
    const auto builder = *arrow::MakeBuilder(fields.back()->type());
    for (const Row& row : rows) {
      const Value& value = row[c];
      if (IsNull(value)) REQUIRE(builder->AppendNull().ok());
      if (const auto* held = std::get_if<bool>(&value)) {
        REQUIRE(static_cast<arrow::BooleanBuilder&>(*builder).Append(*held).ok());
      }
      if (const auto* held = std::get_if<int64_t>(&value)) {
        REQUIRE(static_cast<arrow::Int64Builder&>(*builder).Append(*held).ok());
      }
      if (const auto* held = std::get_if<double>(&value)) {
        REQUIRE(static_cast<arrow::DoubleBuilder&>(*builder).Append(*held).ok());
      }
      if (const auto* held = std::get_if<std::string>(&value)) {
        REQUIRE(static_cast<arrow::StringBuilder&>(*builder).Append(*held).ok());
      }
    }
    arrays.push_back(*builder->Finish());
  }
  return arrow::RecordBatch::Make(arrow::schema(fields), static_cast<int64_t>(rows.size()), arrays);
}

void CheckPart(const BoundExpression& bound, const arrow::RecordBatch& batch, int64_t begin,
               int64_t length, const std::vector<Outcome>& expected) {
  const auto result = bound.Evaluate(*batch.Slice(begin, length));
  std::set<int64_t> failing;
  for (int64_t i = 0; i < length; ++i) {
    if (!expected[static_cast<size_t>(begin + i)]) failing.insert(i);
  }
  if (!result.ok()) {
    CHECK_MESSAGE(failing.contains(LocationOf(result.status()).row), result.status().ToString());
    return;
  }
  CHECK(failing.empty());
  if (!failing.empty()) return;
  CHECK((*result)->length() == length);
  for (int64_t i = 0; i < length; ++i) {
    CHECK(Same(*expected[static_cast<size_t>(begin + i)], ValueAt(**result, i)));
  }
}

void CheckSample(uint64_t seed) {
  CAPTURE(seed);
  Generator generator(seed);
  const Sample sample = generator.Any();
  CAPTURE(sample.text);
  std::vector<Row> rows(1 + generator.Below(24));
  std::vector<Outcome> expected;
  for (Row& row : rows) {
    for (const Column& column : kColumns) row.push_back(generator.RandomValue(column.kind, true));
    expected.push_back(sample.run(row));
  }
  const auto batch = BatchOf(rows);
  const auto parsed = Expression::Parse(sample.text);
  REQUIRE_MESSAGE(parsed.ok(), parsed.status().ToString());
  const auto bound = parsed->Bind(*batch->schema());
  REQUIRE_MESSAGE(bound.ok(), bound.status().ToString());
  const auto num_rows = static_cast<int64_t>(rows.size());
  CheckPart(*bound, *batch, 0, num_rows, expected);
  for (int64_t row = 0; row < num_rows; ++row) CheckPart(*bound, *batch, row, 1, expected);
  const auto cut = static_cast<int64_t>(generator.Below(rows.size() + 1));
  CheckPart(*bound, *batch, 0, cut, expected);
  CheckPart(*bound, *batch, cut, num_rows - cut, expected);
}

}  // namespace

TEST_CASE("random expressions agree with a naive interpreter, whole, cut and row by row") {
  constexpr uint64_t kCases = 4000;
  for (uint64_t seed = 1; seed <= kCases; ++seed) CheckSample(seed);
}

}  // namespace gnomon::expr
