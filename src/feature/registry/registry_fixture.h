#pragma once

#include <memory>
#include <string>

#include <doctest/doctest.h>

#include "base/files.h"
#include "base/time.h"
#include "feast/core/registry.pb.h"
#include "feature/definition/builder.h"
#include "feature/registry/registry.h"
#include "tests/support/temporary.h"

namespace gnomon::feature {

inline constexpr int64_t kNow = int64_t{1'750'000'000} * kMicrosPerSecond + 123;

/// An empty folder, a clock that stands still.
struct RegistryFixture {
  test::TemporaryFolder folder = test::MakeTemporaryFolder();
  std::string path = folder.path() + "/data/registry.db";
  FakeClock clock{kNow};
  Context context;

  RegistryFixture() { context.clock = &clock; }

  std::unique_ptr<Registry> Open(const std::string& project = "p") const {
    return test::ValueOf(Registry::Open(context, path, project));
  }
  feast::core::Registry Read() const {
    feast::core::Registry registry;
    REQUIRE(registry.ParseFromString(test::ValueOf(ReadFile(path))));
    return registry;
  }
  // As Feast's tools do: a new version id, no side file.
  void WriteAsFeast(feast::core::Registry registry, const std::string& version) const {
    registry.set_version_id(version);
    registry.set_registry_schema_version("1");
    test::RequireOk(MakeFolders(folder.path() + "/data"));
    test::RequireOk(WriteFileAtomic(path, registry.SerializeAsString()));
  }
};

inline Definitions Drivers() {
  Definitions all;
  all.entities = {test::ValueOf(EntityBuilder("driver").JoinKey("driver_id").Build())};
  DataSource source;
  source.name = "trips";
  source.path = "trips.parquet";
  source.timestamp_field = "event_timestamp";
  all.data_sources = {source};
  all.feature_views = {
      test::ValueOf(FeatureViewBuilder("stats")
                        .Entities({"driver"})
                        .Source("trips")
                        .Ttl("1d")
                        .Feature("rate", "Float64")
                        .Feature("trips", "Int64")
                        .Build()),
      test::ValueOf(FeatureViewBuilder("windows")
                        .Entities({"driver"})
                        .Source("trips")
                        .Aggregate("trips", "mean", "7d", "mean_trips")
                        .Filter("trips > 0")
                        .Build()),
      test::ValueOf(
          FeatureViewBuilder("everywhere").Source("trips").Feature("rate", "Float64").Build())};
  all.on_demand_feature_views = {test::ValueOf(OnDemandFeatureViewBuilder("ratio")
                                                   .Sources({"stats"})
                                                   .Feature("double_rate", "Float64", "rate * 2")
                                                   .Build())};
  FeatureService service;
  service.name = "service";
  service.features = {{"ratio", "", {}, {}}, {"stats", "", {"rate"}, {}}, {"windows", "", {}, {}}};
  all.feature_services = {service};
  return all;
}

}  // namespace gnomon::feature
