#include <filesystem>

#include <doctest/doctest.h>

#include "base/files.h"
#include "base/time.h"
#include "feature/definition/repository.h"
#include "tests/support/status.h"
#include "tests/support/temporary.h"

namespace gnomon::feature {

namespace {

using test::ValueOf;

Result<Definitions> Parse(std::string_view yaml) {
  GNOMON_ASSIGN_OR_RETURN(const ConfigNode root, ParseConfig(yaml, "features.yaml"));
  return ParseDefinitions(root);
}

}  // namespace

TEST_CASE("a features file with every key is read into plain values") {
  const Definitions all =
      Complete(ValueOf(Parse(ValueOf(ReadFile("fuzz/corpus/definitions/drivers.yaml")))));
  CHECK_OK(Validate(all));
  const Entity& driver = *all.FindEntity("driver");
  CHECK(driver.join_key == "driver_id");
  CHECK(driver.tags == Tags{{"team", "rides"}});
  CHECK(driver.owner == "a@b.c");
  CHECK(all.FindEntity("city")->value_type == ValueType{ValueType::kString});

  const DataSource& trips = *all.FindDataSource("trips");
  CHECK(trips.path == "data/trips.parquet");
  CHECK(trips.created_timestamp_column == "created");
  CHECK(trips.field_mapping == std::map<std::string, std::string>{{"drv", "driver_id"}});
  CHECK(all.FindDataSource("weather")->file_format == "csv");

  const FeatureView& stats = *all.FindFeatureView("driver_stats");
  CHECK(stats.ttl == kMicrosPerDay);
  CHECK(stats.transformations == std::vector<Transformation>{{"long_trip", "distance > 30"}});
  CHECK(stats.schema.size() == 2);
  CHECK(stats.FindField("driver_id") == nullptr);
  CHECK(stats.FindField("conv_rate")->tags == Tags{{"pii", "no"}});

  const FeatureView& windows = *all.FindFeatureView("driver_windows");
  REQUIRE(windows.aggregations.size() == 4);
  CHECK(windows.aggregations[0].name == "mean_distance_604800s");
  CHECK(windows.aggregations[1].k == 3);
  CHECK(windows.aggregations[2].quantile == 0.9);
  CHECK(windows.aggregations[2].slide_interval == int64_t{3600} * kMicrosPerSecond);
  CHECK(windows.aggregations[3].name == "std_fare");
  CHECK(windows.aggregations[3].ddof == 0);
  CHECK_FALSE(windows.LongestWindow().has_value());

  const OnDemandFeatureView& cost = *all.FindOnDemandFeatureView("trip_cost");
  CHECK(cost.request_schema.at(0).name == "distance_km");
  CHECK(cost.expressions.at(0).name == "cost");

  const FeatureService& some = *all.FindFeatureService("some");
  REQUIRE(some.features.size() == 2);
  CHECK(some.features[0].features == std::vector<std::string>{"conv_rate", "long_trip"});
  CHECK(some.features[1].name_alias == "home");
  CHECK(some.features[1].join_key_map.at("city_name") == "home_city");
}

TEST_CASE("an empty features file defines nothing") {
  CHECK(ValueOf(Parse("")).ViewNames().empty());
  CHECK(ValueOf(Parse("entities:\n")).entities.empty());
}

TEST_CASE("transformations may be a list too, and keep their order") {
  const auto all = ValueOf(Parse(R"(
feature_views:
  - {name: v, source: s, transformations: [{name: b, expression: x + 1}, {name: a, expression: b * 2}]}
)"));
  CHECK(all.feature_views[0].transformations ==
        std::vector<Transformation>{{"b", "x + 1"}, {"a", "b * 2"}});
}

TEST_CASE("an unknown key is an error with file, line and nearest key") {
  const auto error = test::ErrorOf(Parse("entities:\n  - name: driver\n    join_kye: driver_id\n"));
  CHECK_ERROR(error, ErrorKind::kUser, "did you mean 'join_key'?");
  CHECK(LocationOf(error).file == "features.yaml");
  CHECK(LocationOf(error).line == 3);
  CHECK_ERROR(Parse("feature_view: []"), ErrorKind::kUser, "did you mean 'feature_views'?");
  CHECK_ERROR(Parse("feature_views: [{name: v, sorce: s}]"), ErrorKind::kUser,
              "did you mean 'source'?");
}

TEST_CASE("wrong values name the key and its place") {
  const auto wrong = [](std::string_view yaml, ErrorKind kind, std::string_view part) {
    CAPTURE(yaml);
    const auto result = Parse(yaml);
    CHECK_ERROR(result, kind, part);
    CHECK_ERROR(result, kind, "features.yaml:");
  };
  using enum ErrorKind;
  wrong("entities: [{name: e, value_type: Int46}]", kUser, "entities[0].value_type");
  wrong("entities: [{name: e, join_keys: [a, b]}]", kUser, "exactly one join key");
  wrong("entities: [{name: e, join_keys: [a], join_key: a}]", kUser, "keep one");
  wrong("entities: [{join_key: a}]", kUser, "name is missing");
  wrong("entities: [driver]", kUser, "expected a mapping");
  wrong("entities: driver", kUser, "entities");
  wrong("[1, 2]", kUser, "expected a mapping");
  wrong("data_sources: [{name: s, type: kafka}]", kUnsupported, "'kafka'");
  wrong("feature_views: [{name: v, ttl: soon}]", kUser, "feature_views[0].ttl");
  wrong("feature_views: [{name: v, online: maybe}]", kUser, "feature_views[0].online");
  wrong("feature_views: [{name: v, schema: [x]}]", kUser, "expected a mapping");
  wrong("feature_views: [{name: v, plugins: [a]}]", kUnsupported, "'plugins'");
  wrong("plugins: [libx.so]", kUser, "a key of feature_store.yaml");
  wrong("stream_feature_views: []", kUnsupported, "'stream_feature_views'");
  wrong("feature_views: [{name: v, aggregations: [{column: x, function: avrage}]}]", kUser,
        "aggregations[0].function");
  wrong("feature_views: [{name: v, aggregations: [{column: x, function: mean, k: 3}]}]", kUser,
        "only last_k takes k");
  wrong("feature_views: [{name: v, aggregations: [{column: x, function: std, ddof: -1}]}]", kUser,
        "out of range");
  wrong("feature_views: [{name: v, aggregations: [{function: mean}]}]", kUser, "column is missing");
  wrong("on_demand_feature_views: [{name: v, features: [{name: x}]}]", kUser,
        "expression is missing");
  wrong("on_demand_feature_views: [{name: v, udf: f}]", kUnsupported, "'udf'");
  wrong("feature_services: [{name: s, features: ['a:b:c']}]", kUser, "not a feature reference");
  wrong("feature_services: [{name: s, features: [{features: [a]}]}]", kUser, "view is missing");
}

TEST_CASE("keys of Feast without effect here are no errors") {
  CHECK_OK(
      Parse("feature_views: [{name: v, source: s, offline: true, version: latest, udf: null}]"));
  CHECK_OK(Parse("feature_services: [{name: s, features: [v], precompute_online: false}]"));
}

TEST_CASE("definitions are loaded from one file or from a folder of them, and validated together") {
  const auto folder = test::MakeTemporaryFolder();
  CHECK_ERROR(LoadDefinitions(folder.path()), ErrorKind::kNotFound, "gnomon init");
  test::RequireOk(MakeFolders(folder.path() + "/features"));
  test::RequireOk(
      WriteFileAtomic(folder.path() + "/features/a.yaml",
                      "feature_views:\n  - name: v\n    entities: [e]\n    source: s\n"
                      "    schema: [{name: id, dtype: Int64}, {name: x, dtype: Int64}]\n"));
  test::RequireOk(WriteFileAtomic(folder.path() + "/features/b.yml",
                                  "entities: [{name: e, join_key: id}]\n"
                                  "data_sources: [{name: s, path: x.parquet}]\n"));
  const auto all = ValueOf(LoadDefinitions(folder.path()));
  CHECK(all.FindFeatureView("v")->schema.size() == 1);

  test::RequireOk(
      WriteFileAtomic(folder.path() + "/features/c.yaml", "\n\nentities: [{name: e}]\n"));
  const auto twice = test::ErrorOf(LoadDefinitions(folder.path()));
  CHECK_ERROR(twice, ErrorKind::kUser, "the name stands twice");
  CHECK(LocationOf(twice).file.ends_with("c.yaml"));
  CHECK(LocationOf(twice).line == 3);

  test::RequireOk(WriteFileAtomic(folder.path() + "/features.yaml", ""));
  CHECK_ERROR(LoadDefinitions(folder.path()), ErrorKind::kUser, "both");
}

}  // namespace gnomon::feature
