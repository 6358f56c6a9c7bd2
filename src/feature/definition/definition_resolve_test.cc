#include <arrow/type.h>
#include <doctest/doctest.h>

#include "base/config.h"
#include "feature/definition/repository.h"
#include "tests/support/status.h"

namespace gnomon::feature {

namespace {

using test::ValueOf;
using Schemas = std::map<std::string, std::shared_ptr<arrow::Schema>>;

std::shared_ptr<arrow::DataType> Time() { return arrow::timestamp(arrow::TimeUnit::NANO); }

Schemas Trips(const arrow::FieldVector& more = {}) {
  arrow::FieldVector fields = {
      arrow::field("driver_id", arrow::int64()),
      arrow::field("event_timestamp", Time()),
      arrow::field("created", Time()),
      arrow::field("trips", arrow::int32()),
      arrow::field("rate", arrow::float32()),
      arrow::field("city", arrow::dictionary(arrow::int8(), arrow::utf8()))};
  fields.insert(fields.end(), more.begin(), more.end());
  return {{"s", arrow::schema(fields)}};
}

// A view of `s` with more YAML in it.
Result<Definitions> Resolve(const std::string& view, const Schemas& schemas = Trips(),
                            const std::string& source = "created_timestamp_column: created",
                            const std::string& rest = "") {
  const std::string yaml = Concat("entities: [{name: driver, join_key: driver_id}]\n",
                                  "data_sources: [{name: s, path: trips.parquet, ", source, "}]\n",
                                  "feature_views: [{name: v, source: s, ", view, "}]\n", rest);
  GNOMON_ASSIGN_OR_RETURN(const ConfigNode root, ParseConfig(yaml, "features.yaml"));
  GNOMON_ASSIGN_OR_RETURN(Definitions parsed, ParseDefinitions(root));
  return ResolveSchemas(std::move(parsed), schemas);
}

std::string SchemaOf(const Definitions& all) {
  std::string text;
  for (const Field& field : all.feature_views.at(0).schema) {
    text += Concat(text.empty() ? "" : ", ", field.name, " ", field.dtype.ToString());
  }
  return text;
}

}  // namespace

TEST_CASE("a view without a schema takes all columns but join keys and times") {
  CHECK(SchemaOf(ValueOf(Resolve("entities: [driver]"))) ==
        "trips Int32, rate Float32, city String");
  CHECK(SchemaOf(ValueOf(Resolve("entities: [driver], transformations: {per: trips / 2}"))) ==
        "trips Int32, rate Float32, city String, per Float64");
}

TEST_CASE("a declared schema keeps its order and may be wider than the columns") {
  CHECK(SchemaOf(ValueOf(Resolve("entities: [driver], schema: [{name: rate, dtype: Float64}, "
                                 "{name: trips, dtype: Int64}, {name: city}]"))) ==
        "rate Float64, trips Int64, city String");
  CHECK_ERROR(Resolve("schema: [{name: rate, dtype: Int64}]"), ErrorKind::kUser,
              "feature 'rate' is declared Int64, but its column is Float32");
}

TEST_CASE("an unknown column names view, file and the nearest column") {
  const auto error = Resolve("schema: [{name: trps, dtype: Int64}]");
  CHECK_ERROR(error, ErrorKind::kUser,
              "feature view 'v': feature 'trps' is no column of 'trips.parquet'");
  CHECK_ERROR(error, ErrorKind::kUser, "did you mean 'trips'?");
  CHECK_ERROR(Resolve("aggregations: [{column: trps, function: sum}]"), ErrorKind::kUser,
              "did you mean 'trips'?");
  CHECK_ERROR(Resolve("filter: trps > 1"), ErrorKind::kUser, "feature view 'v': filter");
  CHECK_ERROR(Resolve("transformations: {y: trps + 1}"), ErrorKind::kUser, "transformation 'y'");
  CHECK_ERROR(Resolve("ttl: 1d", Trips(), "timestamp_field: event_timestmp"), ErrorKind::kUser,
              "did you mean 'event_timestamp'?");
  CHECK_ERROR(Resolve("ttl: 1d", Trips(), "field_mapping: {trps: x}"), ErrorKind::kUser,
              "did you mean 'trips'?");
}

TEST_CASE("the event time is the only timestamp, or event_timestamp among several") {
  const auto resolve = [](const arrow::FieldVector& fields, const std::string& source) {
    return Resolve("ttl: 1d", {{"s", arrow::schema(fields)}}, source);
  };
  const auto x = arrow::field("x", arrow::int64());
  const auto a = arrow::field("a", Time());
  const auto b = arrow::field("b", Time());
  const auto day = arrow::field("day", arrow::date32());
  CHECK(ValueOf(resolve({x, a}, "owner: me")).data_sources[0].timestamp_field == "a");
  CHECK(ValueOf(resolve({x, a, day}, "owner: me")).data_sources[0].timestamp_field == "a");
  CHECK(ValueOf(resolve({x, day}, "owner: me")).data_sources[0].timestamp_field == "day");
  CHECK(
      ValueOf(resolve({x, a, b}, "created_timestamp_column: a")).data_sources[0].timestamp_field ==
      "b");
  CHECK(ValueOf(resolve({x, a, arrow::field("event_timestamp", Time())}, "owner: me"))
            .data_sources[0]
            .timestamp_field == "event_timestamp");
  CHECK_ERROR(resolve({x, a, b}, "owner: me"), ErrorKind::kUser, "may be the event time: a, b");
  CHECK_ERROR(resolve({x}, "owner: me"), ErrorKind::kUser, "has no timestamp column");
  CHECK_ERROR(resolve({x, a}, "timestamp_field: x"), ErrorKind::kUser,
              "is int64, not a timestamp or date");
  CHECK_ERROR(resolve({x, x, a}, "owner: me"), ErrorKind::kUser, "column 'x' stands twice");
}

TEST_CASE("a field mapping renames columns for everything but the source's own time columns") {
  const auto all =
      ValueOf(Resolve("entities: [driver], filter: journeys > 0", Trips(),
                      "timestamp_field: event_timestamp, created_timestamp_column: created, "
                      "field_mapping: {trips: journeys, event_timestamp: at}"));
  CHECK(SchemaOf(all) == "journeys Int32, rate Float32, city String");
  CHECK_ERROR(Resolve("ttl: 1d", Trips(), "field_mapping: {trips: rate}"), ErrorKind::kUser,
              "which is a column already");
}

TEST_CASE("join keys must be there and have the entity's type") {
  const auto with_key = [](const std::shared_ptr<arrow::DataType>& type) -> Schemas {
    return {{"s", arrow::schema({arrow::field("driver_id", type), arrow::field("t", Time()),
                                 arrow::field("x", arrow::int64())})}};
  };
  CHECK_OK(Resolve("entities: [driver]", with_key(arrow::int16()), "owner: me"));
  CHECK_ERROR(Resolve("entities: [driver]", with_key(arrow::utf8()), "owner: me"), ErrorKind::kUser,
              "write value_type: String at the entity");
  CHECK_ERROR(
      Resolve(
          "entities: [driver]",
          {{"s", arrow::schema({arrow::field("t", Time()), arrow::field("x", arrow::int64())})}},
          "owner: me"),
      ErrorKind::kUser, "join key 'driver_id' is no column");
  CHECK_OK(Resolve(
      "entities: [driver], transformations: {driver_id: x + 1}",
      {{"s", arrow::schema({arrow::field("t", Time()), arrow::field("x", arrow::int64())})}},
      "owner: me"));
}

TEST_CASE("a window view's features are its aggregates with their result types") {
  CHECK(SchemaOf(ValueOf(Resolve(
            "entities: [driver], aggregations: [{column: trips, function: sum, time_window: 1d}, "
            "{column: trips, function: mean}, {column: rate, function: sum, name: r}, "
            "{column: city, function: last_k, k: 2, name: cities}, {column: city, function: "
            "count}]"))) ==
        "sum_trips_86400s Int64, mean_trips Float64, r Float64, cities Array(String), count_city "
        "Int64");
  CHECK_ERROR(Resolve("aggregations: [{column: city, function: mean}]"), ErrorKind::kUser,
              "aggregation 'mean_city'");
  const auto described =
      ValueOf(Resolve("aggregations: [{column: trips, function: max, name: top}], "
                      "schema: [{name: top, dtype: Int64, description: best}]"));
  CHECK(SchemaOf(described) == "top Int64");
  CHECK(described.feature_views[0].schema[0].description == "best");
}

TEST_CASE("a filter is a condition and a transformation a new column") {
  CHECK_ERROR(Resolve("filter: trips + 1"), ErrorKind::kUser, "the filter gives int");
  CHECK_ERROR(Resolve("transformations: {trips: trips + 1}"), ErrorKind::kUser,
              "has the name of a column");
}

TEST_CASE("a column that no feature type holds is an error that says how to leave it out") {
  const auto schemas = Trips({arrow::field("price", arrow::decimal128(9, 2))});
  CHECK_ERROR(Resolve("entities: [driver]", schemas), ErrorKind::kUser,
              "list the features that you want");
  CHECK_OK(Resolve("schema: [{name: rate}]", schemas));
}

TEST_CASE("a column of nulls has the type that is declared, and none of its own") {
  const auto schemas = Trips({arrow::field("later", arrow::null())});
  const auto declared = ValueOf(Resolve("schema: [{name: later, dtype: Float64}]", schemas));
  CHECK(SchemaOf(declared) == "later Float64");
  CHECK_ERROR(Resolve("schema: [{name: later}]", schemas), ErrorKind::kUser, "of type null");
}

TEST_CASE(
    "on-demand types that are left out follow from resolved sources, through other on-demand "
    "views") {
  const std::string rest =
      "on_demand_feature_views:\n"
      "  - {name: w, sources: [o], features: [{name: half, expression: total / 2}]}\n"
      "  - {name: o, sources: [v], features: [{name: total, expression: sum_trips + 1}]}\n"
      "feature_services: [{name: all, features: [v, 'w:half']}]\n";
  const std::string view = "entities: [driver], aggregations: [{column: trips, function: sum}]";
  const auto all = ValueOf(Resolve(view, Trips(), "created_timestamp_column: created", rest));
  CHECK(all.FindOnDemandFeatureView("o")->schema[0].dtype == ValueType{ValueType::kInt64});
  CHECK(all.FindOnDemandFeatureView("w")->schema[0].dtype == ValueType{ValueType::kDouble});
  CHECK_ERROR(Resolve(view, Trips(), "created_timestamp_column: created",
                      "feature_services: [{name: all, features: ['v:sum_trip']}]\n"),
              ErrorKind::kUser, "did you mean 'sum_trips'?");
}

}  // namespace gnomon::feature
