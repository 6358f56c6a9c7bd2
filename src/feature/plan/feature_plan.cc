#include "feature/plan/feature_plan.h"

#include <algorithm>
#include <set>
#include <utility>

#include <arrow/type.h>

#include "base/ids.h"
#include "base/text.h"

namespace gnomon::feature {
namespace {

std::vector<std::string> FeatureNames(const std::vector<Field>& schema) {
  std::vector<std::string> names;
  for (const Field& field : schema) names.push_back(field.name);
  return names;
}

const Field* FindIn(const std::vector<Field>& schema, std::string_view name) {
  auto found = std::ranges::find(schema, name, &Field::name);
  return found == schema.end() ? nullptr : &*found;
}

Status UnknownView(const Definitions& definitions, const std::string& name) {
  const auto names = definitions.ViewNames();
  return MakeError(
      ErrorKind::kNotFound, Concat("feature view does not exist: ", Quoted(name)), {},
      names.empty() ? "nothing has been applied yet; run: gnomon apply" : DidYouMean(name, names));
}

Status UnknownFeature(const std::string& view, const std::string& feature,
                      const std::vector<Field>& schema) {
  return MakeError(ErrorKind::kNotFound,
                   Concat("feature view ", Quoted(view), " has no feature ", Quoted(feature)), {},
                   DidYouMean(feature, FeatureNames(schema)));
}

/// Builds a plan projection by projection.
class Planner {
 public:
  Planner(std::shared_ptr<const Definitions> definitions, bool full_feature_names)
      : full_feature_names_(full_feature_names) {
    plan_.definitions = std::move(definitions);
  }

  Status AddProjection(const Projection& projection) {
    const Definitions& definitions = *plan_.definitions;
    const std::string& alias =
        projection.name_alias.empty() ? projection.view : projection.name_alias;
    if (const FeatureView* view = definitions.FindFeatureView(projection.view)) {
      GNOMON_ASSIGN_OR_RETURN(int index, ViewIndex(*view, alias, projection.join_key_map));
      for (const std::string& name : NamesOf(projection, view->schema)) {
        GNOMON_ASSIGN_OR_RETURN(int feature, FeatureIndex(index, name));
        GNOMON_RETURN_NOT_OK(AddOutput(alias, *plan_.views[Index(index)].features[Index(feature)],
                                       {ColumnSlot::Kind::kView, index, feature}));
      }
      return Status::OK();
    }
    if (const OnDemandFeatureView* view = definitions.FindOnDemandFeatureView(projection.view)) {
      for (const std::string& name : NamesOf(projection, view->schema)) {
        GNOMON_ASSIGN_OR_RETURN(int expression, ExpressionIndex(*view, name));
        GNOMON_RETURN_NOT_OK(AddOutput(alias, *plan_.expressions[Index(expression)].field,
                                       {ColumnSlot::Kind::kExpression, expression, 0}));
      }
      return Status::OK();
    }
    return UnknownView(definitions, projection.view);
  }

  Result<FeaturePlan> Finish() && {
    if (plan_.outputs.empty()) return Error(ErrorKind::kUser, "no features are asked for");
    for (const Field& field : plan_.entity_fields) {
      if (output_names_.contains(field.name)) return Collision(field.name, "an entity column");
    }
    for (const Field& field : plan_.request_fields) {
      if (output_names_.contains(field.name)) return Collision(field.name, "a request field");
    }
    return std::move(plan_);
  }

 private:
  static size_t Index(int index) { return static_cast<size_t>(index); }

  static std::vector<std::string> NamesOf(const Projection& projection,
                                          const std::vector<Field>& schema) {
    if (projection.features.empty()) return FeatureNames(schema);
    return projection.features;
  }

  static Status Collision(const std::string& name, std::string_view other) {
    return MakeError(ErrorKind::kUser, Concat("feature name ", Quoted(name), " is also ", other),
                     {}, "ask for full feature names (view__feature)");
  }

  Status AddOutput(const std::string& alias, const Field& field, ColumnSlot slot) {
    std::string name = full_feature_names_ ? Concat(alias, "__", field.name) : field.name;
    if (!output_names_.insert(name).second)
      return Collision(name, "the name of another requested feature");
    plan_.outputs.push_back({std::move(name), slot, field.dtype});
    return Status::OK();
  }

  /// The planned view of this projection, added when it is new.
  Result<int> ViewIndex(const FeatureView& view, const std::string& alias,
                        const std::map<std::string, std::string>& join_key_map) {
    PlannedView planned{.view = &view,
                        .alias = alias,
                        .features = {},
                        .join_keys = {},
                        .entity_columns = {},
                        .key_types = {}};
    for (const std::string& name : view.entities) {
      const Entity* entity = plan_.definitions->FindEntity(name);
      if (entity == nullptr) {
        return Error(ErrorKind::kNotFound, "feature view ", Quoted(view.name),
                     " names an unknown entity: ", Quoted(name));
      }
      auto mapped = join_key_map.find(entity->join_key);
      planned.join_keys.push_back(entity->join_key);
      planned.entity_columns.push_back(mapped == join_key_map.end() ? entity->join_key
                                                                    : mapped->second);
      planned.key_types.push_back(entity->value_type);
    }
    for (const auto& [key, column] : join_key_map) {
      if (std::ranges::find(planned.join_keys, key) == planned.join_keys.end()) {
        return MakeError(ErrorKind::kUser,
                         Concat("join_key_map of ", Quoted(view.name), " names ", Quoted(key),
                                ", which is no join key of it"),
                         {}, DidYouMean(key, planned.join_keys));
      }
    }
    for (size_t i = 0; i < plan_.views.size(); ++i) {
      const PlannedView& other = plan_.views[i];
      if (other.view == &view && other.alias == alias &&
          other.entity_columns == planned.entity_columns) {
        return static_cast<int>(i);
      }
    }
    for (size_t i = 0; i < planned.entity_columns.size(); ++i) {
      const std::string& column = planned.entity_columns[i];
      if (FindIn(plan_.entity_fields, column) == nullptr) {
        plan_.entity_fields.push_back(
            {.name = column, .dtype = planned.key_types[i], .description = {}, .tags = {}});
      }
    }
    plan_.views.push_back(std::move(planned));
    return static_cast<int>(plan_.views.size()) - 1;
  }

  Result<int> FeatureIndex(int view_index, const std::string& name) {
    PlannedView& planned = plan_.views[Index(view_index)];
    const Field* field = planned.view->FindField(name);
    if (field == nullptr) return UnknownFeature(planned.view->name, name, planned.view->schema);
    auto found = std::ranges::find(planned.features, field);
    if (found == planned.features.end()) {
      planned.features.push_back(field);
      return static_cast<int>(planned.features.size()) - 1;
    }
    return static_cast<int>(found - planned.features.begin());
  }

  Result<int> ExpressionIndex(const OnDemandFeatureView& view, const std::string& name) {
    const Field* field = FindIn(view.schema, name);
    if (field == nullptr) return UnknownFeature(view.name, name, view.schema);
    for (size_t i = 0; i < plan_.expressions.size(); ++i) {
      if (plan_.expressions[i].field == field) return static_cast<int>(i);
    }
    if (!in_progress_.insert(field).second) {
      return Error(ErrorKind::kUser, "on-demand feature ", Quoted(Concat(view.name, ":", name)),
                   " depends on itself");
    }
    const auto index = static_cast<size_t>(field - view.schema.data());
    const std::string& text = view.expressions[index].expression;
    GNOMON_ASSIGN_OR_RETURN(expr::Expression parsed, expr::Expression::Parse(text));
    std::vector<std::string> names = parsed.columns();
    std::vector<ColumnSlot> inputs;
    arrow::FieldVector fields;
    for (const std::string& column : names) {
      GNOMON_ASSIGN_OR_RETURN(auto input, Resolve(view, *field, column));
      inputs.push_back(input.first);
      fields.push_back(arrow::field(column, input.second.ToArrow()));
    }
    auto schema = arrow::schema(std::move(fields));
    GNOMON_ASSIGN_OR_RETURN(expr::BoundExpression program,
                            BindAs(text, parsed, *schema, field->dtype));
    plan_.expressions.push_back({.view = &view,
                                 .field = field,
                                 .input_names = std::move(names),
                                 .inputs = std::move(inputs),
                                 .input_schema = std::move(schema),
                                 .program = std::move(program)});
    in_progress_.erase(field);
    return static_cast<int>(plan_.expressions.size()) - 1;
  }

  /// Binds the expression so that it gives the declared type.
  Result<expr::BoundExpression> BindAs(const std::string& text, const expr::Expression& parsed,
                                       const arrow::Schema& schema, ValueType dtype) const {
    const expr::FunctionSet* const functions = plan_.definitions->functions();
    GNOMON_ASSIGN_OR_RETURN(expr::BoundExpression bound, parsed.Bind(schema, functions));
    if (bound.type()->Equals(*dtype.ToArrow())) return bound;
    GNOMON_ASSIGN_OR_RETURN(
        expr::Expression cast,
        expr::Expression::Parse(Concat("cast((", text, ") as ", dtype.ToString(), ")")));
    return cast.Bind(schema, functions);
  }

  /// A column of an on-demand expression: an earlier field of the same view, a request field,
  /// `view__feature`, or the bare name of a feature of one of its sources.
  Result<std::pair<ColumnSlot, ValueType>> Resolve(const OnDemandFeatureView& view,
                                                   const Field& target, const std::string& column) {
    if (const Field* own = FindIn(view.schema, column); own != nullptr && own != &target) {
      GNOMON_ASSIGN_OR_RETURN(int index, ExpressionIndex(view, column));
      return std::pair{ColumnSlot{ColumnSlot::Kind::kExpression, index, 0}, own->dtype};
    }
    if (const Field* request = FindIn(view.request_schema, column)) {
      return std::pair{ColumnSlot{ColumnSlot::Kind::kRequest, RequestIndex(*request), 0},
                       request->dtype};
    }
    const Definitions& definitions = *plan_.definitions;
    std::vector<std::string> candidates = FeatureNames(view.request_schema);
    for (const std::string& source : view.sources) {
      const std::string prefix = Concat(source, "__");
      const std::string name = column.starts_with(prefix) ? column.substr(prefix.size()) : column;
      if (const FeatureView* from = definitions.FindFeatureView(source)) {
        if (const Field* field = from->FindField(name)) {
          GNOMON_ASSIGN_OR_RETURN(int index, ViewIndex(*from, from->name, {}));
          GNOMON_ASSIGN_OR_RETURN(int feature, FeatureIndex(index, name));
          return std::pair{ColumnSlot{ColumnSlot::Kind::kView, index, feature}, field->dtype};
        }
        std::ranges::move(FeatureNames(from->schema), std::back_inserter(candidates));
      } else if (const OnDemandFeatureView* other = definitions.FindOnDemandFeatureView(source)) {
        if (const Field* field = FindIn(other->schema, name)) {
          GNOMON_ASSIGN_OR_RETURN(int index, ExpressionIndex(*other, name));
          return std::pair{ColumnSlot{ColumnSlot::Kind::kExpression, index, 0}, field->dtype};
        }
        std::ranges::move(FeatureNames(other->schema), std::back_inserter(candidates));
      } else {
        return UnknownView(definitions, source);
      }
    }
    return MakeError(ErrorKind::kNotFound,
                     Concat("on-demand view ", Quoted(view.name), " uses an unknown column ",
                            Quoted(column), " in ", Quoted(target.name)),
                     {}, DidYouMean(column, candidates));
  }

  int RequestIndex(const Field& field) {
    for (size_t i = 0; i < plan_.request_fields.size(); ++i) {
      if (plan_.request_fields[i].name == field.name) return static_cast<int>(i);
    }
    plan_.request_fields.push_back(field);
    return static_cast<int>(plan_.request_fields.size()) - 1;
  }

  FeaturePlan plan_;
  const bool full_feature_names_;
  std::set<std::string> output_names_;
  std::set<const Field*> in_progress_;
};

}  // namespace

Result<FeaturePlan> PlanFeatures(std::shared_ptr<const Definitions> definitions,
                                 std::span<const std::string> refs, bool full_feature_names) {
  Planner planner(std::move(definitions), full_feature_names);
  for (const std::string& text : refs) {
    GNOMON_ASSIGN_OR_RETURN(FeatureRef ref, FeatureRef::Parse(text));
    Projection projection{.view = ref.view, .name_alias = {}, .features = {}, .join_key_map = {}};
    if (ref.feature != "*") projection.features = {ref.feature};
    GNOMON_RETURN_NOT_OK(planner.AddProjection(projection));
  }
  return std::move(planner).Finish();
}

Result<FeaturePlan> PlanFeatureService(std::shared_ptr<const Definitions> definitions,
                                       const std::string& name, bool full_feature_names) {
  const FeatureService* service = definitions->FindFeatureService(name);
  if (service == nullptr) {
    std::vector<std::string> names;
    for (const FeatureService& other : definitions->feature_services) names.push_back(other.name);
    return MakeError(ErrorKind::kNotFound, Concat("feature service does not exist: ", Quoted(name)),
                     {}, DidYouMean(name, names));
  }
  Planner planner(std::move(definitions), full_feature_names);
  for (const Projection& projection : service->features) {
    GNOMON_RETURN_NOT_OK(
        WithContext(planner.AddProjection(projection), Concat("feature service ", Quoted(name))));
  }
  GNOMON_ASSIGN_OR_RETURN(FeaturePlan plan, std::move(planner).Finish());
  plan.feature_service = name;
  return plan;
}

}  // namespace gnomon::feature
