#include "table/partition_rows.h"

#include <algorithm>
#include <map>

#include <arrow/array.h>
#include <arrow/chunked_array.h>
#include <arrow/table.h>
#include <arrow/type.h>

#include "base/text.h"
#include "table/column.h"
#include "table/partition_path.h"

namespace gnomon::table {

namespace {

/// Adds the folder of one more column to that of each row.
Status AddFolders(const std::string& name, const arrow::ChunkedArray& column,
                  std::vector<std::string>* folders) {
  GNOMON_ASSIGN_OR_RETURN(const auto values, SingleChunk(column));
  const auto text = [&](int64_t row) {
    return values->type_id() == arrow::Type::INT64
               ? Concat(static_cast<const arrow::Int64Array&>(*values).Value(row))
               : static_cast<const arrow::StringArray&>(*values).GetString(row);
  };
  if (values->type_id() != arrow::Type::INT64 && values->type_id() != arrow::Type::STRING) {
    return Error(ErrorKind::kUser, "column ", Quoted(name),
                 " cannot stand in the names of folders: ", values->type()->ToString());
  }
  for (size_t i = 0; i < folders->size(); ++i) {
    const auto row = static_cast<int64_t>(i);
    PartitionValue value{.name = name, .value = {}};
    if (values->IsValid(row)) value.value = text(row);
    std::string& folder = (*folders)[i];
    if (!folder.empty()) folder += '/';
    folder += FormatPartition(value);
  }
  return Status::OK();
}

}  // namespace

Result<std::vector<PartitionRows>> SplitByPartition(const arrow::Table& rows,
                                                    const std::vector<std::string>& columns) {
  std::vector<std::string> folders(static_cast<size_t>(rows.num_rows()));
  for (const std::string& name : columns) {
    const auto column = rows.GetColumnByName(name);
    if (column == nullptr) return Error(ErrorKind::kUser, "rows have no column ", Quoted(name));
    GNOMON_RETURN_NOT_OK(AddFolders(name, *column, &folders));
  }
  std::map<std::string, std::vector<int64_t>> places;
  for (size_t i = 0; i < folders.size(); ++i) places[folders[i]].push_back(static_cast<int64_t>(i));
  arrow::FieldVector fields;
  std::vector<int> kept;
  for (int i = 0; i < rows.num_columns(); ++i) {
    if (std::ranges::find(columns, rows.field(i)->name()) != columns.end()) continue;
    fields.push_back(rows.field(i));
    kept.push_back(i);
  }
  const auto schema = arrow::schema(std::move(fields));
  std::vector<PartitionRows> partitions;
  for (const auto& [folder, indices] : places) {
    arrow::ArrayVector gathered;
    for (const int column : kept) {
      GNOMON_ASSIGN_OR_RETURN(auto values, Gather(*rows.column(column), indices));
      gathered.push_back(std::move(values));
    }
    partitions.push_back({folder, arrow::Table::Make(schema, std::move(gathered),
                                                     static_cast<int64_t>(indices.size()))});
  }
  return partitions;
}

}  // namespace gnomon::table
