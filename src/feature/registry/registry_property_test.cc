#include <filesystem>

#include <doctest/doctest.h>

#include "base/config.h"
#include "feature/definition/definition_format.h"
#include "feature/definition/repository.h"
#include "feature/registry/random_definitions.h"
#include "feature/registry/registry.h"
#include "tests/support/temporary.h"

namespace gnomon::feature {

namespace {

using test::ValueOf;

void CheckSame(const Definitions& read, const Definitions& written) {
  CHECK(read.entities == written.entities);
  CHECK(read.data_sources == written.data_sources);
  CHECK(read.feature_views == written.feature_views);
  CHECK(read.on_demand_feature_views == written.on_demand_feature_views);
  CHECK(read.feature_services == written.feature_services);
}

}  // namespace

TEST_CASE(
    "whatever definitions are applied, the file gives them back, and a second apply changes "
    "nothing") {
  const auto folder = test::MakeTemporaryFolder();
  const std::string path = folder.path() + "/registry.db";
  const Context context;
  constexpr uint64_t kFirstSeed = 7;
  for (uint64_t seed = kFirstSeed; seed < kFirstSeed + 60; ++seed) {
    CAPTURE(seed);
    const Definitions wanted = RandomDefinitions(seed);
    REQUIRE(Validate(wanted).ToString() == "OK");
    // Every third seed begins a new file; the others are applied over what is there.
    if (seed % 3 == 0) std::filesystem::remove_all(path);
    const auto registry = ValueOf(Registry::Open(context, path, "project"));
    ValueOf(registry->Apply(context, wanted));
    CheckSame(*registry->definitions(), wanted);
    const auto reopened = ValueOf(Registry::Open(context, path, "project"));
    CheckSame(*reopened->definitions(), wanted);
    const std::string version = reopened->version_id();
    for (const RegistryChange& change : ValueOf(reopened->Apply(context, wanted))) {
      CAPTURE(change.name);
      CHECK(change.action == RegistryChange::Action::kUnchanged);
    }
    CHECK(reopened->version_id() == version);
  }
}

TEST_CASE("definitions as the text of a features.yaml are read back as they are") {
  for (uint64_t seed = 1; seed < 80; ++seed) {
    CAPTURE(seed);
    Definitions wanted = RandomDefinitions(seed);
    wanted.entities[0].description = "costs $5, or ${HOME}";
    wanted.entities[0].owner = "no";
    // What only `apply` knows, and parameters of other functions.
    for (FeatureView& view : wanted.feature_views) {
      for (Aggregation& each : view.aggregations) {
        using pit::AggregateFunction;
        const Aggregation defaults;
        each.column_type = {};
        if (each.function != AggregateFunction::kLastK) each.k = defaults.k;
        if (each.function != AggregateFunction::kQuantile) each.quantile = defaults.quantile;
        const bool spread =
            each.function == AggregateFunction::kStd || each.function == AggregateFunction::kVar;
        if (!spread) each.ddof = defaults.ddof;
      }
    }
    const std::string text = FormatDefinitions(wanted);
    CAPTURE(text);
    CheckSame(Complete(ValueOf(ParseDefinitions(ValueOf(ParseConfig(text, "features.yaml"))))),
              wanted);
  }
}

TEST_CASE("applying a plan's definitions does what the plan said") {
  const auto folder = test::MakeTemporaryFolder();
  const Context context;
  const auto registry = ValueOf(Registry::Open(context, folder.path() + "/registry.db", "project"));
  for (uint64_t seed = 100; seed < 120; ++seed) {
    CAPTURE(seed);
    const Definitions wanted = RandomDefinitions(seed);
    const auto planned = registry->Plan(wanted);
    const auto applied = ValueOf(registry->Apply(context, wanted));
    REQUIRE(planned.size() == applied.size());
    for (size_t i = 0; i < planned.size(); ++i) {
      CHECK(planned[i].action == applied[i].action);
      CHECK(planned[i].kind == applied[i].kind);
      CHECK(planned[i].name == applied[i].name);
      CHECK(planned[i].details == applied[i].details);
    }
  }
}

}  // namespace gnomon::feature
