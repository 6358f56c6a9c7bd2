#include <algorithm>
#include <utility>

#include <arrow/type.h>

#include "expr/expression.h"
#include "feature/definition/loaded_definitions.h"
#include "feature/definition/validate_internal.h"

namespace gnomon::feature {

namespace {

using Schemas = std::map<std::string, std::shared_ptr<arrow::Schema>>;

bool IsTime(const arrow::DataType& type) {
  return type.id() == arrow::Type::TIMESTAMP || type.id() == arrow::Type::DATE32 ||
         type.id() == arrow::Type::DATE64;
}

Status UnknownColumn(std::string_view kind, std::string_view owner, std::string_view what,
                     const std::string& column, const DataSource& source,
                     const std::vector<std::string>& names) {
  std::string hint = DidYouMean(column, names);
  const std::string columns = Concat("columns: ", Join(names, ", "));
  hint = hint.empty() ? columns : Concat(hint, " (", columns, ")");
  return ObjectError(kind, owner,
                     Concat(what, " ", Quoted(column), " is no column of ", Quoted(source.Place())),
                     std::move(hint));
}

// The only time column of a source, or event_timestamp among several. Timestamps go before dates.
Result<std::string> InferTimestamp(const DataSource& source, const arrow::Schema& schema) {
  for (const bool dates : {false, true}) {
    std::vector<std::string> candidates;
    for (const auto& field : schema.fields()) {
      const bool is_timestamp = field->type()->id() == arrow::Type::TIMESTAMP;
      if (!IsTime(*field->type()) || is_timestamp == dates) continue;
      if (field->name() != source.created_timestamp_column) candidates.push_back(field->name());
    }
    if (std::ranges::find(candidates, "event_timestamp") != candidates.end())
      return "event_timestamp";
    if (candidates.size() == 1) return candidates[0];
    if (candidates.size() > 1) {
      return ObjectError(kSourceKind, source.name,
                         Concat("several columns of ", Quoted(source.Place()),
                                " may be the event time: ", Join(candidates, ", ")),
                         "name one as timestamp_field");
    }
  }
  return ObjectError(kSourceKind, source.name,
                     Concat(Quoted(source.Place()), " has no timestamp column"),
                     Concat("columns: ", Join(schema.field_names(), ", ")));
}

Status CheckTimeColumn(const DataSource& source, const arrow::Schema& schema, std::string_view what,
                       const std::string& column) {
  const auto field = schema.GetFieldByName(column);
  if (field == nullptr) {
    return UnknownColumn(kSourceKind, source.name, what, column, source, schema.field_names());
  }
  if (IsTime(*field->type())) return Status::OK();
  return ObjectError(kSourceKind, source.name,
                     Concat(what, " ", Quoted(column), " is ", field->type()->ToString(),
                            ", not a timestamp or date"));
}

Status ResolveSource(const arrow::Schema& schema, DataSource* source) {
  for (const std::string& name : schema.field_names()) {
    if (schema.GetAllFieldIndices(name).size() > 1) {
      return ObjectError(
          kSourceKind, source->name,
          Concat("column ", Quoted(name), " stands twice in ", Quoted(source->path)));
    }
  }
  if (source->timestamp_field.empty()) {
    GNOMON_ASSIGN_OR_RETURN(source->timestamp_field, InferTimestamp(*source, schema));
  }
  GNOMON_RETURN_NOT_OK(
      CheckTimeColumn(*source, schema, "timestamp_field", source->timestamp_field));
  if (!source->created_timestamp_column.empty()) {
    GNOMON_RETURN_NOT_OK(CheckTimeColumn(*source, schema, "created_timestamp_column",
                                         source->created_timestamp_column));
  }
  for (const auto& [from, to] : source->field_mapping) {
    if (schema.GetFieldByName(from) == nullptr) {
      // Stores give the schema with the mapped names.
      if (schema.GetFieldByName(to) != nullptr) continue;
      return UnknownColumn(kSourceKind, source->name, "field_mapping:", from, *source,
                           schema.field_names());
    }
    if (schema.GetFieldByName(to) != nullptr && !source->field_mapping.contains(to)) {
      return ObjectError(kSourceKind, source->name,
                         Concat("field_mapping maps ", Quoted(from), " to ", Quoted(to),
                                ", which is a column already"));
    }
  }
  return Status::OK();
}

std::string Mapped(const DataSource& source, const std::string& column) {
  const auto found = source.field_mapping.find(column);
  return found == source.field_mapping.end() ? column : found->second;
}

// What a view's expressions see: source columns after field mapping, then the transformations.
Result<arrow::FieldVector> ColumnsOf(const FeatureView& view, const DataSource& source,
                                     const arrow::Schema& schema,
                                     const expr::FunctionSet* functions) {
  arrow::FieldVector columns;
  for (const auto& field : schema.fields()) {
    columns.push_back(field->WithName(Mapped(source, field->name())));
  }
  for (const Transformation& item : view.transformations) {
    const arrow::Schema before(columns);
    if (before.GetFieldByName(item.name) != nullptr) {
      return ObjectError(kViewKind, view.name,
                         Concat("transformation ", Quoted(item.name),
                                " has the name of a column of ", Quoted(source.Place())),
                         "choose another name");
    }
    GNOMON_ASSIGN_OR_RETURN(const auto parsed, expr::Expression::Parse(item.expression));
    auto bound = parsed.Bind(before, functions);
    if (!bound.ok()) {
      return WithContext(bound.status(), Concat(kViewKind, " ", Quoted(view.name),
                                                ": transformation ", Quoted(item.name)));
    }
    columns.push_back(arrow::field(item.name, bound->type()));
  }
  return columns;
}

Status CheckFilter(const FeatureView& view, const arrow::Schema& columns,
                   const expr::FunctionSet* functions) {
  if (view.filter.empty()) return Status::OK();
  GNOMON_ASSIGN_OR_RETURN(const auto parsed, expr::Expression::Parse(view.filter));
  auto bound = parsed.Bind(columns, functions);
  if (!bound.ok()) {
    return WithContext(bound.status(), Concat(kViewKind, " ", Quoted(view.name), ": filter"));
  }
  if (bound->type()->id() == arrow::Type::BOOL) return Status::OK();
  return ObjectError(kViewKind, view.name,
                     Concat("the filter gives ", bound->type()->ToString(), ", not a condition"));
}

Status CheckJoinKeys(const Definitions& definitions, const FeatureView& view,
                     const DataSource& source, const arrow::Schema& columns) {
  for (const std::string& name : view.entities) {
    const Entity& entity = *definitions.FindEntity(name);
    const auto field = columns.GetFieldByName(entity.join_key);
    if (field == nullptr) {
      return UnknownColumn(kViewKind, view.name, "join key", entity.join_key, source,
                           columns.field_names());
    }
    const auto type = ValueType::FromArrow(*field->type());
    if (type.ok() &&
        (*type == entity.value_type ||
         (type->base == ValueType::kInt32 && entity.value_type.base == ValueType::kInt64))) {
      continue;
    }
    return ObjectError(
        kViewKind, view.name,
        Concat("join key ", Quoted(entity.join_key), " is ", field->type()->ToString(), " in ",
               Quoted(source.Place()), ", but entity ", Quoted(name), " has value_type ",
               entity.value_type.ToString()),
        type.ok() ? Concat("write value_type: ", type->ToString(), " at the entity")
                  : std::string());
  }
  return Status::OK();
}

Result<ValueType> ColumnType(const FeatureView& view, const arrow::Field& column) {
  auto type = ValueType::FromArrow(*column.type());
  if (type.ok()) return type;
  return WithContext(type.status(),
                     Concat(kViewKind, " ", Quoted(view.name), ": column ", Quoted(column.name())));
}

Status SettleType(const FeatureView& view, ValueType actual, std::string_view origin,
                  Field* field) {
  if (field->dtype.base == ValueType::kInvalid) field->dtype = actual;
  if (Widens(actual, field->dtype)) return Status::OK();
  return ObjectError(kViewKind, view.name,
                     Concat("feature ", Quoted(field->name), " is declared ",
                            field->dtype.ToString(), ", but ", origin, " is ", actual.ToString()),
                     Concat("declare dtype: ", actual.ToString()));
}

Status ResolvePlainView(const Definitions& definitions, const DataSource& source,
                        const arrow::Schema& columns, FeatureView* view) {
  if (view->schema.empty()) {
    GNOMON_ASSIGN_OR_RETURN(std::vector<std::string> reserved, JoinKeys(definitions, *view));
    reserved.push_back(Mapped(source, source.timestamp_field));
    reserved.push_back(Mapped(source, source.created_timestamp_column));
    for (const auto& column : columns.fields()) {
      if (std::ranges::find(reserved, column->name()) != reserved.end()) continue;
      auto type = ColumnType(*view, *column);
      if (!type.ok()) {
        return WithHint(type.status(), "list the features that you want under schema");
      }
      view->schema.push_back({column->name(), *type, {}, {}});
    }
    if (!view->schema.empty()) return Status::OK();
    return ObjectError(kViewKind, view->name,
                       Concat(Quoted(source.Place()), " has no column besides keys and times"));
  }
  for (Field& field : view->schema) {
    const auto column = columns.GetFieldByName(field.name);
    if (column == nullptr) {
      return UnknownColumn(kViewKind, view->name, "feature", field.name, source,
                           columns.field_names());
    }
    // A column of nulls only, such as an empty one of a CSV file, can be of any declared type.
    const bool declared = field.dtype.base != ValueType::kInvalid;
    if (declared && column->type()->id() == arrow::Type::NA) continue;
    GNOMON_ASSIGN_OR_RETURN(const ValueType type, ColumnType(*view, *column));
    GNOMON_RETURN_NOT_OK(SettleType(*view, type, "its column", &field));
  }
  return Status::OK();
}

Status ResolveWindowView(const DataSource& source, const arrow::Schema& columns,
                         FeatureView* view) {
  std::vector<Field> fields;
  for (Aggregation& aggregation : view->aggregations) {
    const auto column = columns.GetFieldByName(aggregation.column);
    if (column == nullptr) {
      return UnknownColumn(kViewKind, view->name,
                           Concat("aggregation ", Quoted(aggregation.name), ": column"),
                           aggregation.column, source, columns.field_names());
    }
    GNOMON_ASSIGN_OR_RETURN(const ValueType input, ColumnType(*view, *column));
    aggregation.column_type = input;
    GNOMON_ASSIGN_OR_RETURN(const pit::AggregateSpec spec, AggregateSpecOf(aggregation));
    const auto result = pit::ResultType(spec, *input.ToArrow());
    if (!result.ok()) {
      return WithContext(result.status(), Concat(kViewKind, " ", Quoted(view->name),
                                                 ": aggregation ", Quoted(aggregation.name)));
    }
    GNOMON_ASSIGN_OR_RETURN(const ValueType type,
                            ColumnType(*view, *arrow::field(aggregation.name, *result)));
    Field field{aggregation.name, {}, {}, {}};
    if (const Field* declared = view->FindField(aggregation.name)) field = *declared;
    GNOMON_RETURN_NOT_OK(SettleType(*view, type, "the aggregate", &field));
    fields.push_back(std::move(field));
  }
  view->schema = std::move(fields);
  return Status::OK();
}

Status ResolveView(const Definitions& definitions, const Schemas& sources, FeatureView* view) {
  GNOMON_ASSIGN_OR_RETURN(const DataSource source, SourceOf(definitions, *view));
  std::shared_ptr<arrow::Schema> schema;
  if (view->is_derived()) {
    GNOMON_ASSIGN_OR_RETURN(auto fields, ParentFields(definitions, *view));
    schema = arrow::schema(std::move(fields));
  } else {
    const auto found = sources.find(source.name);
    if (found == sources.end()) {
      return Error(ErrorKind::kInternal, "no schema was given for data source ",
                   Quoted(source.name));
    }
    schema = found->second;
  }
  GNOMON_ASSIGN_OR_RETURN(auto fields, ColumnsOf(*view, source, *schema, definitions.functions()));
  const arrow::Schema columns(std::move(fields));
  GNOMON_RETURN_NOT_OK(CheckFilter(*view, columns, definitions.functions()));
  GNOMON_RETURN_NOT_OK(CheckJoinKeys(definitions, *view, source, columns));
  if (view->is_window()) return ResolveWindowView(source, columns, view);
  return ResolvePlainView(definitions, source, columns, view);
}

// Errors keep a place that they have already.
Status Located(const Status& status, const Locator& locate, std::string_view kind,
               std::string_view name) {
  if (status.ok() || !locate || !LocationOf(status).file.empty()) return status;
  return WithLocation(status, locate(kind, name));
}

Result<Definitions> Resolve(Definitions definitions, const Schemas& sources,
                            const Locator& locate) {
  definitions = Complete(std::move(definitions));
  GNOMON_RETURN_NOT_OK(CheckDefinitions(definitions, locate));
  for (DataSource& source : definitions.data_sources) {
    const auto schema = sources.find(source.name);
    if (schema == sources.end()) continue;
    GNOMON_RETURN_NOT_OK(
        Located(ResolveSource(*schema->second, &source), locate, kSourceKind, source.name));
  }
  GNOMON_ASSIGN_OR_RETURN(const auto view_order, FeatureViewOrder(definitions));
  for (const std::string& name : view_order) {
    FeatureView& view = *std::ranges::find(definitions.feature_views, name, &FeatureView::name);
    GNOMON_RETURN_NOT_OK(
        Located(ResolveView(definitions, sources, &view), locate, kViewKind, view.name));
  }
  std::vector<std::string> names;
  for (const auto& view : definitions.on_demand_feature_views) names.push_back(view.name);
  GNOMON_ASSIGN_OR_RETURN(const auto order, OnDemandOrder(definitions, names));
  for (const std::string& name : order) {
    const auto view =
        std::ranges::find(definitions.on_demand_feature_views, name, &OnDemandFeatureView::name);
    GNOMON_RETURN_NOT_OK(
        Located(CompleteOnDemandView(definitions, &*view), locate, kOnDemandKind, name));
  }
  GNOMON_RETURN_NOT_OK(CheckDefinitions(definitions, locate));
  return definitions;
}

}  // namespace

Result<Definitions> ResolveSchemas(Definitions definitions, const Schemas& sources) {
  return Resolve(std::move(definitions), sources, {});
}

Result<Definitions> ResolveLoaded(const LoadedDefinitions& loaded, const Schemas& sources) {
  return Resolve(loaded.definitions, sources, [&](std::string_view kind, std::string_view name) {
    return loaded.Find(kind, name);
  });
}

}  // namespace gnomon::feature
