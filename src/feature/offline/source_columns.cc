#include <set>
#include <utility>
#include <vector>

#include <arrow/array.h>
#include <arrow/array/util.h>
#include <arrow/chunked_array.h>
#include <arrow/table.h>
#include <arrow/type.h>

#include "base/text.h"
#include "feature/offline/source_columns_internal.h"
#include "table/column.h"

namespace gnomon::feature {

Status InSource(const DataSource& source, const Status& status) {
  return WithContext(status, Concat("data source ", Quoted(source.name)));
}

std::string SourceName(const DataSource& source, const std::string& column) {
  for (const auto& [from, to] : source.field_mapping) {
    if (to == column) return from;
  }
  return column;
}

Status UnknownColumn(const DataSource& source, const std::string& column,
                     const std::vector<std::string>& known) {
  return InSource(source,
                  MakeError(ErrorKind::kNotFound, Concat("there is no column ", Quoted(column)), {},
                            DidYouMean(column, known)));
}

std::string MappedName(const DataSource& source, const std::string& column) {
  const auto mapped = source.field_mapping.find(column);
  return mapped == source.field_mapping.end() ? column : mapped->second;
}

Result<std::shared_ptr<arrow::Schema>> MappedSchema(const DataSource& source,
                                                    const arrow::Schema& schema) {
  if (source.field_mapping.empty()) return arrow::schema(schema.fields());
  std::set<std::string> names;
  arrow::FieldVector fields;
  for (const auto& field : schema.fields()) {
    const std::string name = MappedName(source, field->name());
    if (!names.insert(name).second) {
      return Error(ErrorKind::kUser, "field_mapping of data source ", Quoted(source.name),
                   " gives two columns the name ", Quoted(name));
    }
    fields.push_back(field->WithName(name));
  }
  return arrow::schema(std::move(fields));
}

Result<std::shared_ptr<arrow::Schema>> SchemaUnderMappedNames(const DataSource& source,
                                                              const arrow::Schema& schema) {
  for (const auto& [from, to] : source.field_mapping) {
    if (schema.GetFieldIndex(from) >= 0) continue;
    return MakeError(ErrorKind::kUser,
                     Concat("field_mapping of data source ", Quoted(source.name), ": ",
                            Quoted(from), " is no column of ", source.Place()),
                     {}, DidYouMean(from, schema.field_names()));
  }
  return MappedSchema(source, schema);
}

Result<std::shared_ptr<const arrow::Table>> ConformRows(const DataSource& source,
                                                        const arrow::Table& rows,
                                                        const arrow::Schema& schema) {
  for (const std::string& name : rows.schema()->field_names()) {
    if (schema.GetFieldIndex(name) >= 0) continue;
    return InSource(source, MakeError(ErrorKind::kUser, Concat("there is no column ", Quoted(name)),
                                      {}, DidYouMean(name, schema.field_names())));
  }
  std::vector<std::shared_ptr<arrow::ChunkedArray>> columns;
  for (const auto& field : schema.fields()) {
    const auto column = rows.GetColumnByName(field->name());
    std::shared_ptr<arrow::Array> array;
    if (column == nullptr) {
      GNOMON_ASSIGN_OR_RETURN(array, arrow::MakeArrayOfNull(field->type(), rows.num_rows()));
    } else {
      GNOMON_ASSIGN_OR_RETURN(array, table::SingleChunk(*column));
      auto cast = table::CastLossless(array, field->type());
      if (!cast.ok()) {
        return InSource(source,
                        WithContext(cast.status(), Concat("column ", Quoted(field->name()))));
      }
      array = *std::move(cast);
    }
    columns.push_back(std::make_shared<arrow::ChunkedArray>(std::move(array)));
  }
  return arrow::Table::Make(arrow::schema(schema.fields()), std::move(columns), rows.num_rows());
}

}  // namespace gnomon::feature
