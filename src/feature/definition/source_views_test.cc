#include <arrow/type.h>
#include <doctest/doctest.h>

#include "base/config.h"
#include "feature/definition/repository.h"
#include "tests/support/status.h"

namespace gnomon::feature {

namespace {

using test::ValueOf;

constexpr const char* kBeginning = R"yaml(
entities: [{name: store, join_key: store_id}, {name: dept},
           {name: area, join_key: region, value_type: STRING}]
data_sources: [{name: sales, path: sales.parquet, created_timestamp_column: created}]
feature_views:
  - {name: raw, entities: [store, dept], source: sales, schema: [{name: amount}, {name: region}]}
  - name: weekly
    entities: [dept, store]
    source: sales
    aggregations: [{column: amount, function: mean, time_window: 7d, name: amount_7d}]
)yaml";

Result<Definitions> Resolve(const std::string& views) {
  GNOMON_ASSIGN_OR_RETURN(const ConfigNode root,
                          ParseConfig(Concat(kBeginning, views), "features.yaml"));
  GNOMON_ASSIGN_OR_RETURN(Definitions parsed, ParseDefinitions(root));
  const auto instant = arrow::timestamp(arrow::TimeUnit::MICRO);
  return ResolveSchemas(
      std::move(parsed),
      {{"sales",
        arrow::schema(
            {arrow::field("store_id", arrow::int64()), arrow::field("dept", arrow::int64()),
             arrow::field("amount", arrow::float64()), arrow::field("region", arrow::utf8()),
             arrow::field("event_timestamp", instant), arrow::field("created", instant)})}});
}

std::string ErrorOf(const std::string& views) {
  const auto result = Resolve(views);
  return result.ok() ? "no error" : FormatError(result.status());
}

bool Contains(const std::string& text, const std::string& part) {
  CAPTURE(text);
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("a view over one plain view has its features and both its times") {
  const auto all =
      ValueOf(Resolve("  - {name: copy, entities: [store, dept], source_views: [raw]}\n"));
  const FeatureView& copy = *all.FindFeatureView("copy");
  REQUIRE(copy.schema.size() == 2);
  CHECK(copy.schema[0].name == "amount");
  CHECK(copy.schema[0].dtype.ToString() == "Float64");
  const DataSource source = ValueOf(SourceOf(all, copy));
  CHECK(source.timestamp_field == "event_timestamp");
  CHECK(source.created_timestamp_column == "created_timestamp");
  CHECK(RootSources(all, copy) == std::vector<std::string>{"sales"});
}

TEST_CASE("the order in which views are written does not matter") {
  const auto all =
      ValueOf(Resolve("  - {name: second, entities: [store, dept], source_views: [first]}\n"
                      "  - {name: first, entities: [store, dept], source_views: [raw]}\n"));
  CHECK(all.FindFeatureView("second")->schema == all.FindFeatureView("raw")->schema);
  CHECK(ValueOf(FeatureViewOrder(all)) ==
        std::vector<std::string>{"raw", "weekly", "first", "second"});
}

TEST_CASE("features of several source views are called by their view where names are shared") {
  const auto all = ValueOf(Resolve(
      "  - {name: other, entities: [store, dept], source: sales, schema: [{name: amount}]}\n"
      "  - {name: both, entities: [store, dept], source_views: [raw, other, weekly],\n"
      "     transformations: {gap: raw__amount - amount_7d}}\n"));
  std::vector<std::string> names;
  for (const Field& field : all.FindFeatureView("both")->schema) names.push_back(field.name);
  CHECK(names ==
        std::vector<std::string>{"raw__amount", "region", "other__amount", "amount_7d", "gap"});
}

TEST_CASE("a view over views may group by a feature of its source view") {
  const auto all =
      ValueOf(Resolve("  - {name: by_region, entities: [area], source_views: [raw],\n"
                      "     aggregations: [{column: amount, function: sum, time_window: 1d, name: "
                      "region_sales}]}\n"));
  CHECK(all.FindFeatureView("by_region") != nullptr);
}

TEST_CASE("what cannot be a source view says so") {
  CHECK(Contains(ErrorOf("  - {name: v, entities: [store], source_views: [rwa]}\n"),
                 "did you mean 'raw'"));
  CHECK(Contains(ErrorOf("  - {name: v, entities: [store], source: sales, source_views: [raw]}\n"),
                 "source and source_views exclude each other"));
  CHECK(Contains(ErrorOf("  - {name: v, entities: [store], source_views: [raw, raw]}\n"),
                 "source view 'raw' stands twice"));
  CHECK(
      Contains(ErrorOf("  - {name: s, entities: [store], source: sales, schema: [{name: amount}]}\n"
                       "  - {name: v, entities: [store], source_views: [raw, s]}\n"),
               "different join keys: raw has (store_id, dept), s has (store_id)"));
  CHECK(Contains(ErrorOf("  - {name: v, entities: [store], source_views: [d]}\n"
                         "on_demand_feature_views:\n"
                         "  - {name: d, sources: [raw], features: [{name: x, dtype: Float64, "
                         "expression: amount}]}\n"),
                 "an on demand view cannot be a source view: 'd'"));
  CHECK(Contains(ErrorOf("  - {name: v, entities: [store], source_views: [raw],\n"
                         "     schema: [{name: amuont}]}\n"),
                 "did you mean 'amount'"));
}

TEST_CASE("an on-demand view that is written to the online store is a view over its sources") {
  const std::string features = "features: [{name: more, dtype: Float64, expression: amount + 1}]";
  const auto all =
      ValueOf(Resolve(Concat("on_demand_feature_views:\n"
                             "  - {name: d, sources: [raw], write_to_online_store: true, ",
                             features, "}\n")));
  CHECK(all.on_demand_feature_views.empty());
  const FeatureView* view = all.FindFeatureView("d");
  REQUIRE(view != nullptr);
  CHECK(view->entities == std::vector<std::string>{"store", "dept"});
  CHECK(view->source_views == std::vector<std::string>{"raw"});
  REQUIRE(view->schema.size() == 1);
  CHECK(view->schema[0].name == "more");
  CHECK(Contains(ErrorOf(Concat("on_demand_feature_views:\n"
                                "  - {name: d, sources: [raw], request: [{name: x, dtype: Int64}], "
                                "write_to_online_store: true, ",
                                features, "}\n")),
                 "no request data"));
}

TEST_CASE("a cycle of views is reported with its path") {
  const std::string error = ErrorOf(
      "  - {name: a, entities: [store, dept], source_views: [c]}\n"
      "  - {name: b, entities: [store, dept], source_views: [a]}\n"
      "  - {name: c, entities: [store, dept], source_views: [b]}\n");
  CHECK(Contains(error, "a -> c -> b -> a"));
}

}  // namespace gnomon::feature
