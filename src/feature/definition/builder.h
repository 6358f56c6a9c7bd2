#pragma once

#include <string>
#include <utility>
#include <vector>

#include "feature/definition/definition.h"

/// Builders for C++ programs; they mirror the YAML keys. Build() gives the first mistake in a text
/// (type, duration, function); what needs the other definitions is found by Validate and Apply. An
/// empty dtype is inferred at apply; an empty window means lifetime.
///
///   auto driver = EntityBuilder("driver").JoinKey("driver_id").Type("Int64").Build();
///   auto stats = FeatureViewBuilder("driver_stats").Entities({"driver"}).Source("stats").Ttl("1d")
///                    .Feature("avg_daily_trips", "Int64")
///                    .Aggregate("trips", "mean", "7d", "mean_trips_7d").Build();
namespace gnomon::feature {

class EntityBuilder {
 public:
  explicit EntityBuilder(std::string name);
  EntityBuilder& JoinKey(std::string key);
  EntityBuilder& Type(std::string_view dtype);
  EntityBuilder& Description(std::string text);
  Result<Entity> Build() const;

 private:
  Entity entity_;
  Status status_;
};

class FeatureViewBuilder {
 public:
  explicit FeatureViewBuilder(std::string name);
  FeatureViewBuilder& Entities(std::vector<std::string> names);
  FeatureViewBuilder& Source(std::string data_source);
  /// Instead of Source: feature views whose rows this one reads.
  FeatureViewBuilder& SourceViews(std::vector<std::string> views);
  FeatureViewBuilder& Ttl(std::string_view duration);
  FeatureViewBuilder& Online(bool online);
  FeatureViewBuilder& Feature(std::string name, std::string_view dtype);
  FeatureViewBuilder& Filter(std::string expression);
  FeatureViewBuilder& Transform(std::string name, std::string expression);
  FeatureViewBuilder& Aggregate(std::string column, std::string_view function,
                                std::string_view window, std::string name = "", int64_t k = 1);
  /// An aggregate of a plug-in library (docs/guide/plugins.md). Apply looks for it.
  FeatureViewBuilder& PluginAggregate(std::string column, std::string function,
                                      std::string_view window, std::string name = "");
  FeatureViewBuilder& Tag(std::string key, std::string value);
  Result<FeatureView> Build() const;

 private:
  FeatureView view_;
  Status status_;
};

class OnDemandFeatureViewBuilder {
 public:
  explicit OnDemandFeatureViewBuilder(std::string name);
  OnDemandFeatureViewBuilder& Sources(std::vector<std::string> views);
  OnDemandFeatureViewBuilder& Request(std::string name, std::string_view dtype);
  OnDemandFeatureViewBuilder& Feature(std::string name, std::string_view dtype,
                                      std::string expression);
  Result<OnDemandFeatureView> Build() const;

 private:
  OnDemandFeatureView view_;
  Status status_;
};

}  // namespace gnomon::feature
