#pragma once

#include <memory>
#include <string>

#include <arrow/type_fwd.h>

#include "base/error.h"
#include "feature/definition/types.h"

namespace gnomon::feature::internal {

/// A column of a request as its declared type, without loss. JSON knows fewer types: texts become
/// timestamps (RFC 3339) and doubles are rounded to Float32. kUser naming column and row.
Result<std::shared_ptr<arrow::Array>> CastInput(const std::string& name,
                                                const std::shared_ptr<arrow::Array>& column,
                                                ValueType type);

/// CastInput, except that columns which EntityKeyEncoder takes as they are stay so.
Result<std::shared_ptr<arrow::Array>> CastKey(const std::string& name,
                                              const std::shared_ptr<arrow::Array>& column,
                                              ValueType type);

}  // namespace gnomon::feature::internal
