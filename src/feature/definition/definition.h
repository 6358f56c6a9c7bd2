#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/error.h"
#include "feature/definition/extensions.h"
#include "feature/definition/types.h"
#include "pit/window.h"

/// The nouns of a feature repository, Feast's where Feast has them. Plain values: what is written
/// in features.yaml, what the registry stores, what the engine plans from. Durations and instants
/// are microseconds.
namespace gnomon::feature {

using Tags = std::map<std::string, std::string>;

struct Field {
  std::string name;
  ValueType dtype;
  std::string description;
  Tags tags;
  bool operator==(const Field&) const = default;
};

struct Entity {
  std::string name;
  std::string join_key;                     ///< exactly one, as in Feast; by default the name
  ValueType value_type{ValueType::kInt64};  ///< Int64, Int32, String, Bytes or UnixTimestamp
  std::string description;
  Tags tags;
  std::string owner;
  bool operator==(const Entity&) const = default;
};

/// Files (Parquet, CSV, JSON lines, Arrow IPC), or a table or query of PostgreSQL or SQLite. `path`
/// is relative to the repository folder, or an address s3://bucket/key.
struct DataSource {
  std::string name;
  std::string type = "file";              ///< file, postgres, sqlite
  std::string path;                       ///< of sqlite: the database; empty: that of offline_store
  std::string table = {};                 ///< of a database: a table's name, or
  std::string query = {};                 ///< a SELECT
  std::string file_format;                ///< "", parquet, csv, json, ipc
  std::string s3_endpoint_override = {};  ///< of an s3:// path; empty: the repository's
  std::string timestamp_field;  ///< empty: inferred at apply (the only timestamp column, or
                                ///< event_timestamp)
  std::string created_timestamp_column;              ///< empty: none
  std::map<std::string, std::string> field_mapping;  ///< source column -> feature column
  std::string description;
  Tags tags;
  std::string owner;

  /// What it reads, for messages: the path, the table or "its query".
  std::string Place() const;
  bool operator==(const DataSource&) const = default;
};

/// An aggregate of a plug-in library, known by its name; the code is there once WithExtensions has
/// found it.
struct PluginAggregate {
  std::string name;
  std::string library;  ///< of the definitions' plugins; may be empty
  std::shared_ptr<const pit::CustomAggregate> code;
  bool operator==(const PluginAggregate& other) const { return name == other.name; }
};

/// A window aggregate: Feast's Aggregation(column, function, time_window, slide_interval, name) and
/// our parameters.
struct Aggregation {
  std::string column;
  ValueType column_type;  ///< of the column; filled in by ResolveSchemas and kept in the registry
  pit::AggregateFunction function = pit::AggregateFunction::kCount;
  PluginAggregate custom = {};            ///< for AggregateFunction::kCustom
  std::optional<int64_t> time_window;     ///< absent: lifetime
  std::optional<int64_t> slide_interval;  ///< storage granularity only, never a value
  std::string name;  ///< by default Feast's rule: {function}_{column}[_{seconds}s]
  int64_t k = 1;
  double quantile = 0.5;
  int ddof = 1;
  bool operator==(const Aggregation&) const = default;
};

/// A derived column: `name` = `expression`.
struct Transformation {
  std::string name;
  std::string expression;
  bool operator==(const Transformation&) const = default;
};

struct FeatureView {
  std::string name;
  std::vector<std::string> entities;  ///< entity names; empty: entity-less
  std::string source;                 ///< a DataSource's name; empty for a view over views
  /// Feature views whose rows this one reads instead of a source's: of one plain view its rows,
  /// otherwise the distinct (keys, time) of all their rows with the features as of that time, as
  /// retrieval without entity rows gives them. Columns: join keys, features (`view__feature` where
  /// several views have the name) and event_timestamp.
  std::vector<std::string> source_views;
  /// A data source that is a folder: what is materialized is also kept there, one file for each
  /// interval. Empty: not kept.
  std::string sink_source;
  /// Feast's PushSource of the view: rows that are pushed under this name reach it. Empty: none;
  /// rows can always be pushed under the view's own name.
  std::string push_source = {};
  std::vector<Field> schema;  ///< features (never join keys or timestamps), in order
  int64_t ttl = 0;            ///< 0: unlimited
  bool online = true;
  std::string filter;  ///< on source rows, after field mapping and transformations
  std::vector<Transformation>
      transformations;  ///< on source rows, in order, each may use those before it
  std::vector<Aggregation>
      aggregations;  ///< not empty: a window view; its features are the aggregates
  std::string description;
  Tags tags;
  std::string owner;

  bool is_window() const { return !aggregations.empty(); }
  bool is_derived() const { return !source_views.empty(); }
  const Field* FindField(std::string_view field) const;
  /// The longest window; absent when one is lifetime. REQUIRES: is_window().
  std::optional<int64_t> LongestWindow() const;
  bool operator==(const FeatureView&) const = default;
};

/// Expressions over features of other views and over request data.
struct OnDemandFeatureView {
  std::string name;
  std::vector<std::string> sources;   ///< feature view names
  std::vector<Field> request_schema;  ///< request data: comes with the entity rows
  std::vector<Field> schema;          ///< one field per expression, same order
  std::vector<Transformation> expressions;
  /// Compute it when its sources are materialized instead of when it is read: Complete makes a view
  /// over views of it, whose rows are those of its sources.
  bool write_to_online_store = false;
  std::string description;
  Tags tags;
  std::string owner;
  bool operator==(const OnDemandFeatureView&) const = default;
};

/// A view, or some of its features, in a feature service: Feast's projection.
struct Projection {
  std::string view;                   ///< a feature view or on-demand view
  std::string name_alias;             ///< "": the view's name; used in full feature names
  std::vector<std::string> features;  ///< empty: all
  std::map<std::string, std::string> join_key_map;  ///< join key -> column of the entity rows
  bool operator==(const Projection&) const = default;
};

struct FeatureService {
  std::string name;
  std::vector<Projection> features;
  std::string description;
  Tags tags;
  std::string owner;
  bool operator==(const FeatureService&) const = default;
};

/// Everything that a repository defines. Order is the file's; names are unique per kind, and views
/// of all kinds share one name space.
struct Definitions {
  std::vector<Entity> entities;
  std::vector<DataSource> data_sources;
  std::vector<FeatureView> feature_views;
  std::vector<OnDemandFeatureView> on_demand_feature_views;
  std::vector<FeatureService> feature_services;
  std::vector<PluginUse> plugins;                ///< that were loaded when this was applied
  std::shared_ptr<const Extensions> extensions;  ///< see WithExtensions; null: none

  /// Of the extensions, for Expression::Bind; may be null.
  const expr::FunctionSet* functions() const {
    return extensions == nullptr ? nullptr : extensions->functions.get();
  }
  const Entity* FindEntity(std::string_view name) const;
  const DataSource* FindDataSource(std::string_view name) const;
  const FeatureView* FindFeatureView(std::string_view name) const;
  const OnDemandFeatureView* FindOnDemandFeatureView(std::string_view name) const;
  const FeatureService* FindFeatureService(std::string_view name) const;
  /// The views that rows reach which are pushed under `name`: those whose push source it is, else
  /// the view of this name. Empty: none.
  std::vector<const FeatureView*> PushTargets(std::string_view name) const;
  /// Names of all views, for hints.
  std::vector<std::string> ViewNames() const;
};

/// `view:feature`. kUser for anything else.
struct FeatureRef {
  std::string view;
  std::string feature;
  static Result<FeatureRef> Parse(std::string_view text);
  std::string ToString() const;
  auto operator<=>(const FeatureRef&) const = default;
};

/// Checks what can be checked without data: unique names, references, cycles, expression syntax and
/// types, aggregation types, join keys. Fills in what is left out: aggregation names, the schema of
/// window views and of on-demand expressions where `schema` is silent is NOT inferred here (it
/// needs source types; see ResolveSchemas).
Status Validate(const Definitions& definitions);

/// The name of an aggregation's function, as in features.yaml.
const char* FunctionName(const Aggregation& aggregation);

/// What pit::AggregateWindows wants to know, for value column 0 and times in microseconds.
/// kNotFound for a plug-in's function whose code is not there.
Result<pit::AggregateSpec> AggregateSpecOf(const Aggregation& aggregation);

/// The name of an aggregate that was given none: Feast's rule {function}_{column}[_{seconds}s].
std::string DefaultName(const Aggregation& aggregation);

/// Fills in what needs no data: join keys and aggregation names that are left out; join keys that
/// are listed in a view's schema (as Feast users do) are taken out of it. Idempotent;
/// LoadDefinitions and ResolveSchemas call it.
Definitions Complete(Definitions definitions);

/// Completes definitions with the sources' schemas (Arrow schema by data source name): infers
/// timestamp fields and schemas that are left out, checks that columns exist and that types agree
/// (a declared dtype may be wider). Errors name view, column, both types and, for unknown columns,
/// the nearest name.
Result<Definitions> ResolveSchemas(
    Definitions definitions, const std::map<std::string, std::shared_ptr<arrow::Schema>>& sources);

/// A column that an on-demand view's expressions read, and where it comes from.
struct OnDemandInput {
  std::string column;  ///< as the expressions call it: a bare feature name, view__feature, or a
                       ///< request field
  std::string view;    ///< a source of the on-demand view; empty: request data
  std::string feature;
  ValueType dtype;
  bool operator==(const OnDemandInput&) const = default;
};

/// The columns that the expressions of `view` read, sorted, each once. kUser for a column that is
/// unknown or that several sources have (then `view__feature` names it).
Result<std::vector<OnDemandInput>> OnDemandInputs(const Definitions& definitions,
                                                  const OnDemandFeatureView& view);

/// The on-demand views among `views` and those they are made of, sources first. kUser for a cycle,
/// with its path.
Result<std::vector<std::string>> OnDemandOrder(const Definitions& definitions,
                                               const std::vector<std::string>& views);

/// A column that a view over views may read, and the feature that it is.
struct ParentColumn {
  std::string column;  ///< the feature's name, or view__feature
  std::string view;
  std::string feature;
  ValueType dtype;
};

/// The features of the source views of `view`, in their order. REQUIRES: view.is_derived(), and the
/// source views exist and are complete.
std::vector<ParentColumn> ParentColumns(const Definitions& definitions, const FeatureView& view);

/// The data source whose rows `view` sees. For a view over views a description of these rows:
/// timestamp_field event_timestamp, and created_timestamp where the rows are those of one plain
/// view that has created times. kNotFound when it does not exist.
Result<DataSource> SourceOf(const Definitions& definitions, const FeatureView& view);

/// The data sources that the rows of `view` come from in the end, each once.
std::vector<std::string> RootSources(const Definitions& definitions, const FeatureView& view);

/// Names of all feature views, source views before the views over them. kUser for a cycle, with its
/// path.
Result<std::vector<std::string>> FeatureViewOrder(const Definitions& definitions);

/// The join keys of a view's entities, in the entities' order.
Result<std::vector<std::string>> JoinKeys(const Definitions& definitions, const FeatureView& view);

}  // namespace gnomon::feature
