#pragma once

#include <memory>
#include <string>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/error.h"
#include "dataset/asof/asof_join.h"
#include "dataset/asof/matching_internal.h"

namespace gnomon::dataset::internal {

/// The request with its columns as places, and the schema of the result.
struct BoundRequest {
  int on = -1;
  std::vector<BoundFeatures> right;
  std::shared_ptr<arrow::Schema> schema;
};

/// Places of columns. kNotFound with the nearest name; kUser for a name that occurs twice, and of
/// FindTime for another type.
Result<std::vector<int>> FindColumns(const table::PartitionedTable& table,
                                     const std::vector<std::string>& names);
Result<int> FindTime(const table::PartitionedTable& table, const std::string& name);

/// Checks names and types: everything that can be wrong before a row was read. `request` outlives
/// the result.
Result<BoundRequest> BindRequest(const AsOfRequest& request);

}  // namespace gnomon::dataset::internal
