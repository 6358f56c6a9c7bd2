#pragma once

#include <memory>
#include <string>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/error.h"

namespace gnomon::table {

struct PartitionRows {
  std::string folder;  ///< "day=2024-01-05/store=7"
  std::shared_ptr<arrow::Table> rows;
};

/// Rows by the folders that they belong into, in hive's way of the columns in this order; the rows
/// of a folder keep their order and are without these columns, which are integers or texts.
Result<std::vector<PartitionRows>> SplitByPartition(const arrow::Table& rows,
                                                    const std::vector<std::string>& columns);

}  // namespace gnomon::table
