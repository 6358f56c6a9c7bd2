#include <algorithm>
#include <map>
#include <set>

#include "feature/definition/validate_internal.h"

namespace gnomon::feature {

namespace {

Status CheckReferences(const Definitions& definitions, const FeatureView& view) {
  std::map<std::string, std::string> keys;
  for (const std::string& name : view.entities) {
    const Entity* entity = definitions.FindEntity(name);
    if (entity == nullptr) {
      return ObjectError(kViewKind, view.name, Concat("unknown entity ", Quoted(name)),
                         DidYouMean(name, NamesOf(definitions.entities)));
    }
    const auto [place, added] = keys.emplace(entity->join_key, name);
    if (!added) {
      return ObjectError(kViewKind, view.name,
                         Concat("entities ", Quoted(place->second), " and ", Quoted(name),
                                " share the join key ", Quoted(entity->join_key)));
    }
  }
  if (!view.sink_source.empty()) {
    if (definitions.FindDataSource(view.sink_source) == nullptr) {
      return ObjectError(kViewKind, view.name,
                         Concat("unknown sink_source ", Quoted(view.sink_source)),
                         DidYouMean(view.sink_source, NamesOf(definitions.data_sources)));
    }
    if (view.sink_source == view.source) {
      return ObjectError(kViewKind, view.name, "sink_source is the view's own source");
    }
  }
  if (!IsUtf8(view.push_source)) {
    return ObjectError(kViewKind, view.name, "push_source is not valid UTF-8");
  }
  if (view.is_derived()) return CheckSourceViews(definitions, view);
  if (view.source.empty()) return ObjectError(kViewKind, view.name, "source is missing");
  if (definitions.FindDataSource(view.source) == nullptr) {
    return ObjectError(kViewKind, view.name, Concat("unknown data source ", Quoted(view.source)),
                       DidYouMean(view.source, NamesOf(definitions.data_sources)));
  }
  return Status::OK();
}

// A schema may list join keys, with the entity's type.
Status CheckJoinKeysInSchema(const Definitions& definitions, const FeatureView& view) {
  for (const std::string& name : view.entities) {
    const Entity& entity = *definitions.FindEntity(name);
    const Field* field = view.FindField(entity.join_key);
    if (field == nullptr || field->dtype.base == ValueType::kInvalid ||
        field->dtype == entity.value_type) {
      continue;
    }
    return ObjectError(kViewKind, view.name,
                       Concat("join key ", Quoted(field->name), " is ", field->dtype.ToString(),
                              " in the schema, but entity ", Quoted(name), " has value_type ",
                              entity.value_type.ToString()),
                       Concat("write value_type: ", field->dtype.ToString(), " at the entity"));
  }
  return Status::OK();
}

Status CheckCustom(const Definitions& definitions, const FeatureView& view,
                   const Aggregation& aggregation) {
  if (aggregation.function != pit::AggregateFunction::kCustom || aggregation.custom.code)
    return Status::OK();
  std::vector<std::string> names;
  if (definitions.extensions != nullptr) names = definitions.extensions->AggregateNames();
  std::string hint = DidYouMean(aggregation.custom.name, names);
  if (hint.empty()) hint = "name the library that has it under plugins: in feature_store.yaml";
  return ObjectError(kViewKind, view.name,
                     Concat("aggregation ", Quoted(aggregation.name),
                            ": unknown aggregate function: ", Quoted(aggregation.custom.name)),
                     std::move(hint));
}

Status CheckParameters(const FeatureView& view, const Aggregation& aggregation) {
  const auto error = [&](std::string_view message) {
    return ObjectError(
        kViewKind, view.name,
        Concat("aggregation ",
               Quoted(aggregation.name.empty() ? DefaultName(aggregation) : aggregation.name), ": ",
               message));
  };
  if (aggregation.column.empty()) return error("column is missing");
  if (!IsUtf8(aggregation.column)) return error("column is not valid UTF-8");
  if (aggregation.time_window && *aggregation.time_window <= 0)
    return error("time_window is not positive");
  if (aggregation.slide_interval && *aggregation.slide_interval <= 0) {
    return error("slide_interval is not positive");
  }
  if (aggregation.k < 1) return error(Concat("k is less than 1: ", aggregation.k));
  if (!(aggregation.quantile >= 0 && aggregation.quantile <= 1)) {
    return error(Concat("quantile is not in [0, 1]: ", aggregation.quantile));
  }
  if (aggregation.ddof < 0) return error(Concat("ddof is negative: ", aggregation.ddof));
  return Status::OK();
}

Status CheckAggregations(const Definitions& definitions, const FeatureView& view,
                         const std::vector<std::string>& join_keys) {
  if (!view.is_window()) return Status::OK();
  std::vector<std::string> names;
  for (const Aggregation& aggregation : view.aggregations) {
    GNOMON_RETURN_NOT_OK(CheckParameters(view, aggregation));
    GNOMON_RETURN_NOT_OK(CheckCustom(definitions, view, aggregation));
    const std::string name = aggregation.name.empty() ? DefaultName(aggregation) : aggregation.name;
    if (std::string problem = NameProblem(name, kNotInColumnNames); !problem.empty()) {
      return ObjectError(kViewKind, view.name, Concat("aggregation ", Quoted(name), ": ", problem));
    }
    if (std::ranges::find(names, name) != names.end()) {
      return ObjectError(kViewKind, view.name,
                         Concat("aggregation ", Quoted(name), " stands twice"),
                         "give one of them a name:");
    }
    if (std::ranges::find(join_keys, name) != join_keys.end()) {
      return ObjectError(kViewKind, view.name,
                         Concat("aggregation ", Quoted(name), " has the name of a join key"));
    }
    names.push_back(name);
  }
  for (const Field& field : view.schema) {
    if (std::ranges::find(names, field.name) != names.end()) continue;
    if (std::ranges::find(join_keys, field.name) != join_keys.end()) continue;
    return ObjectError(kViewKind, view.name,
                       Concat("the schema lists ", Quoted(field.name),
                              ", which is none of the view's aggregations"),
                       DidYouMean(field.name, names));
  }
  return Status::OK();
}

}  // namespace

Status CheckFeatureView(const Definitions& definitions, const FeatureView& view) {
  GNOMON_RETURN_NOT_OK(CheckReferences(definitions, view));
  GNOMON_ASSIGN_OR_RETURN(const auto join_keys, JoinKeys(definitions, view));
  GNOMON_RETURN_NOT_OK(CheckFields(kViewKind, view.name, "field", view.schema));
  if (view.ttl < 0) return ObjectError(kViewKind, view.name, "ttl is negative");
  GNOMON_RETURN_NOT_OK(CheckJoinKeysInSchema(definitions, view));
  if (!view.filter.empty()) {
    GNOMON_RETURN_NOT_OK(CheckExpression(kViewKind, view.name, "filter", view.filter));
  }
  std::set<std::string> names;
  for (const Transformation& item : view.transformations) {
    if (std::string problem = NameProblem(item.name, kNotInColumnNames); !problem.empty()) {
      return ObjectError(kViewKind, view.name,
                         Concat("transformation ", Quoted(item.name), ": ", problem));
    }
    if (!names.insert(item.name).second) {
      return ObjectError(kViewKind, view.name,
                         Concat("transformation ", Quoted(item.name), " stands twice"));
    }
    GNOMON_RETURN_NOT_OK(CheckExpression(
        kViewKind, view.name, Concat("transformation ", Quoted(item.name)), item.expression));
  }
  return CheckAggregations(definitions, view, join_keys);
}

}  // namespace gnomon::feature
