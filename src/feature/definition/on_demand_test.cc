#include <doctest/doctest.h>

#include "feature/definition/builder.h"
#include "tests/support/status.h"

namespace gnomon::feature {

namespace {

using test::ValueOf;

FeatureView Plain(const std::string& name, const std::vector<std::string>& features) {
  FeatureViewBuilder builder(name);
  builder.Source("s");
  for (const std::string& feature : features) builder.Feature(feature, "Int64");
  return ValueOf(builder.Build());
}

OnDemandFeatureView OnDemand(const std::string& name, const std::vector<std::string>& sources,
                             const std::string& expression) {
  return ValueOf(OnDemandFeatureViewBuilder(name)
                     .Sources(sources)
                     .Feature(name + "_out", "", expression)
                     .Build());
}

Definitions With(std::vector<OnDemandFeatureView> views) {
  Definitions all;
  DataSource source;
  source.name = "s";
  source.path = "x.parquet";
  all.data_sources = {source};
  all.feature_views = {Plain("a", {"x", "y"}), Plain("b", {"x", "z"})};
  all.on_demand_feature_views = std::move(views);
  return all;
}

}  // namespace

TEST_CASE("an expression reads features by bare name, by view__feature, and request fields") {
  OnDemandFeatureView view = OnDemand("v", {"a", "b"}, "y + a__x + z * r");
  view.request_schema = {{"r", {ValueType::kInt32}, {}, {}}};
  const Definitions all = With({view});
  CHECK_OK(Validate(all));
  const auto inputs = ValueOf(OnDemandInputs(all, view));
  REQUIRE(inputs.size() == 4);
  CHECK(inputs[0] == OnDemandInput{"a__x", "a", "x", {ValueType::kInt64}});
  CHECK(inputs[1] == OnDemandInput{"r", "", "r", {ValueType::kInt32}});
  CHECK(inputs[2] == OnDemandInput{"y", "a", "y", {ValueType::kInt64}});
  CHECK(inputs[3] == OnDemandInput{"z", "b", "z", {ValueType::kInt64}});
}

TEST_CASE("a name that two sources have is ambiguous, and the error says how to name one") {
  CHECK_ERROR(Validate(With({OnDemand("v", {"a", "b"}, "x + 1")})), ErrorKind::kUser, "as in a__x");
  CHECK_OK(Validate(With({OnDemand("v", {"a"}, "x + 1")})));
}

TEST_CASE("on-demand views may read other on-demand views, sources first") {
  const Definitions all = With({OnDemand("w", {"v"}, "v_out * 2"), OnDemand("v", {"a"}, "x + y")});
  CHECK_OK(Validate(all));
  CHECK(ValueOf(OnDemandOrder(all, {"w"})) == std::vector<std::string>{"v", "w"});
  CHECK(ValueOf(OnDemandOrder(all, {"a"})).empty());
}

TEST_CASE("a cycle of on-demand views is told with its path") {
  const Definitions all = With({OnDemand("u", {"v"}, "1 + 1"), OnDemand("v", {"w"}, "1 + 1"),
                                OnDemand("w", {"v"}, "1 + 1")});
  CHECK_ERROR(Validate(all), ErrorKind::kUser, "v -> w -> v");
  CHECK_ERROR(Validate(With({OnDemand("v", {"v"}, "1 + 1")})), ErrorKind::kUser, "v -> v");
}

TEST_CASE("an unknown column of an on-demand expression is pointed at in its text") {
  const Definitions all = With({OnDemand("v", {"a"}, "coalesce(x, 0) * surprise + 1")});
  CHECK_ERROR(Validate(all), ErrorKind::kUser,
              "feature 'v_out': unknown column: surprise\n  coalesce(x, 0) * surprise + 1\n"
              "                   ^");
}

TEST_CASE("columns of a source whose schema is not known yet are left to ResolveSchemas") {
  Definitions all = With({OnDemand("v", {"a"}, "surprise + 1")});
  CHECK_ERROR(Validate(all), ErrorKind::kUser, "unknown column: surprise");
  all.feature_views[0].schema.clear();
  CHECK_OK(Validate(all));
}

}  // namespace gnomon::feature
