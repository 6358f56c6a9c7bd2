#include "feature/definition/definition.h"

#include <algorithm>
#include <utility>

#include "base/time.h"
#include "feature/definition/definition_internal.h"

namespace gnomon::feature {

namespace {

template <typename Object>
const Object* Find(const std::vector<Object>& objects, std::string_view name) {
  const auto found = std::ranges::find(objects, name, &Object::name);
  return found == objects.end() ? nullptr : &*found;
}

}  // namespace

const Field* FeatureView::FindField(std::string_view field) const { return Find(schema, field); }

std::optional<int64_t> FeatureView::LongestWindow() const {
  GNOMON_CHECK(is_window(), "view ", name);
  int64_t longest = 0;
  for (const Aggregation& aggregation : aggregations) {
    if (!aggregation.time_window) return std::nullopt;
    longest = std::max(longest, *aggregation.time_window);
  }
  return longest;
}

const Entity* Definitions::FindEntity(std::string_view name) const { return Find(entities, name); }

std::string DataSource::Place() const {
  if (type == "file") return path;
  return table.empty() ? Concat("the query of ", name) : table;
}

const DataSource* Definitions::FindDataSource(std::string_view name) const {
  return Find(data_sources, name);
}

const FeatureView* Definitions::FindFeatureView(std::string_view name) const {
  return Find(feature_views, name);
}

const OnDemandFeatureView* Definitions::FindOnDemandFeatureView(std::string_view name) const {
  return Find(on_demand_feature_views, name);
}

const FeatureService* Definitions::FindFeatureService(std::string_view name) const {
  return Find(feature_services, name);
}

std::vector<const FeatureView*> Definitions::PushTargets(std::string_view name) const {
  std::vector<const FeatureView*> targets;
  for (const FeatureView& view : feature_views) {
    if (view.push_source == name && !name.empty()) targets.push_back(&view);
  }
  const FeatureView* view = targets.empty() ? FindFeatureView(name) : nullptr;
  if (view != nullptr) targets.push_back(view);
  return targets;
}

std::vector<std::string> Definitions::ViewNames() const {
  std::vector<std::string> names;
  for (const FeatureView& view : feature_views) names.push_back(view.name);
  for (const OnDemandFeatureView& view : on_demand_feature_views) names.push_back(view.name);
  return names;
}

Result<FeatureRef> FeatureRef::Parse(std::string_view text) {
  const std::string_view trimmed = Trim(text);
  const size_t colon = trimmed.find(':');
  if (colon == std::string_view::npos || colon == 0 || colon + 1 == trimmed.size() ||
      trimmed.find(':', colon + 1) != std::string_view::npos) {
    return MakeError(ErrorKind::kUser, Concat("not a feature reference: ", Quoted(text)), {},
                     "write view:feature, as in driver_stats:avg_daily_trips");
  }
  return FeatureRef{std::string(trimmed.substr(0, colon)), std::string(trimmed.substr(colon + 1))};
}

std::string FeatureRef::ToString() const { return Concat(view, ":", feature); }

std::string DefaultName(const Aggregation& aggregation) {
  std::string name = Concat(FunctionName(aggregation), "_", aggregation.column);
  if (aggregation.time_window) {
    name += Concat("_", *aggregation.time_window / kMicrosPerSecond, "s");
  }
  return name;
}

Definitions Complete(Definitions definitions) {
  MoveMaterialized(&definitions);
  for (Entity& entity : definitions.entities) {
    if (entity.join_key.empty()) entity.join_key = entity.name;
  }
  for (FeatureView& view : definitions.feature_views) {
    for (Aggregation& aggregation : view.aggregations) {
      if (aggregation.name.empty()) aggregation.name = DefaultName(aggregation);
    }
    for (const std::string& entity_name : view.entities) {
      const Entity* entity = definitions.FindEntity(entity_name);
      if (entity == nullptr) continue;
      std::erase_if(view.schema, [&](const Field& field) {
        const bool agrees =
            field.dtype.base == ValueType::kInvalid || field.dtype == entity->value_type;
        return field.name == entity->join_key && agrees;
      });
    }
  }
  return definitions;
}

Result<std::vector<std::string>> JoinKeys(const Definitions& definitions, const FeatureView& view) {
  std::vector<std::string> keys;
  for (const std::string& name : view.entities) {
    const Entity* entity = definitions.FindEntity(name);
    if (entity == nullptr) {
      std::vector<std::string> names;
      for (const Entity& other : definitions.entities) names.push_back(other.name);
      return ObjectError(kViewKind, view.name, Concat("unknown entity ", Quoted(name)),
                         DidYouMean(name, names));
    }
    keys.push_back(entity->join_key.empty() ? entity->name : entity->join_key);
  }
  return keys;
}

Status ObjectError(std::string_view kind, std::string_view name, std::string_view message,
                   std::string hint) {
  return MakeError(ErrorKind::kUser, Concat(kind, " ", Quoted(name), ": ", message), {},
                   std::move(hint));
}

std::optional<std::vector<Field>> KnownFields(const Definitions& definitions,
                                              std::string_view view_name) {
  if (const OnDemandFeatureView* on_demand = definitions.FindOnDemandFeatureView(view_name)) {
    return on_demand->schema;
  }
  const FeatureView* view = definitions.FindFeatureView(view_name);
  GNOMON_CHECK(view != nullptr, "no view ", view_name);
  if (!view->is_window()) {
    if (view->schema.empty()) return std::nullopt;
    return view->schema;
  }
  std::vector<Field> fields;
  for (const Aggregation& aggregation : view->aggregations) {
    Field field{aggregation.name.empty() ? DefaultName(aggregation) : aggregation.name, {}, {}, {}};
    if (const Field* declared = view->FindField(field.name)) field = *declared;
    fields.push_back(std::move(field));
  }
  return fields;
}

bool Widens(ValueType from, ValueType to) {
  if (from == to) return true;
  if (from.list != to.list) return false;
  switch (from.base) {
    case ValueType::kInt32:
      return to.base == ValueType::kInt64 || to.base == ValueType::kDouble;
    case ValueType::kInt64:
    case ValueType::kFloat:
      return to.base == ValueType::kDouble;
    default:
      return false;
  }
}

}  // namespace gnomon::feature
