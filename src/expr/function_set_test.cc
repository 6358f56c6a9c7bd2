#include "expr/function_set.h"

#include <functional>
#include <string>
#include <vector>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <arrow/type.h>
#include <doctest/doctest.h>

#include "base/text.h"
#include "expr/expression.h"
#include "tests/support/status.h"
#include "tests/support/table.h"

namespace gnomon::expr {
namespace {

using test::ValueOf;
using Types = std::vector<std::shared_ptr<arrow::DataType>>;
using Arrays = std::span<const std::shared_ptr<arrow::Array>>;
using Body = std::function<Result<std::shared_ptr<arrow::Array>>(Arrays, int64_t)>;

class FakeFunction : public CustomFunction {
 public:
  FakeFunction(std::string name, Types parameters, std::shared_ptr<arrow::DataType> result,
               Body body, bool sees_nulls = false)
      : name_(std::move(name)),
        parameters_(std::move(parameters)),
        result_(std::move(result)),
        body_(std::move(body)),
        sees_nulls_(sees_nulls) {}
  const std::string& name() const override { return name_; }
  const Types& parameters() const override { return parameters_; }
  const std::shared_ptr<arrow::DataType>& result() const override { return result_; }
  bool sees_nulls() const override { return sees_nulls_; }
  Result<std::shared_ptr<arrow::Array>> Evaluate(Arrays arguments, int64_t n) const override {
    return body_(arguments, n);
  }

 private:
  std::string name_;
  Types parameters_;
  std::shared_ptr<arrow::DataType> result_;
  Body body_;
  bool sees_nulls_;
};

/// 100 / x; zero is an error of its row; a null must not come.
Result<std::shared_ptr<arrow::Array>> Share(Arrays arguments, int64_t n) {
  const auto& x = static_cast<const arrow::Int64Array&>(*arguments[0]);
  REQUIRE(x.null_count() == 0);
  REQUIRE(x.length() == n);
  arrow::Int64Builder builder;
  for (int64_t i = 0; i < n; ++i) {
    Location location;
    location.row = i;
    if (x.Value(i) == 0) return MakeError(ErrorKind::kUnavailable, "no share", location);
    GNOMON_RETURN_NOT_OK(builder.Append(100 / x.Value(i)));
  }
  return builder.Finish();
}

Result<std::shared_ptr<arrow::Array>> Greet(Arrays arguments, int64_t n) {
  const auto& names = static_cast<const arrow::StringArray&>(*arguments[0]);
  arrow::StringBuilder builder;
  for (int64_t i = 0; i < n; ++i) {
    const std::string who = names.IsNull(i) ? std::string("nobody") : names.GetString(i);
    GNOMON_RETURN_NOT_OK(builder.Append(Concat("a long greeting for ", who)));
  }
  return builder.Finish();
}

template <typename... F>
std::shared_ptr<const FunctionSet> SetOf(F... functions) {
  return ValueOf(FunctionSet::Make({std::make_shared<const FakeFunction>(functions)...}));
}

std::shared_ptr<const FunctionSet> Fakes() {
  const auto give = [](std::string text) {
    return [text](Arrays, int64_t n) -> Result<std::shared_ptr<arrow::Array>> {
      arrow::StringBuilder builder;
      for (int64_t i = 0; i < n; ++i) GNOMON_RETURN_NOT_OK(builder.Append(text));
      return builder.Finish();
    };
  };
  return SetOf(FakeFunction("share", {arrow::int64()}, arrow::int64(), Share),
               FakeFunction("greet", {arrow::utf8()}, arrow::utf8(), Greet, true),
               FakeFunction("kind_of", {arrow::int64()}, arrow::utf8(), give("int")),
               FakeFunction("kind_of", {arrow::float64()}, arrow::utf8(), give("float")));
}

std::shared_ptr<arrow::RecordBatch> Rows() {
  const auto table =
      test::TableOf({{"x", arrow::int32()}, {"name", arrow::utf8()}, {"f", arrow::float32()}},
                    R"([[1, "a", 1], [0, null, 2], [null, "c", 3], [50, "d", null]])");
  return ValueOf(table->CombineChunksToBatch());
}

std::string Evaluate(const std::string& text) {
  const auto batch = Rows();
  const auto functions = Fakes();
  auto bound = ValueOf(ValueOf(Expression::Parse(text)).Bind(*batch->schema(), functions.get()));
  auto values = bound.Evaluate(*batch);
  if (!values.ok()) return FormatError(values.status());
  test::RequireOk((*values)->ValidateFull());
  CHECK((*values)->type()->Equals(*bound.type()));
  std::string shown;
  for (int64_t i = 0; i < (*values)->length(); ++i) {
    shown += Concat(i > 0 ? "|" : "", ValueOf((*values)->GetScalar(i))->ToString());
  }
  return shown;
}

TEST_CASE("a custom function sees only rows that are wanted and have no null") {
  CHECK(Evaluate("case when x != 0 then share(x) end") == "100|null|null|2");
  CHECK(Evaluate("case when x > 1 then share(x - 1) else -1 end") == "-1|-1|-1|2");
}

TEST_CASE("an error keeps its kind and names the row of the batch and the part of the text") {
  const auto batch = Rows();
  const auto functions = Fakes();
  const auto parsed = ValueOf(Expression::Parse("1 + share(x - 50)"));
  const auto bound = ValueOf(parsed.Bind(*batch->schema(), functions.get()));
  const Status status = test::ErrorOf(bound.Evaluate(*batch));
  CHECK(KindOf(status) == ErrorKind::kUnavailable);
  CHECK(LocationOf(status).row == 3);
  CHECK(status.message() == "no share: share(x - 50)");
}

TEST_CASE("a function that sees nulls is asked for them") {
  CHECK(Evaluate("greet(name)") ==
        "a long greeting for a|a long greeting for nobody|a long greeting for c|"
        "a long greeting for d");
  CHECK(Evaluate("upper(substr(greet(name), 21))") == "A|NOBODY|C|D");
}

TEST_CASE("overloads are picked by the arguments, integers become floats") {
  CHECK(Evaluate("concat(kind_of(x), kind_of(f))") == "intfloat|intfloat|null|null");
  CHECK(Evaluate("length(kind_of(f + x))") == "5|5|null|null");
}

TEST_CASE("a call of constants is a constant, and a failing one fails only where it is needed") {
  CHECK(Evaluate("concat(greet('you'), x)") ==
        "a long greeting for you1|a long greeting for you0|null|a long greeting for you50");
  CHECK(Evaluate("share(4)") == "25|25|25|25");
  CHECK(Evaluate("share(null)") == "null|null|null|null");
  CHECK(Evaluate("case when x > 1000 then share(0) else x end") == "1|0|null|50");
}

TEST_CASE("an unknown function names the nearest, also a custom one") {
  const auto functions = Fakes();
  const auto parsed = ValueOf(Expression::Parse("shares(x)"));
  CHECK_ERROR(parsed.Bind(*Rows()->schema(), functions.get()), ErrorKind::kUser,
              "did you mean 'share'?");
  CHECK_ERROR(parsed.Bind(*Rows()->schema()), ErrorKind::kUser, "unknown function: shares");
  CHECK_ERROR(ValueOf(Expression::Parse("share(name)")).Bind(*Rows()->schema(), functions.get()),
              ErrorKind::kUser, "share does not take: (string)");
}

TEST_CASE("a call of a function whose library is absent names the library") {
  const auto known = Fakes();
  const auto functions =
      FunctionSet::WithAbsent(known.get(), {{"share", "old.so"}, {"distance", "lib/geo.so"}});
  const auto bind = [&](const std::string& text) {
    return ValueOf(Expression::Parse(text)).Bind(*Rows()->schema(), functions.get());
  };
  CHECK_OK(bind("share(x)"));
  CHECK_ERROR(bind("distance(x)"), ErrorKind::kUser, "not loaded: lib/geo.so");
  CHECK_ERROR(bind("other(x)"), ErrorKind::kUser, "unknown function: other");
}

TEST_CASE("an expression tells which functions it calls") {
  CHECK(ValueOf(Expression::Parse("case when F(x) > 1 then g(f(y)) end")).functions() ==
        std::vector<std::string>{">", "f", "g"});
  CHECK(ValueOf(Expression::Parse("x is null")).functions().empty());
}

TEST_CASE("names of the language and types that it lacks are refused") {
  const auto make = [](const std::string& name, std::shared_ptr<arrow::DataType> type) {
    return FunctionSet::Make(
        {std::make_shared<FakeFunction>(name, Types{std::move(type)}, arrow::int64(), Share)});
  };
  CHECK_ERROR(make("upper", arrow::int64()), ErrorKind::kConflict, "upper");
  CHECK_ERROR(make("coalesce", arrow::int64()), ErrorKind::kConflict, "coalesce");
  for (const char* name : {"case", "end", "not", "Upper case", "a b", "x)+(y", ""}) {
    CAPTURE(name);
    CHECK_FALSE(make(name, arrow::int64()).ok());
  }
  CHECK_ERROR(make("f", arrow::int32()), ErrorKind::kUser, "int32");
  CHECK_ERROR(make("f", arrow::list(arrow::int64())), ErrorKind::kUser, "list");
  const auto twice =
      std::make_shared<FakeFunction>("f", Types{arrow::int64()}, arrow::int64(), Share);
  CHECK_ERROR(FunctionSet::Make({twice, twice}), ErrorKind::kUser, "f(int64)");
}

TEST_CASE("a program outlives the set that it was bound with") {
  const auto batch = Rows();
  auto functions = Fakes();
  const auto bound =
      ValueOf(ValueOf(Expression::Parse("greet(name)")).Bind(*batch->schema(), functions.get()));
  functions = nullptr;
  CHECK(ValueOf(bound.Evaluate(*batch))->length() == 4);
}

}  // namespace
}  // namespace gnomon::expr
