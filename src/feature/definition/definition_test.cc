#include "feature/definition/definition.h"

#include <functional>

#include <doctest/doctest.h>

#include "base/time.h"
#include "feature/definition/builder.h"
#include "tests/support/status.h"

namespace gnomon::feature {

namespace {

using test::ValueOf;

Definitions Valid() {
  Definitions all;
  all.entities = {ValueOf(EntityBuilder("driver").JoinKey("driver_id").Build()),
                  ValueOf(EntityBuilder("city").Type("String").Build())};
  DataSource source;
  source.name = "trips";
  source.path = "trips.parquet";
  all.data_sources = {source};
  all.feature_views = {ValueOf(FeatureViewBuilder("stats")
                                   .Entities({"driver", "city"})
                                   .Source("trips")
                                   .Ttl("1d")
                                   .Feature("rate", "Float64")
                                   .Feature("trips", "Int64")
                                   .Build()),
                       ValueOf(FeatureViewBuilder("windows")
                                   .Entities({"driver"})
                                   .Source("trips")
                                   .Aggregate("trips", "mean", "7d", "mean_trips")
                                   .Build())};
  all.on_demand_feature_views = {ValueOf(OnDemandFeatureViewBuilder("ratio")
                                             .Sources({"stats"})
                                             .Request("hours", "Float64")
                                             .Feature("per_hour", "Float64", "trips / hours")
                                             .Build())};
  FeatureService service;
  service.name = "service";
  service.features = {{"stats", "", {"rate"}, {}}, {"ratio", "", {}, {}}};
  all.feature_services = {service};
  return all;
}

}  // namespace

TEST_CASE("definitions that agree are valid") { CHECK_OK(Validate(Valid())); }

TEST_CASE("what is wrong is told with the object's name and the nearest right one") {
  struct Case {
    std::function<void(Definitions*)> spoil;
    std::string_view part;
  };
  const auto view = [](Definitions* all) -> FeatureView& { return all->feature_views[0]; };
  const std::vector<Case> cases = {
      {[](auto* all) { all->entities[1].name = "driver"; },
       "entity 'driver': the name stands twice"},
      {[](auto* all) { all->entities[0].name = ""; }, "the name is empty"},
      {[](auto* all) { all->entities[0].name = "a:b"; }, "the name holds ':'"},
      {[](auto* all) { all->entities[0].name = "__dummy"; }, "reserved"},
      {[](auto* all) { all->entities[0].description = "\xff"; }, "not valid UTF-8"},
      {[](auto* all) { all->entities[0].tags["gnomon.spec"] = "{}"; }, "are reserved"},
      {[](auto* all) { all->entities[0].value_type = {ValueType::kDouble}; },
       "a join key cannot be Float64"},
      {[](auto* all) { all->data_sources[0].path = ""; }, "path is missing"},
      {[](auto* all) { all->data_sources[0].file_format = "xlsx"; }, "unknown file_format 'xlsx'"},
      {[](auto* all) {
         all->data_sources[0].field_mapping = {{"a", "x"}, {"b", "x"}};
       },
       "maps both 'a' and 'b'"},
      {[&](auto* all) { view(all).source = "trip"; }, "did you mean 'trips'?"},
      {[&](auto* all) { view(all).entities = {"drivre"}; }, "did you mean 'driver'?"},
      {[](auto* all) { all->entities[1].join_key = "driver_id"; }, "share the join key"},
      {[&](auto* all) { view(all).ttl = -1; }, "ttl is negative"},
      {[&](auto* all) {
         view(all).schema.push_back({"rate", {}, {}, {}});
       },
       "field 'rate' stands twice"},
      {[&](auto* all) {
         view(all).schema.push_back({"driver_id", {ValueType::kString}, {}, {}});
       },
       "join key 'driver_id' is String in the schema"},
      {[&](auto* all) { view(all).filter = "rate >"; }, "feature view 'stats': filter"},
      {[&](auto* all) {
         view(all).transformations = {{"y", "1 +"}};
       },
       "transformation 'y'"},
      {[](auto* all) { all->feature_views[1].name = "stats"; }, "the name stands twice"},
      {[](auto* all) { all->feature_views[1].name = "Stats"; }, "only in case"},
      {[](auto* all) { all->on_demand_feature_views[0].name = "stats"; },
       "another view has this name"},
      {[](auto* all) { all->feature_views[1].aggregations[0].time_window = 0; },
       "time_window is not positive"},
      {[](auto* all) { all->feature_views[1].aggregations[0].k = 0; }, "k is less than 1"},
      {[](auto* all) { all->feature_views[1].aggregations[0].quantile = 1.5; },
       "quantile is not in [0, 1]"},
      {[](auto* all) {
         all->feature_views[1].aggregations.push_back(all->feature_views[1].aggregations[0]);
       },
       "aggregation 'mean_trips' stands twice"},
      {[](auto* all) {
         all->feature_views[1].schema = {{"mean_trip", {}, {}, {}}};
       },
       "did you mean 'mean_trips'?"},
      {[](auto* all) { all->on_demand_feature_views[0].sources = {"stat"}; },
       "did you mean 'stats'?"},
      {[](auto* all) {
         all->on_demand_feature_views[0].expressions[0].expression = "trps / hours";
       },
       "did you mean 'trips'?"},
      {[](auto* all) { all->on_demand_feature_views[0].schema[0].dtype = {ValueType::kInt64}; },
       "is declared Int64, but its expression gives Float64"},
      {[](auto* all) { all->on_demand_feature_views[0].schema.clear(); }, "it has no features"},
      {[](auto* all) { all->feature_services[0].features[0].view = "stts"; },
       "did you mean 'stats'?"},
      {[](auto* all) { all->feature_services[0].features[0].features = {"rte"}; },
       "did you mean 'rate'?"},
      {[](auto* all) {
         all->feature_services[0].features[0].features = {"rate", "rate"};
       },
       "stands twice"},
      {[](auto* all) {
         all->feature_services[0].features.push_back({"stats", "", {"trips"}, {}});
       },
       "name_alias"},
      {[](auto* all) {
         all->feature_services[0].features[0].join_key_map = {{"drivr_id", "x"}};
       },
       "did you mean 'driver_id'?"},
      {[](auto* all) {
         all->feature_services[0].features[1].join_key_map = {{"a", "b"}};
       },
       "no meaning"},
      {[](auto* all) { all->feature_services[0].features.clear(); }, "it has no features"},
  };
  for (const Case& item : cases) {
    Definitions all = Valid();
    item.spoil(&all);
    CAPTURE(item.part);
    CHECK_ERROR(Validate(all), ErrorKind::kUser, item.part);
  }
}

TEST_CASE("a source type that nothing reads is unsupported") {
  Definitions all = Valid();
  all.data_sources[0].type = "bigquery";
  CHECK_ERROR(Validate(all), ErrorKind::kUnsupported, "'bigquery'");
}

TEST_CASE(
    "completing takes join keys out of schemas and names aggregates, and changes nothing twice") {
  Definitions all = Valid();
  all.feature_views[0].schema.push_back({"driver_id", {ValueType::kInt64}, {}, {}});
  all.feature_views[0].schema.push_back({"city", {}, {}, {}});
  all.feature_views[1].aggregations[0].name = "";
  const Definitions once = Complete(all);
  CHECK(once.feature_views[0].schema.size() == 2);
  CHECK(once.feature_views[1].aggregations[0].name == "mean_trips_604800s");
  CHECK(Complete(once).feature_views == once.feature_views);
}

TEST_CASE("the longest window is absent as soon as one aggregate covers the whole past") {
  FeatureView view = Valid().feature_views[1];
  view.aggregations.push_back(view.aggregations[0]);
  view.aggregations[1].time_window = kMicrosPerDay;
  CHECK(view.LongestWindow() == 7 * kMicrosPerDay);
  view.aggregations[1].time_window.reset();
  CHECK_FALSE(view.LongestWindow().has_value());
}

TEST_CASE("a feature reference has a view and a feature") {
  const FeatureRef ref = ValueOf(FeatureRef::Parse(" stats:rate "));
  CHECK(ref == FeatureRef{"stats", "rate"});
  CHECK(ref.ToString() == "stats:rate");
  for (const auto* text : {"", "stats", ":rate", "stats:", "a:b:c"}) {
    CHECK_ERROR(FeatureRef::Parse(text), ErrorKind::kUser, "not a feature reference");
  }
}

TEST_CASE("join keys come in the order of the view's entities") {
  const Definitions all = Valid();
  CHECK(ValueOf(JoinKeys(all, all.feature_views[0])) ==
        std::vector<std::string>{"driver_id", "city"});
  FeatureView lost = all.feature_views[0];
  lost.entities = {"cty"};
  CHECK_ERROR(JoinKeys(all, lost), ErrorKind::kUser, "did you mean 'city'?");
}

TEST_CASE("a builder gives the first mistake when it builds") {
  CHECK_ERROR(EntityBuilder("e").Type("Int46").Type("x").Build(), ErrorKind::kUser, "'Int46'");
  CHECK_ERROR(FeatureViewBuilder("v").Ttl("soon").Build(), ErrorKind::kUser, "feature view 'v'");
  CHECK_ERROR(FeatureViewBuilder("v").Aggregate("x", "avrage", "1d").Build(), ErrorKind::kUser,
              "avrage");
  const auto lifetime = ValueOf(FeatureViewBuilder("v").Aggregate("x", "count", "").Build());
  CHECK(lifetime.aggregations[0].name == "count_x");
}

}  // namespace gnomon::feature
