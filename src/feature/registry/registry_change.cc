#include <algorithm>
#include <utility>

#include "base/time.h"
#include "feature/registry/registry_change_internal.h"

namespace gnomon::feature {

namespace {

std::string Shown(const std::string& text) { return text.empty() ? "none" : text; }
std::string Shown(bool value) { return value ? "true" : "false"; }
std::string Shown(const ValueType& type) { return type.ToString(); }
std::string Shown(const std::vector<std::string>& items) {
  return items.empty() ? "none" : Join(items, ", ");
}
std::string Shown(const std::map<std::string, std::string>& items) {
  std::vector<std::string> parts;
  for (const auto& [key, value] : items) parts.push_back(Concat(key, "=", value));
  return Shown(parts);
}

// Collects "what: old -> new".
class Details {
 public:
  template <typename Value>
  void Compare(std::string_view what, const Value& before, const Value& after) {
    if (before == after) return;
    lines_.push_back(Concat(what, ": ", Shown(before), " -> ", Shown(after)));
  }

  // Lists of named things; `show` gives all of a thing but its name.
  template <typename Item, typename Show>
  void CompareNamed(std::string_view what, const std::vector<Item>& before,
                    const std::vector<Item>& after, Show show) {
    if (before == after) return;
    bool found = false;
    for (const Item& item : after) {
      const auto old = std::ranges::find(before, item.name, &Item::name);
      if (old == before.end()) {
        lines_.push_back(Concat(what, ": + ", item.name, " (", show(item), ")"));
      } else if (!(*old == item)) {
        const std::string old_text = show(*old);
        const std::string new_text = show(item);
        lines_.push_back(old_text == new_text
                             ? Concat(what, ": ", item.name, ": description or tags")
                             : Concat(what, ": ", item.name, ": ", old_text, " -> ", new_text));
      } else {
        continue;
      }
      found = true;
    }
    for (const Item& item : before) {
      if (std::ranges::find(after, item.name, &Item::name) != after.end()) continue;
      lines_.push_back(Concat(what, ": - ", item.name));
      found = true;
    }
    if (!found) lines_.push_back(Concat(what, ": order"));
  }

  std::vector<std::string> Take() { return std::move(lines_); }

 private:
  std::vector<std::string> lines_;
};

std::string ShowField(const Field& field) { return field.dtype.ToString(); }
std::string ShowExpression(const Transformation& item) { return item.expression; }

std::string ShowAggregation(const Aggregation& item) {
  std::string text = Concat(FunctionName(item), " of ", item.column);
  text += item.time_window ? Concat(" over ", FormatDuration(*item.time_window)) : " over all time";
  if (item.slide_interval) text += Concat(", slide ", FormatDuration(*item.slide_interval));
  const Aggregation defaults;
  if (item.k != defaults.k) text += Concat(", k ", item.k);
  if (item.quantile != defaults.quantile) text += Concat(", quantile ", item.quantile);
  if (item.ddof != defaults.ddof) text += Concat(", ddof ", item.ddof);
  return text;
}

template <typename Object>
void CompareCommon(const Object& before, const Object& after, Details* details) {
  details->Compare("description", before.description, after.description);
  details->Compare("tags", before.tags, after.tags);
  details->Compare("owner", before.owner, after.owner);
}

void Compare(const Entity& before, const Entity& after, Details* details) {
  details->Compare("join_key", before.join_key, after.join_key);
  details->Compare("value_type", before.value_type, after.value_type);
}

void Compare(const DataSource& before, const DataSource& after, Details* details) {
  details->Compare("type", before.type, after.type);
  details->Compare("path", before.path, after.path);
  details->Compare("table", before.table, after.table);
  details->Compare("query", before.query, after.query);
  details->Compare("file_format", before.file_format, after.file_format);
  details->Compare("s3_endpoint_override", before.s3_endpoint_override, after.s3_endpoint_override);
  details->Compare("timestamp_field", before.timestamp_field, after.timestamp_field);
  details->Compare("created_timestamp_column", before.created_timestamp_column,
                   after.created_timestamp_column);
  details->Compare("field_mapping", before.field_mapping, after.field_mapping);
}

void Compare(const FeatureView& before, const FeatureView& after, Details* details) {
  details->Compare("entities", before.entities, after.entities);
  details->Compare("source", before.source, after.source);
  details->Compare("source_views", before.source_views, after.source_views);
  details->Compare("sink_source", before.sink_source, after.sink_source);
  details->Compare("push_source", before.push_source, after.push_source);
  details->Compare("ttl", FormatDuration(before.ttl), FormatDuration(after.ttl));
  details->Compare("online", before.online, after.online);
  details->Compare("filter", before.filter, after.filter);
  details->CompareNamed("schema", before.schema, after.schema, ShowField);
  details->CompareNamed("transformations", before.transformations, after.transformations,
                        ShowExpression);
  details->CompareNamed("aggregations", before.aggregations, after.aggregations, ShowAggregation);
}

void Compare(const OnDemandFeatureView& before, const OnDemandFeatureView& after,
             Details* details) {
  details->Compare("sources", before.sources, after.sources);
  details->CompareNamed("request", before.request_schema, after.request_schema, ShowField);
  details->CompareNamed("schema", before.schema, after.schema, ShowField);
  details->CompareNamed("expressions", before.expressions, after.expressions, ShowExpression);
}

std::string ShowProjection(const Projection& item) {
  std::string text = item.features.empty() ? "all features" : Join(item.features, ", ");
  if (!item.join_key_map.empty()) text += Concat("; join keys ", Shown(item.join_key_map));
  return text;
}

void Compare(const FeatureService& before, const FeatureService& after, Details* details) {
  struct Named {
    std::string name;
    Projection projection;
    bool operator==(const Named&) const = default;
  };
  const auto named = [](const std::vector<Projection>& projections) {
    std::vector<Named> items;
    for (const Projection& item : projections) {
      items.push_back(
          {item.name_alias.empty() ? item.view : Concat(item.view, " as ", item.name_alias), item});
    }
    return items;
  };
  details->CompareNamed("features", named(before.features), named(after.features),
                        [](const Named& item) { return ShowProjection(item.projection); });
}

template <typename Object>
void CompareKind(std::string_view kind, const std::vector<Object>& stored,
                 const std::vector<Object>& wanted, std::vector<RegistryChange>* changes) {
  using Action = RegistryChange::Action;
  for (const Object& object : wanted) {
    const auto old = std::ranges::find(stored, object.name, &Object::name);
    RegistryChange change{Action::kCreate, std::string(kind), object.name, {}};
    if (old != stored.end()) {
      Details details;
      Compare(*old, object, &details);
      CompareCommon(*old, object, &details);
      change.details = details.Take();
      change.action = change.details.empty() ? Action::kUnchanged : Action::kUpdate;
    }
    changes->push_back(std::move(change));
  }
  for (const Object& object : stored) {
    if (std::ranges::find(wanted, object.name, &Object::name) != wanted.end()) continue;
    changes->push_back({Action::kDelete, std::string(kind), object.name, {}});
  }
}

void ComparePlugins(const std::vector<PluginUse>& stored, const std::vector<PluginUse>& wanted,
                    std::vector<RegistryChange>* changes) {
  using Action = RegistryChange::Action;
  constexpr std::string_view kKind = "plug-in library";
  for (const PluginUse& plugin : wanted) {
    const auto old = std::ranges::find(stored, plugin.path, &PluginUse::path);
    RegistryChange change{Action::kCreate, std::string(kKind), plugin.path, {}};
    if (old != stored.end()) {
      Details details;
      details.Compare("sha256", old->id, plugin.id);
      details.Compare("functions", old->functions, plugin.functions);
      details.Compare("aggregates", old->aggregates, plugin.aggregates);
      change.details = details.Take();
      change.action = change.details.empty() ? Action::kUnchanged : Action::kUpdate;
    }
    changes->push_back(std::move(change));
  }
  for (const PluginUse& plugin : stored) {
    if (std::ranges::find(wanted, plugin.path, &PluginUse::path) != wanted.end()) continue;
    changes->push_back({Action::kDelete, std::string(kKind), plugin.path, {}});
  }
}

bool SameRows(const DataSource& before, const DataSource& after) {
  Details details;
  Compare(before, after, &details);
  return details.Take().empty();
}

bool SameFields(const std::vector<Field>& before, const std::vector<Field>& after) {
  return std::ranges::equal(before, after, [](const Field& a, const Field& b) {
    return a.name == b.name && a.dtype == b.dtype;
  });
}

// What else the rows depend on: the slide interval is no part of it, but the tiles on disk are cut
// by it.
bool SameRows(const FeatureView& before, const FeatureView& after) {
  return before.entities == after.entities && before.source == after.source &&
         before.source_views == after.source_views && before.filter == after.filter &&
         before.transformations == after.transformations &&
         before.aggregations == after.aggregations && SameFields(before.schema, after.schema);
}

bool SameKeys(const Definitions& stored, const Definitions& wanted, const FeatureView& view) {
  return std::ranges::all_of(view.entities, [&](const std::string& name) {
    const Entity* before = stored.FindEntity(name);
    const Entity* after = wanted.FindEntity(name);
    return before != nullptr && after != nullptr && before->join_key == after->join_key &&
           before->value_type == after->value_type;
  });
}

bool SameOrigin(const Definitions& stored, const Definitions& wanted, const std::string& name) {
  const FeatureView* before = stored.FindFeatureView(name);
  const FeatureView* after = wanted.FindFeatureView(name);
  if (before == nullptr || after == nullptr) return false;
  if (!SameRows(*before, *after) || !SameKeys(stored, wanted, *after)) return false;
  if (PluginIds(stored.plugins, *before) != PluginIds(wanted.plugins, *after)) return false;
  if (after->is_derived()) {
    return std::ranges::all_of(after->source_views, [&](const std::string& parent) {
      return SameOrigin(stored, wanted, parent);
    });
  }
  const DataSource* old_source = stored.FindDataSource(before->source);
  const DataSource* new_source = wanted.FindDataSource(after->source);
  return old_source != nullptr && new_source != nullptr && SameRows(*old_source, *new_source);
}

/// Without projections of views that are not readable here: they stay Feast's.
std::vector<FeatureService> ReadableServices(const Definitions& definitions) {
  std::vector<FeatureService> services;
  for (FeatureService service : definitions.feature_services) {
    const bool had_parts = !service.features.empty();
    std::erase_if(service.features, [&](const Projection& projection) {
      return definitions.FindFeatureView(projection.view) == nullptr &&
             definitions.FindOnDemandFeatureView(projection.view) == nullptr;
    });
    if (!had_parts || !service.features.empty()) services.push_back(std::move(service));
  }
  return services;
}

}  // namespace

std::vector<RegistryChange> CompareDefinitions(const Definitions& stored,
                                               const Definitions& wanted) {
  std::vector<RegistryChange> changes;
  ComparePlugins(stored.plugins, wanted.plugins, &changes);
  CompareKind("entity", stored.entities, wanted.entities, &changes);
  CompareKind("data source", stored.data_sources, wanted.data_sources, &changes);
  CompareKind("feature view", stored.feature_views, wanted.feature_views, &changes);
  CompareKind("on demand feature view", stored.on_demand_feature_views,
              wanted.on_demand_feature_views, &changes);
  CompareKind("feature service", ReadableServices(stored), wanted.feature_services, &changes);
  return changes;
}

std::vector<std::string> StaleViews(const Definitions& stored, const Definitions& wanted) {
  std::vector<std::string> stale;
  for (const FeatureView& view : wanted.feature_views) {
    if (stored.FindFeatureView(view.name) == nullptr) continue;
    if (!SameOrigin(stored, wanted, view.name)) stale.push_back(view.name);
  }
  return stale;
}

}  // namespace gnomon::feature
