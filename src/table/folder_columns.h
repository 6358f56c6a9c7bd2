#pragma once

#include <memory>
#include <optional>
#include <string>

#include <arrow/type_fwd.h>

#include "base/context.h"
#include "base/error.h"
#include "table/file.h"

/// Columns whose values stand in the names of folders, hive's way: `sales/day=2024-01-05/store=7/`.
/// Tables of files have them after the columns of the files: integers when all values are canonical
/// ones ("007" is none), else texts; `__HIVE_DEFAULT_PARTITION__` is null, %XX a letter. Only names
/// below the folder that was given count, or those from the first wildcard of a glob on. A column
/// that the first file has is the files' own.
namespace gnomon::table {

/// These columns of the table at `path`; no fields when there are none. kUser when files lie in
/// folders of different columns.
Result<std::shared_ptr<arrow::Schema>> FolderSchema(const Context& context, const std::string& path,
                                                    std::optional<FileFormat> format = {});

}  // namespace gnomon::table
