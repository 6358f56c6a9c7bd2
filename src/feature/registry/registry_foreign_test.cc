#include <algorithm>

#include <google/protobuf/text_format.h>

#include "feature/registry/import.h"
#include "feature/registry/registry_fixture.h"

namespace gnomon::feature {

namespace {

using test::ValueOf;

/// As `feast apply` of a repository with maps, a Python view, a label view and a push source.
constexpr const char* kShop = R"(
  entities { spec { name: "driver" join_key: "driver_id" value_type: INT64 project: "p" } }
  data_sources { type: BATCH_FILE name: "trips" project: "p" timestamp_field: "t" file_options { uri: "trips.parquet" } }
  data_sources { type: PUSH_SOURCE name: "fresh trips" project: "p" }
  data_sources { type: PUSH_SOURCE name: "labels" project: "p" }
  data_sources { type: REQUEST_SOURCE name: "fare" project: "p" }
  feature_views { spec { name: "stats" project: "p" entities: "driver"
    entity_columns { name: "driver_id" value_type: INT64 }
    features { name: "first" value_type: STRUCT } features { name: "rate" value_type: DOUBLE }
    features { name: "config" value_type: MAP tags { key: "team" value: "rides" } }
    features { name: "trips" value_type: INT64 }
    batch_source { type: BATCH_FILE name: "trips" timestamp_field: "t" file_options { uri: "trips.parquet" } }
    stream_source { type: PUSH_SOURCE name: "fresh trips" description: "by hand" } } }
  feature_views { spec { name: "maps" project: "p" entities: "driver" features { name: "config" value_type: MAP }
    batch_source { type: BATCH_FILE name: "trips" timestamp_field: "t" file_options { uri: "trips.parquet" } } } }
  on_demand_feature_views { spec { name: "income" project: "p" } }
  label_views { spec { name: "quality" project: "p" } }
  feature_services { spec { name: "mixed" project: "p" features { feature_view_name: "income" }
    features { feature_view_name: "stats" feature_columns { name: "first" value_type: STRUCT }
      feature_columns { name: "rate" value_type: DOUBLE } feature_columns { name: "config" value_type: MAP } }
    features { feature_view_name: "quality" } } }
  feature_services { spec { name: "python" project: "p" features { feature_view_name: "income" } } }
)";

/// Objects with parts, and of kinds, that definitions do not know.
constexpr const char* kParts = R"(
  projects { spec { name: "p" owner: "rides" } }
  entities { spec { name: "untyped" join_key: "u" project: "p" } }
  feature_views { spec { name: "streamed" project: "p" disabled: true entities: "driver"
    entity_columns { name: "driver_id" value_type: INT64 }
    features { name: "rate" value_type: DOUBLE vector_index: true }
    batch_source { type: BATCH_FILE name: "trips" timestamp_field: "t" file_options { uri: "trips.parquet" } }
    stream_source { type: STREAM_KAFKA name: "kafka" } } }
  feature_views { spec { name: "derived" project: "p" entities: "driver"
    entity_columns { name: "driver_id" value_type: INT64 }
    features { name: "rate" value_type: DOUBLE } source_views { name: "stats" }
    batch_source { type: BATCH_FILE name: "sink" timestamp_field: "t" file_options { uri: "sink.parquet" } } } }
  data_sources { type: BATCH_FILE name: "sink" project: "p" timestamp_field: "t" file_options { uri: "sink.parquet" } }
  feature_services { spec { name: "logged" project: "p" logging_config {} precompute_online: true
    features { feature_view_name: "stats" version_tag: 2 feature_columns { name: "rate" value_type: DOUBLE } } } }
  permissions { spec { name: "readers" project: "p" } }
  permissions { spec { name: "others" project: "q" } }
  validation_references { name: "may" project: "p" reference_dataset_name: "d" }
)";

/// Feast's numbers of types that our message does not name.
std::string WithNumbers(std::string text) {
  for (const auto& [name, number] :
       {std::pair{"value_type: MAP", "value_type: 20"}, {"value_type: STRUCT", "value_type: 34"}}) {
    for (size_t at = text.find(name); at != std::string::npos; at = text.find(name, at))
      text.replace(at, std::string_view(name).size(), number);
  }
  return text;
}

struct ForeignFixture : RegistryFixture {
  ForeignFixture() {
    feast::core::Registry made;
    REQUIRE(google::protobuf::TextFormat::ParseFromString(WithNumbers(kShop), &made));
    made.add_projects()->mutable_spec()->set_name("p");
    WriteAsFeast(made, "by feast");
  }

  feast::core::FeatureViewSpec ViewSpec(const std::string& name) const {
    const feast::core::Registry registry = Read();
    for (const auto& view : registry.feature_views()) {
      if (view.spec().name() == name) return view.spec();
    }
    FAIL("no view ", name);
    return {};
  }
  feast::core::FeatureServiceSpec ServiceSpec(const std::string& name) const {
    const feast::core::Registry registry = Read();
    for (const auto& service : registry.feature_services()) {
      if (service.spec().name() == name) return service.spec();
    }
    FAIL("no service ", name);
    return {};
  }
  Definitions Imported() const { return ValueOf(ImportRegistry(context, path, "p")).definitions; }
};

template <typename Messages>
std::vector<std::string> NamesOf(const Messages& messages) {
  std::vector<std::string> names;
  for (const auto& message : messages) names.push_back(message.name());
  return names;
}

template <typename Projections>
std::vector<std::string> ViewsOf(const Projections& projections) {
  std::vector<std::string> names;
  for (const auto& projection : projections) names.push_back(projection.feature_view_name());
  return names;
}

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE_FIXTURE(ForeignFixture, "features of other types are left out, their views stay") {
  const auto registry = Open();
  const FeatureView* stats = registry->definitions()->FindFeatureView("stats");
  REQUIRE(stats != nullptr);
  CHECK(stats->schema == std::vector<Field>{{"rate", {ValueType::kDouble}, "", {}},
                                            {"trips", {ValueType::kInt64}, "", {}}});
  CHECK(registry->definitions()->FindFeatureView("maps") == nullptr);
  CHECK(registry->LeftOut() ==
        Names{"data source 'labels': a push source that no feature view reads; name it as a view's "
              "push_source",
              "feature view 'stats': feature 'first': type Struct is not supported",
              "feature view 'stats': feature 'config': type Map is not supported",
              "feature view 'maps': feature 'config': type Map is not supported",
              "on demand feature view 'income': its Python function does not run here; write it as "
              "expressions",
              "label view 'quality': labels are not kept here; join them with `gnomon asof`"});
}

TEST_CASE_FIXTURE(ForeignFixture, "what is imported is no change, and applying it loses nothing") {
  const feast::core::Registry before = Read();
  Definitions wanted = Imported();
  CHECK(wanted.FindFeatureService("python") == nullptr);
  const auto registry = Open();
  for (const RegistryChange& change : registry->Plan(wanted)) {
    CHECK_MESSAGE(change.action == RegistryChange::Action::kUnchanged, change.kind, " ",
                  change.name);
  }
  // The whole service cannot run, as long as nobody has said that its part here is enough.
  CHECK(registry->definitions()->FindFeatureService("mixed")->features.size() == 3);

  wanted.feature_views[0].ttl = kMicrosPerDay;
  ValueOf(registry->Apply(context, wanted));
  CHECK(NamesOf(ViewSpec("stats").features()) == Names{"first", "rate", "config", "trips"});
  CHECK(ViewSpec("stats").features(2).tags().at("team") == "rides");
  CHECK(ViewsOf(ServiceSpec("mixed").features()) == Names{"income", "stats", "quality"});
  CHECK(NamesOf(ServiceSpec("mixed").features(1).feature_columns()) ==
        Names{"first", "rate", "config"});
  CHECK(ViewsOf(ServiceSpec("python").features()) == Names{"income"});
  CHECK(Read().data_sources_size() == before.data_sources_size());
  CHECK(Read().label_views_size() == 1);
  CHECK(Open()->definitions()->FindFeatureService("mixed")->features ==
        std::vector<Projection>{{"stats", "", {"rate"}, {}}});
  CHECK(Imported().feature_views == wanted.feature_views);
  CHECK(Imported().feature_services == wanted.feature_services);
}

TEST_CASE_FIXTURE(ForeignFixture,
                  "features that are added and removed leave the foreign ones alone") {
  Definitions wanted = Imported();
  wanted.feature_views[0].schema = {{"added", {ValueType::kInt64}, "", {}},
                                    {"trips", {ValueType::kInt64}, "", {}}};
  wanted.feature_services.clear();
  ValueOf(Open()->Apply(context, wanted));
  CHECK(NamesOf(ViewSpec("stats").features()) == Names{"first", "config", "added", "trips"});
  // A service that gnomon could name is gone, one of Python alone is Feast's.
  REQUIRE(Read().feature_services_size() == 1);
  CHECK(Read().feature_services(0).spec().name() == "python");
}

TEST_CASE_FIXTURE(ForeignFixture, "parts that are not carried are told, and stay") {
  CHECK(Open()->PartsLeftOut().empty());
  feast::core::Registry made;
  REQUIRE(google::protobuf::TextFormat::ParseFromString(WithNumbers(kParts), &made));
  made.MergeFrom(Read());
  WriteAsFeast(made, "by feast again");
  const Names told = Open()->PartsLeftOut();
  CHECK(told ==
        Names{"project 'p': its description, tags and owner stay in the registry",
              "entity 'untyped': it has no value_type in Feast; Int64 is assumed",
              "feature view 'streamed': it is disabled in Feast and works here; delete it from "
              "features.yaml where it must not",
              "feature view 'streamed': its stream 'kafka' is not read here; its batch source is, "
              "and rows can be pushed",
              "feature view 'streamed': feature 'rate' has a vector index; it is stored and "
              "served, not searched here",
              "feature view 'derived': its sink 'sink' is not written here; its rows are made when "
              "they are asked for",
              "feature service 'logged': what is served is not logged here",
              "feature service 'logged': it is not precomputed here; its views' rows are read",
              "feature service 'logged': version 2 of view 'stats'; the newest is taken here",
              "permission 'readers': gnomon checks none; keep its servers and databases behind "
              "what does",
              "validation reference 'may': its profile is Python; compare with `gnomon "
              "saved-datasets`"});
  Definitions wanted = Imported();
  wanted.entities[0].description = "changed";
  ValueOf(Open()->Apply(context, wanted));
  // What was assumed is said from now on.
  Names after = told;
  std::erase(after, "entity 'untyped': it has no value_type in Feast; Int64 is assumed");
  CHECK(Join(Open()->PartsLeftOut(), "\n") == Join(after, "\n"));
  CHECK(ViewSpec("derived").batch_source().name() == "sink");
  CHECK(ViewSpec("streamed").stream_source().name() == "kafka");
}

TEST_CASE_FIXTURE(ForeignFixture, "a push source belongs to its view") {
  Definitions wanted = Imported();
  FeatureView& stats = wanted.feature_views[0];
  CHECK(stats.push_source == "fresh trips");
  REQUIRE(wanted.PushTargets("fresh trips").size() == 1);
  CHECK(wanted.PushTargets("stats").size() == 1);
  CHECK(wanted.PushTargets("trips").empty());

  ValueOf(Open()->Apply(context, wanted));
  CHECK(ViewSpec("stats").stream_source().description() == "by hand");
  CHECK(ViewSpec("stats").stream_source().batch_source().name() == "trips");
  stats.push_source = "other";
  ValueOf(Open()->Apply(context, wanted));
  CHECK(ViewSpec("stats").stream_source().name() == "other");
  CHECK(ViewSpec("stats").stream_source().description().empty());
  CHECK(ViewSpec("stats").stream_source().data_source_class_type() ==
        "feast.data_source.PushSource");
  stats.push_source.clear();
  ValueOf(Open()->Apply(context, wanted));
  CHECK_FALSE(ViewSpec("stats").has_stream_source());
}

}  // namespace gnomon::feature
