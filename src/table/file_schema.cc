#include <string_view>
#include <unordered_map>

#include <arrow/array.h>
#include <arrow/array/util.h>
#include <arrow/type.h>

#include "table/column.h"
#include "table/file_schema_internal.h"
#include "table/wider_type.h"

namespace gnomon::table::internal {

namespace {

/// Index of the first column of a name, -1 when there is none (Arrow's own look-up refuses double
/// names). Made once for many look-ups: there are files of ten thousand columns.
class ColumnPlaces {
 public:
  /// `schema` outlives this.
  explicit ColumnPlaces(const arrow::Schema& schema) : schema_(schema) {
    for (int i = 0; i < schema.num_fields(); ++i) places_.try_emplace(schema.field(i)->name(), i);
  }

  int IndexOf(const std::string& name) const {
    const auto place = places_.find(name);
    return place == places_.end() ? -1 : place->second;
  }

  /// The same for column `like` of another file: double names are told apart by their place.
  int PlaceOf(const std::string& name, int like) const {
    const bool same_place = like < schema_.num_fields() && schema_.field(like)->name() == name;
    return same_place ? like : IndexOf(name);
  }

  Result<int> Find(const std::string& name, const std::string& path) const {
    const int index = IndexOf(name);
    if (index >= 0) return index;
    return MakeError(ErrorKind::kNotFound, Concat("no such column in ", path, ": ", Quoted(name)),
                     {}, DidYouMean(name, schema_.field_names()));
  }

 private:
  const arrow::Schema& schema_;
  std::unordered_map<std::string_view, int> places_;
};

Status CheckOtherColumns(const arrow::Schema& file, const std::string& path,
                         const ReadOptions& options) {
  if (options.schema == nullptr || !options.refuse_other_columns) return Status::OK();
  const ColumnPlaces known(*options.schema);
  for (const auto& field : file.fields()) {
    if (known.IndexOf(field->name()) >= 0) continue;
    return MakeError(
        ErrorKind::kUser,
        Concat("a column that the files before it lack, in ", path, ": ", Quoted(field->name())),
        {}, "declare the schema of the files");
  }
  return Status::OK();
}

}  // namespace

std::shared_ptr<arrow::Schema> WidenSchema(
    std::span<const std::shared_ptr<arrow::Schema>> schemas) {
  std::shared_ptr<arrow::Schema> widened = schemas[0];
  for (const auto& file : schemas.subspan(1)) {
    if (file == nullptr || file->Equals(*widened, /*check_metadata=*/false)) continue;
    const ColumnPlaces places(*file);
    arrow::FieldVector fields = widened->fields();
    for (int column = 0; column < widened->num_fields(); ++column) {
      auto& field = fields[static_cast<size_t>(column)];
      const int place = places.PlaceOf(field->name(), column);
      if (place < 0) continue;
      if (auto type = CommonType(field->type(), file->field(place)->type()))
        field = field->WithType(std::move(type));
    }
    widened = arrow::schema(std::move(fields));
  }
  return widened;
}

Result<std::shared_ptr<arrow::Schema>> TableSchema(const arrow::Schema& first,
                                                   const std::string& path,
                                                   const ReadOptions& options) {
  const ColumnPlaces places(first);
  if (!options.time_column.empty())
    GNOMON_RETURN_NOT_OK(places.Find(options.time_column, path).status());
  arrow::FieldVector fields;
  if (options.columns.empty()) fields = first.fields();
  for (const std::string& name : options.columns) {
    GNOMON_ASSIGN_OR_RETURN(const int index, places.Find(name, path));
    fields.push_back(first.field(index));
  }
  for (auto& field : fields) field = field->RemoveMetadata();
  return arrow::schema(std::move(fields));
}

Result<FilePlan> PlanFile(const arrow::Schema& file, const std::string& path,
                          const arrow::Schema& table, const FolderColumns& folders,
                          const ReadOptions& options) {
  FilePlan plan;
  const ColumnPlaces places(file);
  plan.request.batch_rows = options.batch_rows;
  plan.request.time_range = options.time_range;
  if (!options.time_column.empty()) plan.request.time_column = places.IndexOf(options.time_column);
  for (const RowGroupProbe& probe : options.row_group_probes) {
    const int index = places.IndexOf(probe.column);
    if (index >= 0) plan.request.probes.emplace_back(index, probe);
  }
  GNOMON_RETURN_NOT_OK(CheckOtherColumns(file, path, options));
  for (const std::string& name : options.required_columns) {
    // A table without it is told where the column is asked for.
    if (table.GetFieldIndex(name) < 0 || places.IndexOf(name) >= 0 || folders.Has(name)) continue;
    return MakeError(
        ErrorKind::kUser,
        Concat("a column that the first file has is missing in ", path, ": ", Quoted(name)), {},
        DidYouMean(name, file.field_names()));
  }
  for (int column = 0; column < table.num_fields(); ++column) {
    const arrow::Field& field = *table.field(column);
    int index = options.columns.empty() ? places.PlaceOf(field.name(), column)
                                        : places.IndexOf(field.name());
    if (folders.Has(field.name())) index = -1;
    if (index < 0 && !field.nullable()) {
      return Error(ErrorKind::kUser, "a column that may not be null is missing in ", path, ": ",
                   Quoted(field.name()));
    }
    plan.places.push_back(index < 0 ? -1 : static_cast<int>(plan.request.columns.size()));
    if (index >= 0) plan.request.columns.push_back(index);
  }
  return plan;
}

Result<std::shared_ptr<arrow::Array>> AdaptColumn(const std::shared_ptr<arrow::Array>& column,
                                                  int64_t num_rows, const arrow::Field& field,
                                                  const std::string& path) {
  if (column == nullptr) return arrow::MakeArrayOfNull(field.type(), num_rows);
  auto cast = CastLossless(column, field.type());
  if (!cast.ok())
    return WithContext(cast.status(), Concat(path, ": column ", Quoted(field.name())));
  if (!field.nullable() && (*cast)->null_count() > 0) {
    return Error(ErrorKind::kUser, "null in a column that may not be null: ", path, ": ",
                 Quoted(field.name()));
  }
  return cast;
}

}  // namespace gnomon::table::internal
