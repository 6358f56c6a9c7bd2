#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/context.h"
#include "dataset/plan.h"

namespace gnomon::dataset {

struct ScanOptions {
  /// Format of all files; otherwise from each suffix.
  std::optional<table::FileFormat> format = {};
  /// Columns and types of the files under their own names; otherwise found in the files.
  std::shared_ptr<arrow::Schema> schema = nullptr;
  std::vector<FieldMapping> field_mapping = {};
  /// Folders `key=value` below a folder or the first wildcard of a glob become columns.
  bool hive_partitions = true;
};

/// A scan of files, folders and globs in this order, each sorted by path. Looks at the metadata of
/// all Parquet and IPC files, of text files at the first one.
///
/// The files' schemas become one: columns in order of first appearance; integers take the widest
/// type, floats too, times the finest unit with the first zone; a column that some file lacks is
/// null there if it may be. Whatever else differs is kUser and names file and column. Partition
/// columns are int64 when all their texts are integers, else strings.
Result<Plan> OpenScan(const Context& context, const std::vector<std::string>& paths,
                      const ScanOptions& options = {});

}  // namespace gnomon::dataset
