#include "expr/predicate.h"

#include "tests/support/status.h"

namespace gnomon::expr {

namespace {

using test::ValueOf;

Expression Parse(std::string_view text) { return ValueOf(Expression::Parse(text)); }

std::vector<std::string> Texts(const std::vector<Expression>& expressions) {
  std::vector<std::string> texts;
  for (const Expression& expression : expressions) texts.push_back(expression.text());
  return texts;
}

std::vector<std::string> BoundTexts(std::string_view text) {
  std::vector<std::string> texts;
  for (const Bound& bound : BoundsOf(Parse(text))) texts.push_back(bound.comparison.text());
  return texts;
}

using Lines = std::vector<std::string>;

TEST_CASE("conjuncts are the parts of the ands at the top") {
  CHECK(Texts(Conjuncts(Parse("a > 1"))) == Lines{"a > 1"});
  CHECK(Texts(Conjuncts(Parse("a > 1 and (b or c) and ((d) = 2)"))) ==
        Lines{"a > 1", "b or c", "(d) = 2"});
  CHECK(Texts(Conjuncts(Parse("(a and b) and not (c and d)"))) == Lines{"a", "b", "not (c and d)"});
  CHECK(Texts(Conjuncts(Parse("x between 1 and 2 and y"))) == Lines{"x between 1 and 2", "y"});
}

TEST_CASE("bounds are one-sided comparisons of a column with a constant") {
  CHECK(BoundTexts("a > 1 and 5 >= b") == Lines{"\"a\" > (1)", "\"b\" <= (5)"});
  CHECK(BoundTexts("a = -3") == Lines{"\"a\" >= (-3)", "\"a\" <= (-3)"});
  CHECK(BoundTexts("t between timestamp '2024-01-01' and timestamp '2024-02-01'") ==
        Lines{"\"t\" >= (timestamp '2024-01-01')", "\"t\" <= (timestamp '2024-02-01')"});
  CHECK(BoundTexts("a > 1 or 2 < a or a >= 3") ==
        Lines{"\"a\" > (1) or \"a\" > (2) or \"a\" >= (3)"});
  CHECK(BoundTexts("a > 1 or a < 0").empty());
  CHECK(BoundTexts("a > 1 or b > 1").empty());
  CHECK(BoundTexts("a > 1 or a = 0").empty());
  CHECK(BoundTexts("a > 1 or a is null").empty());
  CHECK(BoundTexts("a != 1 or b > 2").empty());
  CHECK(BoundTexts("a > b").empty());
  CHECK(BoundTexts("not a > 1").empty());
  CHECK(BoundTexts("a + 1 > 2").empty());
}

TEST_CASE("a bound says its side and its constant") {
  const auto bounds = BoundsOf(Parse("5 > a and b >= 1 + 1 and (c < 1 or c < 2)"));
  REQUIRE(bounds.size() == 3);
  CHECK(bounds[0].is_upper);
  CHECK(bounds[0].constant == "5");
  CHECK(!bounds[1].is_upper);
  CHECK(bounds[1].constant == "1 + 1");
  CHECK(bounds[2].is_upper);
  CHECK(bounds[2].constant.empty());
}

TEST_CASE("an expression that may fail is told from one that cannot") {
  CHECK(NeverFails(Parse("a > 1 and b in (1, 2) or c is not null and not (d like 'x%')")));
  CHECK(NeverFails(Parse("a between 1 and 2")));
  CHECK(!NeverFails(Parse("a // b > 1")));
  CHECK(!NeverFails(Parse("a + 1 > 2")));
  CHECK(!NeverFails(Parse("cast(a as int64) = 1")));
}

TEST_CASE("columns are renamed in the text") {
  const auto renamed = ValueOf(RenameColumns(Parse("a > 1 and \"b c\" = 'a' or lower(a) = a"),
                                             {{"a", "x y"}, {"b c", "a"}}));
  CHECK(renamed.text() == "\"x y\" > 1 and \"a\" = 'a' or lower(\"x y\") = \"x y\"");
}

}  // namespace

}  // namespace gnomon::expr
