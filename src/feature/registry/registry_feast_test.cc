#include <algorithm>
#include <cstdlib>

#include <google/protobuf/text_format.h>

#include "feature/registry/registry_fixture.h"

namespace gnomon::feature {

namespace {

using test::ValueOf;

Result<std::string> ReadVariable(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr) return Error(ErrorKind::kUser, name, " is not set");
  return std::string(value);
}

}  // namespace

TEST_CASE_FIXTURE(RegistryFixture, "the file is Feast's message with Feast's words") {
  ValueOf(Open()->Apply(context, Drivers()));
  const feast::core::Registry registry = Read();
  CHECK(registry.registry_schema_version() == "1");
  CHECK(registry.projects(0).spec().name() == "p");
  CHECK(registry.project_metadata(0).project_uuid().size() == 36);
  REQUIRE(registry.entities_size() == 2);
  CHECK(registry.entities(0).spec().join_key() == "driver_id");
  CHECK(registry.entities(0).meta().created_timestamp().seconds() == kNow / kMicrosPerSecond);
  CHECK(registry.entities(0).meta().created_timestamp().nanos() == 123'000);
  CHECK(registry.entities(1).spec().name() == "__dummy");
  CHECK(registry.data_sources(0).data_source_class_type() ==
        "feast.infra.offline_stores.file_source.FileSource");
  const auto& stats = registry.feature_views(0).spec();
  CHECK(stats.ttl().seconds() == 86'400);
  CHECK(stats.batch_source().file_options().uri() == "trips.parquet");
  CHECK(stats.batch_source().project().empty());
  CHECK(stats.entity_columns(0).name() == "driver_id");
  CHECK(stats.entity_columns(0).value_type() == feast::types::ValueType::INT64);
  CHECK(stats.tags().empty());
  CHECK(
      registry.feature_views(1).spec().tags().at("gnomon.spec") ==
      R"({"aggregations":[{"column":"trips","function":"mean","name":"mean_trips","time_window":"604800000000"}],)"
      R"("filter":"trips \u003e 0"})");
  CHECK(registry.feature_views(2).spec().entities(0) == "__dummy");
  CHECK(registry.feature_views(2).spec().entity_columns(0).name() == "__dummy_id");
  CHECK(registry.on_demand_feature_views_size() == 0);
  REQUIRE(registry.feature_services(0).spec().features_size() == 2);
  CHECK(registry.feature_services(0).spec().features(0).feature_view_name() == "stats");
  CHECK(registry.feature_services(0).spec().features(0).feature_columns_size() == 1);
}

TEST_CASE_FIXTURE(
    RegistryFixture,
    "after another tool wrote the registry, on-demand views and jobs are still there") {
  const auto registry = Open();
  ValueOf(registry->Apply(context, Drivers()));
  MaterializationJob job;
  job.id = "a";
  CHECK_OK(registry->PutJob(context, job));
  feast::core::Registry changed = Read();
  changed.mutable_feature_views(0)->mutable_spec()->set_description("by feast");
  WriteAsFeast(changed, "another");
  CHECK_ERROR(registry->PutJob(context, job), ErrorKind::kConflict, path);
  CHECK_OK(registry->Refresh(context));
  CHECK(registry->definitions()->feature_views[0].description == "by feast");
  CHECK(registry->definitions()->on_demand_feature_views == Drivers().on_demand_feature_views);
  CHECK(registry->definitions()->feature_services == Drivers().feature_services);
  CHECK(registry->Jobs().size() == 1);
  CHECK_OK(registry->PutJob(context, job));
  CHECK(Open()->definitions()->on_demand_feature_views == Drivers().on_demand_feature_views);
}

TEST_CASE_FIXTURE(RegistryFixture,
                  "an on-demand view whose source another tool deleted is left out, not lost") {
  ValueOf(Open()->Apply(context, Drivers()));
  const feast::core::Registry whole = Read();
  feast::core::Registry changed = whole;
  changed.mutable_feature_views()->DeleteSubrange(0, 1);
  changed.mutable_feature_services(0)->mutable_spec()->mutable_features()->DeleteSubrange(0, 1);
  WriteAsFeast(changed, "without stats");
  const auto registry = Open();
  CHECK(registry->definitions()->on_demand_feature_views.empty());
  CHECK(registry->definitions()->feature_services[0].features ==
        std::vector<Projection>{{"windows", "", {}, {}}});
  CHECK_OK(registry->AddInterval(context, "windows", {1, 2}));
  WriteAsFeast(whole, "with stats");
  CHECK(Open()->definitions()->on_demand_feature_views == Drivers().on_demand_feature_views);
}

TEST_CASE_FIXTURE(RegistryFixture, "what Feast alone knows of survives our writes") {
  feast::core::Registry made;
  // Field 99 of the registry and of a view's spec: unknown to us. A Python view, a view on views, a
  // stream view.
  REQUIRE(google::protobuf::TextFormat::ParseFromString(R"(
    entities { spec { name: "driver" join_key: "driver_id" project: "p" } }
    feature_views { spec { name: "stats" project: "p" entities: "driver" entity_columns { name: "driver_id" value_type: STRING }
      features { name: "rate" value_type: DOUBLE } batch_source { type: BATCH_FILE name: "trips" timestamp_field: "t"
      file_options { uri: "trips.parquet" } } } }
    feature_views { spec { name: "python" project: "p" batch_source { type: BATCH_FILE name: "trips" file_options {} }
      feature_transformation {} } }
    feature_views { spec { name: "lake" project: "p" batch_source { type: BATCH_SPARK name: "s" } } }
    on_demand_feature_views { spec { name: "udf" project: "p" } }
    data_sources { type: PUSH_SOURCE name: "push" project: "p" }
  )",
                                                        &made));
  made.GetReflection()->MutableUnknownFields(&made)->AddLengthDelimited(99, "extra");
  auto* spec = made.mutable_feature_views(0)->mutable_spec();
  spec->GetReflection()->MutableUnknownFields(spec)->AddVarint(99, 17);
  WriteAsFeast(made, "by feast");

  const auto registry = Open();
  const auto read = registry->definitions();
  CHECK(read->entities.at(0).value_type == ValueType{ValueType::kString});
  REQUIRE(read->feature_views.size() == 1);
  CHECK(read->data_sources.size() == 1);
  Definitions wanted = *read;
  wanted.feature_views[0].ttl = kMicrosPerDay;
  ValueOf(registry->Apply(context, wanted));
  const feast::core::Registry after = Read();
  CHECK(after.feature_views_size() == 3);
  CHECK(after.on_demand_feature_views_size() == 1);
  CHECK(after.data_sources_size() == 2);
  CHECK(after.GetReflection()->GetUnknownFields(after).field(0).length_delimited() == "extra");
  const auto& stats = *std::ranges::find_if(
      after.feature_views(), [](const auto& view) { return view.spec().name() == "stats"; });
  CHECK(stats.spec().GetReflection()->GetUnknownFields(stats.spec()).field(0).varint() == 17);

  wanted.feature_views[0].name = "udf";
  CHECK_ERROR(registry->Apply(context, wanted), ErrorKind::kConflict, "'udf'");
  wanted.feature_views[0].name = "python";
  ValueOf(registry->Apply(context, wanted));
  CHECK(Open()->definitions()->feature_views.at(0).name == "python");
}

// The two halves of check_with_feast.py.
Definitions DriversWithDerivedView() {
  Definitions all = Drivers();
  all.feature_views.push_back(ValueOf(FeatureViewBuilder("derived")
                                          .Entities({"driver"})
                                          .SourceViews({"stats"})
                                          .Transform("half_rate", "rate / 2")
                                          .Feature("half_rate", "Float64")
                                          .Build()));
  return all;
}

SavedDataset May() {
  SavedDataset dataset;
  dataset.name = "may";
  dataset.path = "may.parquet";
  dataset.features = {"stats:rate"};
  dataset.join_keys = {"driver_id"};
  dataset.feature_service = "service";
  dataset.rows = 17;
  dataset.fingerprint = "f1";
  dataset.columns = {{.name = "rate",
                      .type = "double",
                      .nulls = 1,
                      .distinct = {},
                      .min = "0.25",
                      .max = "1.5",
                      .mean = 0.75,
                      .std = 0.1}};
  dataset.created = kNow;
  dataset.min_event = kNow - kMicrosPerDay;
  dataset.max_event = kNow;
  return dataset;
}

TEST_CASE_FIXTURE(RegistryFixture, "child: writes an example registry" * doctest::skip()) {
  path = ValueOf(ReadVariable("GNOMON_TEST_REGISTRY"));
  const auto registry = Open();
  ValueOf(registry->Apply(context, DriversWithDerivedView()));
  CHECK_OK(registry->AddInterval(context, "stats", {kNow - kMicrosPerDay, kNow}));
  CHECK_OK(registry->PutSavedDataset(context, May(), false));
}

TEST_CASE_FIXTURE(RegistryFixture,
                  "child: reads what Feast made of the example registry" * doctest::skip()) {
  path = ValueOf(ReadVariable("GNOMON_TEST_REGISTRY"));
  const auto registry = Open();
  Definitions expected = DriversWithDerivedView();
  expected.feature_views[0].description = "changed by feast";
  const Definitions& read = *registry->definitions();
  CHECK(read.FindEntity("city")->join_key == "city_name");
  CHECK(read.FindEntity("city")->value_type == ValueType{ValueType::kString});
  REQUIRE(read.FindFeatureView("stats") != nullptr);
  CHECK(*read.FindFeatureView("stats") == expected.feature_views[0]);
  CHECK(*read.FindFeatureView("windows") == expected.feature_views[1]);
  REQUIRE(read.FindFeatureView("derived") != nullptr);
  CHECK(*read.FindFeatureView("derived") == expected.feature_views[3]);
  CHECK(registry->SavedDatasets() == std::vector<SavedDataset>{May()});
  const FeatureView& weather = *read.FindFeatureView("weather");
  CHECK(weather.source == "weather source");
  CHECK(weather.ttl == kMicrosPerDay / 2);
  CHECK(weather.entities == std::vector<std::string>{"city"});
  CHECK(weather.schema == std::vector<Field>{{"rain", {ValueType::kFloat}, "", {{"unit", "mm"}}}});
  CHECK(read.on_demand_feature_views == expected.on_demand_feature_views);
  CHECK(read.feature_services == expected.feature_services);
  CHECK(registry->StateOf("stats").Watermark() == kNow);
  ValueOf(registry->Apply(context, read));
}

}  // namespace gnomon::feature
