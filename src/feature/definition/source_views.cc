#include <algorithm>
#include <map>
#include <set>

#include <arrow/type.h>

#include "feature/definition/validate_internal.h"

namespace gnomon::feature {

namespace {

constexpr const char* kEventTime = "event_timestamp";
constexpr const char* kCreatedTime = "created_timestamp";

void AddRoots(const Definitions& definitions, const FeatureView& view,
              std::vector<std::string>* roots) {
  if (!view.is_derived() && std::ranges::find(*roots, view.source) == roots->end()) {
    roots->push_back(view.source);
  }
  for (const std::string& name : view.source_views) {
    const FeatureView* parent = definitions.FindFeatureView(name);
    if (parent != nullptr) AddRoots(definitions, *parent, roots);
  }
}

/// The view over views that an on-demand view is when it is computed at materialization. It expires
/// as the first of its sources does.
FeatureView MaterializedView(const Definitions& definitions, const OnDemandFeatureView& on_demand) {
  FeatureView view;
  view.name = on_demand.name;
  view.source_views = on_demand.sources;
  view.schema = on_demand.schema;
  view.transformations = on_demand.expressions;
  view.description = on_demand.description;
  view.tags = on_demand.tags;
  view.owner = on_demand.owner;
  for (const std::string& name : on_demand.sources) {
    const FeatureView* source = definitions.FindFeatureView(name);
    if (source == nullptr) continue;
    if (view.entities.empty()) view.entities = source->entities;
    if (source->ttl > 0) view.ttl = view.ttl > 0 ? std::min(view.ttl, source->ttl) : source->ttl;
  }
  return view;
}

}  // namespace

void MoveMaterialized(Definitions* definitions) {
  for (const OnDemandFeatureView& view : definitions->on_demand_feature_views) {
    const bool computable = view.request_schema.empty() && !view.sources.empty();
    if (view.write_to_online_store && computable) {
      definitions->feature_views.push_back(MaterializedView(*definitions, view));
    }
  }
  std::erase_if(definitions->on_demand_feature_views, [](const OnDemandFeatureView& view) {
    return view.write_to_online_store && view.request_schema.empty() && !view.sources.empty();
  });
}

std::vector<ParentColumn> ParentColumns(const Definitions& definitions, const FeatureView& view) {
  std::vector<ParentColumn> columns;
  std::map<std::string, int> owners;
  for (const std::string& name : view.source_views) {
    for (const Field& field : definitions.FindFeatureView(name)->schema) {
      columns.push_back({field.name, name, field.name, field.dtype});
      ++owners[field.name];
    }
  }
  for (ParentColumn& column : columns) {
    if (owners[column.feature] > 1) column.column = Concat(column.view, "__", column.feature);
  }
  return columns;
}

Result<DataSource> SourceOf(const Definitions& definitions, const FeatureView& view) {
  if (!view.is_derived()) {
    const DataSource* source = definitions.FindDataSource(view.source);
    if (source != nullptr) return *source;
    return MakeError(ErrorKind::kNotFound,
                     Concat(kViewKind, " ", Quoted(view.name),
                            " names an unknown data source: ", Quoted(view.source)),
                     {}, DidYouMean(view.source, NamesOf(definitions.data_sources)));
  }
  DataSource source;
  source.name = Join(view.source_views, ", ");
  source.path = Concat("feature view ", source.name);
  source.timestamp_field = kEventTime;
  if (view.source_views.size() > 1) return source;
  const FeatureView* parent = definitions.FindFeatureView(view.source_views[0]);
  if (parent == nullptr) {
    return Error(ErrorKind::kNotFound, kViewKind, " ", Quoted(view.name),
                 " names an unknown source view: ", Quoted(view.source_views[0]));
  }
  if (parent->is_window()) return source;
  GNOMON_ASSIGN_OR_RETURN(const DataSource root, SourceOf(definitions, *parent));
  if (!root.created_timestamp_column.empty()) source.created_timestamp_column = kCreatedTime;
  return source;
}

std::vector<std::string> RootSources(const Definitions& definitions, const FeatureView& view) {
  std::vector<std::string> roots;
  AddRoots(definitions, view, &roots);
  return roots;
}

Result<std::vector<std::string>> FeatureViewOrder(const Definitions& definitions) {
  return OrderByParents(kViewKind, NamesOf(definitions.feature_views),
                        [&](const std::string& name) {
                          const FeatureView* view = definitions.FindFeatureView(name);
                          return view == nullptr ? nullptr : &view->source_views;
                        });
}

Status CheckSourceViews(const Definitions& definitions, const FeatureView& view) {
  if (!view.source.empty()) {
    return ObjectError(kViewKind, view.name, "source and source_views exclude each other",
                       "keep one of them");
  }
  std::set<std::string> seen;
  std::vector<std::string> first_keys;
  for (const std::string& name : view.source_views) {
    const FeatureView* parent = definitions.FindFeatureView(name);
    if (parent == nullptr) {
      const bool on_demand = definitions.FindOnDemandFeatureView(name) != nullptr;
      return ObjectError(
          kViewKind, view.name,
          Concat(on_demand ? "an on demand view cannot be a source view: " : "unknown source view ",
                 Quoted(name)),
          on_demand ? "write its expressions as transformations of this view"
                    : DidYouMean(name, NamesOf(definitions.feature_views)));
    }
    if (!seen.insert(name).second) {
      return ObjectError(kViewKind, view.name,
                         Concat("source view ", Quoted(name), " stands twice"));
    }
    GNOMON_ASSIGN_OR_RETURN(auto keys, JoinKeys(definitions, *parent));
    if (seen.size() == 1) first_keys = keys;
    if (!std::ranges::is_permutation(keys, first_keys)) {
      return ObjectError(
          kViewKind, view.name,
          Concat("its source views have different join keys: ", view.source_views[0], " has (",
                 Join(first_keys, ", "), "), ", name, " has (", Join(keys, ", "), ")"),
          "make a view over each of them, or retrieve their features side by side");
    }
    for (const Field& field : parent->schema) {
      if (field.name != kEventTime && field.name != kCreatedTime) continue;
      return ObjectError(kViewKind, view.name,
                         Concat("source view ", Quoted(name), " has a feature called ", field.name,
                                ", the name of a time column of its rows"));
    }
  }
  return Status::OK();
}

Result<arrow::FieldVector> ParentFields(const Definitions& definitions, const FeatureView& view) {
  arrow::FieldVector fields;
  const FeatureView& parent = *definitions.FindFeatureView(view.source_views[0]);
  for (const std::string& name : parent.entities) {
    const Entity& entity = *definitions.FindEntity(name);
    fields.push_back(arrow::field(entity.join_key, entity.value_type.ToArrow()));
  }
  for (const ParentColumn& column : ParentColumns(definitions, view)) {
    fields.push_back(arrow::field(column.column, column.dtype.ToArrow()));
  }
  GNOMON_ASSIGN_OR_RETURN(const DataSource source, SourceOf(definitions, view));
  const auto instant = arrow::timestamp(arrow::TimeUnit::MICRO, "UTC");
  fields.push_back(arrow::field(kEventTime, instant));
  if (!source.created_timestamp_column.empty()) {
    fields.push_back(arrow::field(kCreatedTime, instant));
  }
  return fields;
}

}  // namespace gnomon::feature
