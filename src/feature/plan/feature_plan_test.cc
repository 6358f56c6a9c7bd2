#include "feature/plan/feature_plan.h"

#include <arrow/array.h>
#include <arrow/json/from_string.h>
#include <arrow/type.h>
#include <doctest/doctest.h>

#include "base/config.h"
#include "feature/definition/repository.h"
#include "tests/support/status.h"

namespace gnomon::feature {
namespace {

using test::ErrorOf;
using test::ValueOf;

constexpr const char* kDefinitions = R"yaml(
entities:
  - {name: location, join_keys: [location_id], value_type: INT64}
  - {name: nation, join_keys: [country], value_type: STRING}
data_sources:
  - {name: s, type: file, path: s.parquet, timestamp_field: ts}
feature_views:
  - name: weather
    entities: [location]
    source: s
    schema: [{name: temp, dtype: Float64}, {name: rain, dtype: Float64}, {name: wind, dtype: Float64}]
  - name: people
    entities: [location, nation]
    source: s
    schema: [{name: count, dtype: Int64}, {name: temp, dtype: Float64}]
  - name: globe
    entities: []
    source: s
    schema: [{name: day_length, dtype: Float64}]
on_demand_feature_views:
  - name: comfort
    sources: [weather, people]
    request: [{name: wish, dtype: Float64}]
    features:
      - {name: gap, dtype: Float64, expression: "wish - felt"}
      - {name: felt, dtype: Float64, expression: "weather__temp - wind / 2"}
      - {name: crowd, dtype: Int64, expression: "cast(count / 10 as int64)"}
feature_services:
  - name: trip
    features:
      - {view: weather, name_alias: origin, join_key_map: {location_id: from_id}, features: [temp]}
      - {view: weather, name_alias: target, join_key_map: {location_id: to_id}, features: [temp, rain]}
  - {name: gap_only, features: [{view: comfort, features: [gap]}]}
  - {name: wrong_key, features: [{view: weather, join_key_map: {location: from_id}}]}
)yaml";

std::shared_ptr<Definitions> Parse(const std::string& yaml = kDefinitions) {
  const ConfigNode root = ValueOf(ParseConfig(yaml, "features.yaml"));
  return std::make_shared<Definitions>(Complete(ValueOf(ParseDefinitions(root))));
}

Result<FeaturePlan> PlanOf(const std::vector<std::string>& refs, bool full_names = false) {
  return PlanFeatures(Parse(), refs, full_names);
}

std::string OutputNames(const FeaturePlan& plan) {
  std::vector<std::string> names;
  for (const PlannedOutput& output : plan.outputs) names.push_back(output.name);
  return Join(names, " ");
}

std::string FieldNames(const std::vector<Field>& fields) {
  std::vector<std::string> names;
  for (const Field& field : fields)
    names.push_back(Concat(field.name, ":", field.dtype.ToString()));
  return Join(names, " ");
}

std::shared_ptr<arrow::Array> Doubles(const std::string& json) {
  return ValueOf(arrow::json::ArrayFromJSONString(arrow::float64(), json));
}

std::string Replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t place = text.find(from);
  REQUIRE(place != std::string::npos);
  return text.replace(place, from.size(), to);
}

}  // namespace

TEST_CASE("outputs stand in request order and a view is read once for all its features") {
  const FeaturePlan plan = ValueOf(PlanOf({"weather:wind", "people:count", "weather:temp"}));
  CHECK(OutputNames(plan) == "wind count temp");
  REQUIRE(plan.views.size() == 2);
  CHECK(plan.views[0].alias == "weather");
  REQUIRE(plan.views[0].features.size() == 2);
  CHECK(plan.views[0].features[0]->name == "wind");
  CHECK(plan.views[0].features[1]->name == "temp");
  CHECK(plan.outputs[2].slot.index == 0);
  CHECK(plan.outputs[2].slot.feature == 1);
  CHECK(FieldNames(plan.entity_fields) == "location_id:Int64 country:String");
  CHECK(plan.expressions.empty());
  CHECK(plan.request_fields.empty());
}

TEST_CASE("a star stands for all features of a view, in its order") {
  CHECK(OutputNames(ValueOf(PlanOf({"weather:*"}))) == "temp rain wind");
  CHECK(OutputNames(ValueOf(PlanOf({"weather:*"}, true))) ==
        "weather__temp weather__rain weather__wind");
}

TEST_CASE("a view without entities needs no column of the entity rows") {
  const FeaturePlan plan = ValueOf(PlanOf({"globe:day_length"}));
  CHECK(plan.entity_fields.empty());
  CHECK(plan.views[0].join_keys.empty());
}

TEST_CASE("projections of one view under two aliases are two views with their own key columns") {
  const FeaturePlan plan = ValueOf(PlanFeatureService(Parse(), "trip", true));
  CHECK(plan.feature_service == "trip");
  CHECK(OutputNames(plan) == "origin__temp target__temp target__rain");
  REQUIRE(plan.views.size() == 2);
  CHECK(plan.views[0].join_keys == std::vector<std::string>{"location_id"});
  CHECK(plan.views[0].entity_columns == std::vector<std::string>{"from_id"});
  CHECK(plan.views[1].entity_columns == std::vector<std::string>{"to_id"});
  CHECK(FieldNames(plan.entity_fields) == "from_id:Int64 to_id:Int64");
}

TEST_CASE("a bare name that would stand twice is refused before anything is read") {
  const Status twice = ErrorOf(PlanOf({"weather:temp", "people:temp"}));
  CHECK_ERROR(twice, ErrorKind::kUser, "temp");
  CHECK(HintOf(twice).find("full feature names") != std::string::npos);
  CHECK_ERROR(PlanOf({"weather:temp", "weather:temp"}), ErrorKind::kUser, "temp");
  CHECK_ERROR(PlanFeatureService(Parse(), "trip"), ErrorKind::kUser, "feature service 'trip'");
  CHECK(OutputNames(ValueOf(PlanOf({"weather:temp", "people:temp"}, true))) ==
        "weather__temp people__temp");
}

TEST_CASE("a feature named as a join key of the request is refused") {
  const auto definitions = Parse(Replaced(kDefinitions, "name: day_length", "name: country"));
  const std::vector<std::string> refs = {"people:count", "globe:country"};
  CHECK_ERROR(PlanFeatures(definitions, refs), ErrorKind::kUser, "entity column");
  CHECK_OK(PlanFeatures(definitions, refs, true));
}

TEST_CASE("unknown names come with the nearest known one") {
  CHECK_ERROR(PlanOf({"wether:temp"}), ErrorKind::kNotFound, "did you mean 'weather'");
  CHECK_ERROR(PlanOf({"confort:gap"}), ErrorKind::kNotFound, "did you mean 'comfort'");
  CHECK_ERROR(PlanOf({"weather:tmep"}), ErrorKind::kNotFound, "did you mean 'temp'");
  CHECK_ERROR(PlanOf({"comfort:gpa"}), ErrorKind::kNotFound, "did you mean 'gap'");
  CHECK_ERROR(PlanFeatureService(Parse(), "tripp"), ErrorKind::kNotFound, "did you mean 'trip'");
  CHECK_ERROR(PlanFeatureService(Parse(), "wrong_key"), ErrorKind::kUser,
              "did you mean 'location_id'");
}

TEST_CASE("what is no reference, and a request for nothing, are refused") {
  for (const char* text : {"weather", "weather:", ":temp", ""}) {
    CAPTURE(text);
    CHECK_ERROR(PlanOf({text}), ErrorKind::kUser, "");
  }
  CHECK_ERROR(PlanOf({}), ErrorKind::kUser, "no features");
}

TEST_CASE("on-demand features bring their inputs along, which are no outputs") {
  const FeaturePlan plan = ValueOf(PlanOf({"comfort:crowd", "weather:rain"}));
  CHECK(OutputNames(plan) == "crowd rain");
  REQUIRE(plan.views.size() == 2);
  CHECK(plan.views[0].alias == "people");
  CHECK(plan.views[0].features[0]->name == "count");
  CHECK(plan.views[1].alias == "weather");
  CHECK(plan.request_fields.empty());
}

TEST_CASE("on-demand expressions run after those that they use, whatever their order in the file") {
  const FeaturePlan plan = ValueOf(PlanFeatureService(Parse(), "gap_only"));
  REQUIRE(plan.expressions.size() == 2);
  CHECK(plan.expressions[0].field->name == "felt");
  CHECK(plan.expressions[1].field->name == "gap");
  CHECK(OutputNames(plan) == "gap");
  CHECK(FieldNames(plan.request_fields) == "wish:Float64");
  CHECK(FieldNames(plan.entity_fields) == "location_id:Int64");

  const PlanInputs inputs{.views = {{Doubles("[20, null]"), Doubles("[6, 6]")}},
                          .request = {Doubles("[25, 25]")},
                          .num_rows = 2};
  REQUIRE(plan.views[0].features[0]->name == "temp");
  const auto columns = ValueOf(EvaluateOutputs(plan, inputs));
  REQUIRE(columns.size() == 1);
  CHECK(columns[0]->Equals(*Doubles("[8, null]")));
}

TEST_CASE("an expression that fails names its view, feature and row") {
  const auto definitions = Parse(Replaced(kDefinitions, "cast(count / 10 as int64)", "1 // count"));
  const FeaturePlan plan =
      ValueOf(PlanFeatures(definitions, std::vector<std::string>{"comfort:crowd"}));
  const PlanInputs inputs{
      .views = {{ValueOf(arrow::json::ArrayFromJSONString(arrow::int64(), "[1, 0]"))}},
      .request = {},
      .num_rows = 2};
  const Status error = ErrorOf(EvaluateOutputs(plan, inputs));
  CHECK_ERROR(error, ErrorKind::kUser, "comfort:crowd");
  CHECK(LocationOf(error).row == 1);
}

TEST_CASE("expressions that use each other are refused") {
  const auto definitions = Parse(Replaced(kDefinitions, "weather__temp - wind / 2", "gap + wind"));
  CHECK_ERROR(PlanFeatures(definitions, std::vector<std::string>{"comfort:gap"}), ErrorKind::kUser,
              "depends on itself");
}

TEST_CASE("a fingerprint changes with everything that changes a value, and with nothing else") {
  const auto of = [](const std::string& yaml) {
    return ValueOf(FingerprintOf(*Parse(yaml), "gap_only"));
  };
  const std::string now = of(kDefinitions);
  CHECK(now.size() == 64);
  CHECK(of(kDefinitions) == now);
  CHECK(of(Replaced(kDefinitions, "wind / 2", "wind / 3")) != now);
  CHECK(of(Replaced(kDefinitions, "name: weather\n", "name: weather\n    ttl: 1d\n")) != now);
  CHECK(of(Replaced(kDefinitions, "name: weather\n", "name: weather\n    filter: temp > 0\n")) !=
        now);
  CHECK(of(Replaced(kDefinitions, "name: weather\n", "name: weather\n    owner: somebody\n")) ==
        now);
  CHECK(of(Replaced(kDefinitions, "cast(count / 10 as int64)", "count")) == now);
  CHECK_ERROR(FingerprintOf(*Parse(), "none"), ErrorKind::kNotFound, "none");
}

}  // namespace gnomon::feature
