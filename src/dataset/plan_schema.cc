#include <limits>
#include <set>
#include <unordered_map>

#include <arrow/table.h>
#include <arrow/type.h>

#include "base/text.h"
#include "dataset/plan_internal.h"
#include "expr/expression.h"

/// Nodes that read files or memory, and those that look at one row at a time.
namespace gnomon::dataset::internal {

namespace {

using FunctionsPtr = std::shared_ptr<const expr::FunctionSet>;

/// Lets go of functions that the expression does not call. They may be null.
Result<std::shared_ptr<arrow::DataType>> TypeOf(const arrow::Schema& schema,
                                                const std::string& text, FunctionsPtr* functions) {
  GNOMON_ASSIGN_OR_RETURN(const auto expression, expr::Expression::Parse(text));
  const auto alone = expression.Bind(schema);
  // The language computes seconds as microseconds, but a column that is passed on is as it is.
  const auto columns = expression.columns();
  if (alone.ok() && columns.size() == 1 && text == ColumnExpression(columns[0])) {
    *functions = nullptr;
    return schema.GetFieldByName(columns[0])->type();
  }
  if (alone.ok()) {
    *functions = nullptr;
    return alone->type();
  }
  if (*functions == nullptr) return alone.status();
  GNOMON_ASSIGN_OR_RETURN(const auto bound, expression.Bind(schema, functions->get()));
  return bound.type();
}

Result<std::shared_ptr<arrow::Field>> FieldOf(const arrow::Schema& schema, NamedExpression& named) {
  if (named.name.empty()) return Error(ErrorKind::kUser, "a column without a name");
  const int column = schema.GetFieldIndex(named.name);
  if (column >= 0 && named.expression == ColumnExpression(named.name) && named.type == nullptr) {
    named.functions = nullptr;
    return schema.field(column);
  }
  auto type = TypeOf(schema, named.expression, &named.functions);
  GNOMON_RETURN_NOT_OK(WithContext(type.status(), Quoted(named.name)));
  if (named.type == nullptr) return arrow::field(named.name, *type);
  GNOMON_RETURN_NOT_OK(CheckCast(*type, named.type, named.name));
  return arrow::field(named.name, named.type);
}

Status CheckPredicate(const arrow::Schema& schema, const std::string& text,
                      FunctionsPtr* functions) {
  GNOMON_ASSIGN_OR_RETURN(const auto type, TypeOf(schema, text, functions));
  if (type->id() == arrow::Type::BOOL || type->id() == arrow::Type::NA) return Status::OK();
  return Error(ErrorKind::kUser, "a predicate must be true or false, this one is ",
               type->ToString(), ": ", text);
}

}  // namespace

Result<int> FindColumn(const arrow::Schema& schema, const std::string& name,
                       std::string_view node) {
  const int column = schema.GetFieldIndex(name);
  if (column >= 0) return column;
  const std::string prefix = node.empty() ? std::string() : Concat(node, ": ");
  return MakeError(ErrorKind::kUser, Concat(prefix, "no such column: ", Quoted(name)), {},
                   DidYouMean(name, schema.field_names()));
}

Result<std::vector<int>> FindColumns(const arrow::Schema& schema,
                                     const std::vector<std::string>& names, std::string_view node) {
  std::vector<int> columns;
  for (const std::string& name : names) {
    GNOMON_ASSIGN_OR_RETURN(const int column, FindColumn(schema, name, node));
    columns.push_back(column);
  }
  return columns;
}

Status CheckNames(const arrow::Schema& schema, std::string_view node) {
  std::set<std::string_view> names;
  for (const auto& field : schema.fields()) {
    if (names.insert(field->name()).second) continue;
    return MakeError(ErrorKind::kUser,
                     Concat(node, ": two columns have the same name: ", Quoted(field->name())), {},
                     "rename one of them");
  }
  return Status::OK();
}

std::shared_ptr<arrow::Schema> FullScanSchema(const ScanSpec& spec) {
  std::unordered_map<std::string, std::string> names;
  for (const auto& [source, name] : spec.field_mapping) names[source] = name;
  arrow::FieldVector fields;
  for (const auto& field : spec.file_schema->fields()) {
    const auto mapped = names.find(field->name());
    fields.push_back(mapped == names.end() ? field : field->WithName(mapped->second));
  }
  if (spec.partition_schema != nullptr) {
    for (const auto& field : spec.partition_schema->fields()) fields.push_back(field);
  }
  return arrow::schema(std::move(fields));
}

SchemaResult CheckSpec(ScanSpec* spec, const std::vector<Plan>& /*inputs*/) {
  if (spec->file_schema == nullptr) return Error(ErrorKind::kUser, "has no schema");
  if (spec->files.empty() && !spec->pruned) return Error(ErrorKind::kUser, "has no files");
  const auto num_partition_values = static_cast<size_t>(
      spec->partition_schema == nullptr ? 0 : spec->partition_schema->num_fields());
  for (const ScanFile& file : spec->files) {
    if (file.partition_values.size() != num_partition_values)
      return Error(ErrorKind::kUser, "wrong number of partition values: ", file.path);
    if (file.part < 0 || file.part >= file.num_parts) {
      return Error(ErrorKind::kUser, "no part of ", file.num_parts, ": ", file.part, " of ",
                   file.path);
    }
  }
  for (const auto& [source, name] : spec->field_mapping) {
    GNOMON_RETURN_NOT_OK(FindColumn(*spec->file_schema, source, "field mapping").status());
    if (name.empty()) return Error(ErrorKind::kUser, "field mapping to an empty name: ", source);
  }
  const auto full = FullScanSchema(*spec);
  GNOMON_RETURN_NOT_OK(CheckNames(*full, "scan"));
  for (const std::string& predicate : spec->predicates) {
    FunctionsPtr none;
    GNOMON_RETURN_NOT_OK(CheckPredicate(*full, predicate, &none));
  }
  if (spec->limit && *spec->limit < 0) return Error(ErrorKind::kUser, "a negative limit");
  if (!spec->columns) return full;
  GNOMON_ASSIGN_OR_RETURN(const auto columns, FindColumns(*full, *spec->columns, ""));
  arrow::FieldVector fields;
  for (const int column : columns) fields.push_back(full->field(column));
  return arrow::schema(std::move(fields));
}

SchemaResult CheckSpec(RangeSpec* spec, const std::vector<Plan>& /*inputs*/) {
  if (spec->step <= 0) return Error(ErrorKind::kUser, "step is not positive: ", spec->step);
  if (spec->name.empty()) return Error(ErrorKind::kUser, "the column has no name");
  int64_t length = 0;
  if (spec->end > spec->begin && __builtin_sub_overflow(spec->end, spec->begin, &length))
    return Error(ErrorKind::kUser, "longer than int64 can count");
  return arrow::schema({arrow::field(spec->name, arrow::int64(), false)});
}

SchemaResult CheckSpec(TableSpec* spec, const std::vector<Plan>& /*inputs*/) {
  if (spec->table == nullptr) return Error(ErrorKind::kUser, "is missing");
  return spec->table->schema();
}

SchemaResult CheckSpec(InputSpec* spec, const std::vector<Plan>& /*inputs*/) {
  if (spec->schema == nullptr) return Error(ErrorKind::kUser, "has no schema");
  return spec->schema;
}

SchemaResult CheckSpec(ExternalSpec* spec, const std::vector<Plan>& /*inputs*/) {
  if (spec->schema == nullptr) return Error(ErrorKind::kUser, "has no schema");
  if (spec->reader == nullptr)
    return Error(ErrorKind::kUser, "there is no source ", Quoted(spec->source));
  return spec->schema;
}

SchemaResult CheckSpec(ProjectSpec* spec, const std::vector<Plan>& inputs) {
  arrow::FieldVector fields;
  for (NamedExpression& named : spec->expressions) {
    GNOMON_ASSIGN_OR_RETURN(auto field, FieldOf(*inputs[0]->schema(), named));
    fields.push_back(std::move(field));
  }
  return arrow::schema(std::move(fields));
}

SchemaResult CheckSpec(FilterSpec* spec, const std::vector<Plan>& inputs) {
  GNOMON_RETURN_NOT_OK(CheckPredicate(*inputs[0]->schema(), spec->predicate, &spec->functions));
  return inputs[0]->schema();
}

SchemaResult CheckSpec(DeriveSpec* spec, const std::vector<Plan>& inputs) {
  arrow::FieldVector fields = inputs[0]->schema()->fields();
  std::set<std::string_view> derived;
  for (NamedExpression& named : spec->expressions) {
    if (!derived.insert(named.name).second)
      return Error(ErrorKind::kUser, "a column is derived twice: ", Quoted(named.name));
    GNOMON_ASSIGN_OR_RETURN(auto field, FieldOf(*inputs[0]->schema(), named));
    const int column = inputs[0]->schema()->GetFieldIndex(named.name);
    if (column >= 0) {
      fields[static_cast<size_t>(column)] = std::move(field);
    } else {
      fields.push_back(std::move(field));
    }
  }
  return arrow::schema(std::move(fields));
}

SchemaResult CheckSpec(MapBatchesSpec* spec, const std::vector<Plan>& /*inputs*/) {
  if (spec->function.empty()) return Error(ErrorKind::kUser, "names no function");
  if (spec->output_schema == nullptr) {
    return Error(ErrorKind::kUser, "has no output schema for function: ", Quoted(spec->function));
  }
  if (spec->rows_per_call <= 0)
    return Error(ErrorKind::kUser, "rows_per_call is not positive: ", spec->rows_per_call);
  return spec->output_schema;
}

SchemaResult CheckSpec(LimitSpec* spec, const std::vector<Plan>& inputs) {
  if (spec->limit < 0) return Error(ErrorKind::kUser, "is negative: ", spec->limit);
  if (spec->offset < 0) return Error(ErrorKind::kUser, "offset is negative: ", spec->offset);
  return inputs[0]->schema();
}

SchemaResult CheckSpec(SampleSpec* spec, const std::vector<Plan>& inputs) {
  if (!(spec->fraction >= 0 && spec->fraction <= 1))
    return Error(ErrorKind::kUser, "fraction is not in [0, 1]: ", spec->fraction);
  if (spec->first_position < 0)
    return Error(ErrorKind::kUser, "first_position is negative: ", spec->first_position);
  return inputs[0]->schema();
}

}  // namespace gnomon::dataset::internal
