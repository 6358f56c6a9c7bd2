#pragma once

#include <memory>
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

/// Checks names and types: everything that can be wrong before a row was read. `request` outlives
/// the result.
Result<BoundRequest> BindRequest(const AsOfRequest& request);

}  // namespace gnomon::dataset::internal
