#include "feature/online/online_reader.h"

#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <arrow/scalar.h>
#include <arrow/table.h>
#include <arrow/type.h>
#include <doctest/doctest.h>

#include "base/text.h"
#include "feature/online/entity_key.h"
#include "feature/online/window_row.h"
#include "sql/sqlite.h"
#include "tests/support/status.h"
#include "tests/support/table.h"
#include "tests/support/temporary.h"

namespace gnomon::feature {
namespace {

using test::TableOf;
using test::TableOfSchema;
using test::ValueOf;
using Statuses = std::vector<FieldStatus>;
using Times = std::vector<int64_t>;
using enum FieldStatus;

Field FieldOf(std::string name, ValueType::Base type) {
  return {.name = std::move(name), .dtype = {type}, .description = {}, .tags = {}};
}

Entity EntityOf(std::string key, ValueType::Base type) {
  return {.name = key,
          .join_key = key,
          .value_type = {type},
          .description = {},
          .tags = {},
          .owner = {}};
}

FeatureView ViewOf(std::string name, std::vector<std::string> entities, std::vector<Field> schema,
                   int64_t ttl = 0) {
  FeatureView view;
  view.name = std::move(name);
  view.entities = std::move(entities);
  view.schema = std::move(schema);
  view.ttl = ttl;
  return view;
}

Definitions MakeDefinitions() {
  Definitions definitions;
  definitions.entities = {EntityOf("driver", ValueType::kInt64),
                          EntityOf("zone", ValueType::kString),
                          EntityOf("since", ValueType::kUnixTimestamp)};
  definitions.feature_views = {
      ViewOf("stats", {"driver"},
             {FieldOf("trips", ValueType::kInt64), FieldOf("name", ValueType::kString)}, 100),
      ViewOf("traffic", {"zone", "driver"}, {FieldOf("jam", ValueType::kDouble)}),
      ViewOf("world", {}, {FieldOf("rate", ValueType::kDouble)}),
      ViewOf("hired", {"since"}, {FieldOf("crew", ValueType::kInt64)}),
      ViewOf("sums", {"driver"},
             {FieldOf("total", ValueType::kInt64), FieldOf("rides", ValueType::kInt64)}, 1)};
  FeatureView& sums = definitions.feature_views.back();
  const ValueType number{ValueType::kInt64};
  sums.aggregations = {{.column = "fare",
                        .column_type = number,
                        .function = pit::AggregateFunction::kSum,
                        .time_window = 50,
                        .slide_interval = {},
                        .name = "total"},
                       {.column = "fare",
                        .column_type = number,
                        .function = pit::AggregateFunction::kCount,
                        .time_window = 10,
                        .slide_interval = {},
                        .name = "rides"}};
  OnDemandFeatureView on_demand{
      .name = "derived",
      .sources = {"stats", "traffic"},
      .request_schema = {FieldOf("scale", ValueType::kFloat)},
      .schema = {FieldOf("both", ValueType::kDouble), FieldOf("asked", ValueType::kDouble),
                 FieldOf("twice", ValueType::kDouble)},
      .expressions = {{"both", "trips + jam"}, {"asked", "scale * 2"}, {"twice", "both * asked"}},
      .description = {},
      .tags = {},
      .owner = {}};
  definitions.on_demand_feature_views.push_back(std::move(on_demand));
  return definitions;
}

/// A store in a temporary folder with the definitions' tables.
class Setting {
 public:
  Setting() : folder_(test::MakeTemporaryFolder()) {
    store = ValueOf(OpenOnlineStore({.type = "sqlite", .path = folder_.path() + "/online.db"}));
    std::vector<OnlineTable> tables;
    for (const FeatureView& view : definitions->feature_views)
      tables.push_back(ValueOf(OnlineTableOf("p", view)));
    test::RequireOk(store->Prepare({}, tables));
  }

  /// Stores rows of a view: key columns and values as literals.
  void Write(const std::string& view, const std::vector<test::Column>& keys,
             std::string_view key_rows, const std::vector<int64_t>& times,
             std::string_view values) {
    const FeatureView& definition = *definitions->FindFeatureView(view);
    const OnlineTable table = ValueOf(OnlineTableOf("p", definition));
    std::vector<std::string> names;
    std::vector<ValueType> types;
    for (const std::string& entity : definition.entities) {
      names.push_back(definitions->FindEntity(entity)->join_key);
      types.push_back(definitions->FindEntity(entity)->value_type);
    }
    const auto encoder = ValueOf(EntityKeyEncoder::Make(names, types));
    std::vector<std::shared_ptr<arrow::Array>> columns;
    if (!keys.empty())
      columns = ValueOf(TableOf(keys, key_rows)->CombineChunksToBatch())->columns();
    std::vector<std::string> encoded(times.size());
    for (size_t row = 0; row < times.size(); ++row) {
      CHECK(ValueOf(encoder.Encode(columns, static_cast<int64_t>(row), &encoded[row])));
    }
    const auto batch = ValueOf(TableOfSchema(table.schema, values)->CombineChunksToBatch());
    const std::vector<int64_t> created(times.size(), INT64_MIN);
    auto writer = ValueOf(store->BeginWrite({}, table));
    test::RequireOk(writer->Write({}, {{encoded.begin(), encoded.end()}, times, created, batch}));
    test::RequireOk(writer->Commit({}));
  }

  std::shared_ptr<const OnlineReader> ReaderOf(const std::vector<std::string>& refs) const {
    return ValueOf(OnlineReader::Make("p", ValueOf(PlanFeatures(definitions, refs))));
  }

  Result<OnlineResponse> Read(const std::vector<std::string>& refs,
                              const std::vector<test::Column>& columns, std::string_view rows,
                              int64_t as_of) const {
    const auto entities = ValueOf(TableOf(columns, rows)->CombineChunksToBatch());
    return ReaderOf(refs)->Read({}, *store, *entities, as_of);
  }

  std::shared_ptr<const Definitions> definitions = std::make_shared<Definitions>(MakeDefinitions());
  std::unique_ptr<OnlineStore> store;

 private:
  TemporaryFolder folder_;
};

std::string Show(const OnlineColumn& column) {
  std::string text = column.name + ":";
  for (int64_t row = 0; row < column.values->length(); ++row) {
    text += " " + ValueOf(column.values->GetScalar(row))->ToString();
  }
  return text;
}

TEST_CASE(
    "features come in request order with status and event time, whatever the order of the rows") {
  Setting setting;
  setting.Write("stats", {{"driver", arrow::int64()}}, "[[1], [2]]", {50, 60},
                R"([[10, "a"], [20, null]])");
  const auto response = ValueOf(setting.Read(
      {"stats:name", "stats:trips"}, {{"other", arrow::int64()}, {"driver", arrow::int32()}},
      "[[0, 2], [0, 9], [0, 1], [0, 2]]", 100));
  CHECK(response.num_rows == 4);
  CHECK(response.null_keys == 0);
  REQUIRE(response.features.size() == 2);
  CHECK(Show(response.features[0]) == "name: null null a null");
  CHECK(Show(response.features[1]) == "trips: 20 null 10 20");
  for (const OnlineColumn& column : response.features) {
    CHECK(column.statuses == Statuses{kPresent, kNotFound, kPresent, kPresent});
    CHECK(column.event_times == Times{60, 0, 50, 60});
  }
}

TEST_CASE("a value is expired just after its TTL, and does not exist before its time") {
  Setting setting;
  setting.Write("stats", {{"driver", arrow::int64()}}, "[[1], [2], [3]]", {100, 101, 99},
                R"([[1, ""], [2, ""], [3, ""]])");
  const auto at = [&](int64_t as_of) {
    return std::move(ValueOf(setting.Read({"stats:trips"}, {{"driver", arrow::int64()}},
                                          "[[1], [2], [3]]", as_of))
                         .features[0]);
  };
  CHECK(Show(at(200)) == "trips: 1 2 null");
  CHECK(at(200).statuses == Statuses{kPresent, kPresent, kOutsideMaxAge});
  CHECK(at(200).event_times == Times{100, 101, 99});
  CHECK(Show(at(100)) == "trips: 1 null 3");
  CHECK(at(100).statuses == Statuses{kPresent, kNotFound, kPresent});
  CHECK(at(100).event_times == Times{100, 0, 99});
}

TEST_CASE("an expired value is served as present when the configuration says so") {
  Setting setting;
  setting.Write("stats", {{"driver", arrow::int64()}}, "[[1]]", {100}, R"([[10, "a"]])");
  const auto plan = [&] {
    return ValueOf(PlanFeatures(setting.definitions, std::vector<std::string>{"stats:trips"}));
  };
  const auto entities =
      ValueOf(TableOf({{"driver", arrow::int64()}}, "[[1]]")->CombineChunksToBatch());
  const auto strict = ValueOf(OnlineReader::Make("p", plan()));
  CHECK(ValueOf(strict->Read({}, *setting.store, *entities, 500)).features[0].statuses ==
        Statuses{kOutsideMaxAge});
  const auto lenient = ValueOf(OnlineReader::Make("p", plan(), {.serve_expired = true}));
  const auto response = ValueOf(lenient->Read({}, *setting.store, *entities, 500));
  CHECK(response.features[0].statuses == Statuses{kPresent});
  CHECK(response.features[0].values->IsValid(0));
}

TEST_CASE("a window view in Feast's layout keeps exact rows for us and numbers for Feast") {
  const TemporaryFolder folder = test::MakeTemporaryFolder();
  const std::string path = folder.path() + "/online.db";
  const auto store = ValueOf(OpenOnlineStore({.type = "sqlite", .path = path, .layout = "feast"}));
  const Definitions definitions = MakeDefinitions();
  const OnlineTable table = ValueOf(OnlineTableOf("p", *definitions.FindFeatureView("sums")));
  test::RequireOk(store->Prepare({}, {{table}}));
  const auto write = [&](std::string_view rows, int64_t newest, int64_t as_of) {
    const auto values = ValueOf(TableOfSchema(table.schema, rows)->CombineChunksToBatch());
    OnlineRows batch{{"key"}, {&newest, 1}, {&newest, 1}, values};
    batch.as_of = as_of;
    auto writer = ValueOf(store->BeginWrite({}, table));
    test::RequireOk(writer->Write({}, batch));
    test::RequireOk(writer->Commit({}));
  };
  const auto numbers = [&] {
    sql::Sqlite database = ValueOf(sql::Sqlite::Open(path));
    auto select = ValueOf(database.Prepare(
        "SELECT group_concat(feature_name || '=' || coalesce(value_text, 'null'), ' ') FROM "
        "p_sums"));
    CHECK(ValueOf(select.Step()));
    return std::string(select.Text(0));
  };
  // 50 and 10 microseconds: the newest event is at 100, the end of the materialization at 105.
  write("[[[60, 95, 100], null, [1, 2, 4], null]]", 100, 105);
  CHECK(numbers() == "total=7 rides=1");
  const OnlineRead read{.table = &table, .keys = {"key"}, .fields = {0, 2}};
  const auto stored = ValueOf(store->Read({}, {&read, 1}));
  const auto events =
      ValueOf(TableOfSchema(table.schema, "[[[60, 95, 100], null, [1, 2, 4], null]]")
                  ->CombineChunksToBatch());
  CHECK(stored[0].columns[0]->Equals(*events->column(0)));
  CHECK(stored[0].columns[1]->Equals(*events->column(2)));
  write("[[[60, 95, 100], null, [1, 2, 4], null]]", 100, 112);
  CHECK(numbers() == "total=6 rides=0");
  write("[[[60, 95, 100], null, [1, 2, 4], null]]", 100, kNewestEvent);
  CHECK(numbers() == "total=7 rides=2");
}

TEST_CASE("null keys give nulls and are counted") {
  Setting setting;
  setting.Write("stats", {{"driver", arrow::int64()}}, "[[1]]", {50}, R"([[10, "a"]])");
  setting.Write("traffic", {{"zone", arrow::utf8()}, {"driver", arrow::int64()}}, R"([["x", 1]])",
                {51}, "[[0.5]]");
  const auto response = ValueOf(setting.Read(
      {"stats:trips", "traffic:jam"}, {{"zone", arrow::utf8()}, {"driver", arrow::int64()}},
      R"([["x", 1], [null, 1], ["x", null], [null, null]])", 100));
  CHECK(response.null_keys == 3);
  CHECK(Show(response.features[0]) == "trips: 10 10 null null");
  CHECK(Show(response.features[1]) == "jam: 0.5 null null null");
  CHECK(response.features[1].statuses == Statuses{kPresent, kNotFound, kNotFound, kNotFound});
}

TEST_CASE("windows are evaluated at the time of the read, and TTL does not cut them") {
  Setting setting;
  setting.Write("sums", {{"driver", arrow::int64()}}, "[[1]]", {100},
                "[[[60, 95, 100], null, [1, 10, 100], null]]");
  const auto at = [&](int64_t as_of) {
    return std::move(
        ValueOf(setting.Read({"sums:total", "sums:rides"}, {{"driver", arrow::int64()}},
                             "[[1], [2], [null]]", as_of))
            .features);
  };
  auto now = at(100);
  CHECK(Show(now[0]) == "total: 111 null null");
  CHECK(Show(now[1]) == "rides: 2 0 0");
  CHECK(now[0].statuses == Statuses{kPresent, kNotFound, kNotFound});
  CHECK(now[0].event_times == Times{100, 0, 0});
  auto later = at(149);
  CHECK(Show(later[0]) == "total: 100 null null");
  CHECK(Show(later[1]) == "rides: 0 0 0");
  CHECK(later[1].statuses == Statuses{kPresent, kNotFound, kNotFound});
  CHECK(Show(at(150)[0]) == "total: null null null");
  CHECK(at(97)[0].event_times == Times{95, 0, 0});
  CHECK(at(59)[0].statuses == Statuses{kNotFound, kNotFound, kNotFound});
}

TEST_CASE("an entity-less view has one row for everybody") {
  Setting setting;
  setting.Write("world", {}, "", {7}, "[[1.5]]");
  const auto response =
      ValueOf(setting.Read({"world:rate"}, {{"any", arrow::int64()}}, "[[1], [null]]", 10));
  CHECK(Show(response.features[0]) == "rate: 1.5 1.5");
  CHECK(response.null_keys == 0);
}

TEST_CASE("on-demand features are present with the newest time of their inputs") {
  Setting setting;
  setting.Write("stats", {{"driver", arrow::int64()}}, "[[1], [2]]", {50, 10},
                R"([[10, "a"], [20, "b"]])");
  setting.Write("traffic", {{"zone", arrow::utf8()}, {"driver", arrow::int64()}}, R"([["x", 1]])",
                {80}, "[[0.5]]");
  const auto response = ValueOf(setting.Read(
      {"derived:twice", "derived:asked", "stats:trips"},
      {{"zone", arrow::utf8()}, {"driver", arrow::int64()}, {"scale", arrow::float64()}},
      R"([["x", 1, 0.5], ["x", 2, 1], ["x", 3, 3]])", 150));
  CHECK(Show(response.features[0]) == "twice: 10.5 null null");
  CHECK(response.features[0].statuses == Statuses{kPresent, kPresent, kNotFound});
  CHECK(response.features[0].event_times == Times{80, 10, 0});
  CHECK(Show(response.features[1]) == "asked: 1 2 6");
  CHECK(response.features[1].statuses == Statuses{kPresent, kPresent, kPresent});
  CHECK(response.features[2].statuses == Statuses{kPresent, kOutsideMaxAge, kNotFound});
}

TEST_CASE("columns of JSON requests become the declared types") {
  Setting setting;
  setting.Write("stats", {{"driver", arrow::int64()}}, "[[1]]", {50}, R"([[10, "a"]])");
  setting.Write("hired", {{"since", arrow::timestamp(arrow::TimeUnit::SECOND)}},
                R"([["2024-01-05 00:00:00"]])", {50}, "[[3]]");
  CHECK(Show(ValueOf(setting.Read({"stats:trips"}, {{"driver", arrow::float64()}},
                                  "[[1.0], [null]]", 60))
                 .features[0]) == "trips: 10 null");
  CHECK(Show(ValueOf(setting.Read({"hired:crew"}, {{"since", arrow::utf8()}},
                                  R"([["2024-01-05T01:00:00+01:00"]])", 60))
                 .features[0]) == "crew: 3");
  const auto rounded = ValueOf(
      setting.Read({"derived:asked"}, {{"scale", arrow::float64()}}, "[[0.1], [null]]", 60));
  CHECK(Show(rounded.features[0]) == Concat("asked: ", static_cast<double>(0.1F) * 2, " null"));
}

TEST_CASE("input that is missing or does not fit is an error that names column and row") {
  Setting setting;
  CHECK_ERROR(setting.Read({"stats:trips"}, {{"drvier", arrow::int64()}}, "[[1]]", 0),
              ErrorKind::kUser, "entity column is missing: 'driver'");
  CHECK_ERROR(setting.Read({"stats:trips"}, {{"drvier", arrow::int64()}}, "[[1]]", 0),
              ErrorKind::kUser, "'drvier'?");
  CHECK_ERROR(setting.Read({"stats:trips"}, {{"driver", arrow::float64()}}, "[[1], [1.5]]", 0),
              ErrorKind::kUser, "column 'driver' is Int64");
  CHECK_ERROR(setting.Read({"stats:trips"}, {{"driver", arrow::float64()}}, "[[1], [1.5]]", 0),
              ErrorKind::kUser, "row 1");
  CHECK_ERROR(setting.Read({"stats:trips"}, {{"driver", arrow::utf8()}}, R"([["1"]])", 0),
              ErrorKind::kUser, "driver");
  CHECK_ERROR(setting.Read({"hired:crew"}, {{"since", arrow::utf8()}}, R"([["soon"]])", 0),
              ErrorKind::kUser, "since");
  CHECK_ERROR(setting.Read({"derived:asked"}, {{"zone", arrow::utf8()}}, R"([["x"]])", 0),
              ErrorKind::kUser, "request field is missing: 'scale'");
}

TEST_CASE("a request without rows has empty columns of the right types") {
  Setting setting;
  const auto response =
      ValueOf(setting.Read({"stats:name", "sums:total"}, {{"driver", arrow::int64()}}, "[]", 0));
  CHECK(response.num_rows == 0);
  CHECK(response.features[0].values->type()->Equals(*arrow::utf8()));
  CHECK(response.features[1].values->type()->Equals(*arrow::int64()));
  CHECK(response.features[1].values->length() == 0);
}

TEST_CASE("a view that is not online, or was never applied, says so") {
  Setting setting;
  Definitions changed = *setting.definitions;
  changed.feature_views[0].online = false;
  changed.feature_views[1].name = "fresh";
  const auto definitions = std::make_shared<Definitions>(changed);
  const std::vector<std::string> offline = {"stats:trips"};
  CHECK_ERROR(OnlineReader::Make("p", ValueOf(PlanFeatures(definitions, offline))),
              ErrorKind::kUser, "'stats'");
  const std::vector<std::string> fresh = {"fresh:jam"};
  const auto reader = ValueOf(OnlineReader::Make("p", ValueOf(PlanFeatures(definitions, fresh))));
  const auto entities =
      ValueOf(TableOf({{"zone", arrow::utf8()}, {"driver", arrow::int64()}}, R"([["x", 1]])")
                  ->CombineChunksToBatch());
  CHECK_ERROR(reader->Read({}, *setting.store, *entities, 0), ErrorKind::kNotFound,
              "run: gnomon apply");
}

TEST_CASE("statuses have Feast's names") {
  CHECK(std::string(NameOf(kPresent)) == "PRESENT");
  CHECK(std::string(NameOf(kNullValue)) == "NULL_VALUE");
  CHECK(std::string(NameOf(kNotFound)) == "NOT_FOUND");
  CHECK(std::string(NameOf(kOutsideMaxAge)) == "OUTSIDE_MAX_AGE");
  CHECK(std::string(NameOf(kInvalid)) == "INVALID");
}

}  // namespace
}  // namespace gnomon::feature
