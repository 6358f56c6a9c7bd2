#include <cstdlib>
#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <string_view>

#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <doctest/doctest.h>

#include "base/text.h"
#include "expr/expression.h"
#include "expr/function_internal.h"

namespace gnomon::expr {

namespace {

constexpr const char* kGuide = "docs/guide/expressions.md";
constexpr std::string_view kMark = "<!-- generated: FunctionReference() -->\n\n";

std::string Shown(const std::string& expression) {
  const auto schema = arrow::schema({});
  const auto batch = arrow::RecordBatch::Make(schema, 1, arrow::ArrayVector{});
  const auto parsed = Expression::Parse(Concat("cast(", expression, " as string)"));
  REQUIRE_MESSAGE(parsed.ok(), parsed.status().ToString());
  const auto bound = parsed->Bind(*schema);
  REQUIRE_MESSAGE(bound.ok(), bound.status().ToString());
  const auto result = bound->Evaluate(*batch);
  REQUIRE_MESSAGE(result.ok(), result.status().ToString());
  return static_cast<const arrow::StringArray&>(**result).GetString(0);
}

}  // namespace

TEST_CASE("every example of the reference gives the result beside it") {
  for (const FunctionFamily& family : AllFunctions()) {
    for (const Function& function : family.functions) {
      if (!function.example.empty())
        CHECK_MESSAGE(Shown(function.example) == function.result, function.example);
    }
  }
}

TEST_CASE("names of functions are unique and documented") {
  std::set<std::string> names;
  for (const FunctionFamily& family : AllFunctions()) {
    CHECK_FALSE(family.doc.empty());
    for (const Function& function : family.functions) {
      CHECK_MESSAGE(names.insert(function.name).second, function.name);
      CHECK_MESSAGE(std::string_view(".?)").find(function.doc.back()) != std::string_view::npos,
                    function.name);
      CHECK(FindFunction(function.name) == &function);
    }
  }
}

// GNOMON_TEST_UPDATE=1 writes the reference into the guide instead.
TEST_CASE("the guide holds the present reference") {
  std::ifstream file(kGuide);
  REQUIRE(file.good());
  const std::string guide{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  const size_t mark = guide.find(kMark);
  REQUIRE(mark != std::string::npos);
  const std::string introduction = guide.substr(0, mark + kMark.size());
  const bool current = guide == introduction + FunctionReference();
  if (std::getenv("GNOMON_TEST_UPDATE") != nullptr) {
    std::ofstream(kGuide) << introduction << FunctionReference();
    return;
  }
  CHECK_MESSAGE(current, "write docs/guide/expressions.md anew: GNOMON_TEST_UPDATE=1 expr_test");
}

}  // namespace gnomon::expr
