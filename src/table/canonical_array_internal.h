#pragma once

#include <memory>

#include <arrow/type_fwd.h>

#include "base/error.h"

namespace gnomon::table::internal {

/// The same values in memory of their own whose bytes follow from them alone: nothing of the array
/// that they were a slice of, zeros under nulls and behind the last bit. Types with dictionaries
/// stay as they are.
Result<std::shared_ptr<arrow::Array>> CanonicalArray(const std::shared_ptr<arrow::Array>& array);

}  // namespace gnomon::table::internal
