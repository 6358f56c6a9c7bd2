#pragma once

#include <memory>

#include <arrow/type_fwd.h>

#include "base/error.h"
#include "plugin/library.h"

namespace gnomon::plugin {

/// The type that a library writes so (plugin/abi.h); null for any other.
std::shared_ptr<arrow::DataType> TypeOfFormat(const char* format);
/// The same for those that aggregates take and give.
std::shared_ptr<arrow::DataType> AggregateTypeOfFormat(const char* format);

/// "int64", "float64", "string", "timestamp" ...: as the expression language calls it.
std::string NameOfType(const arrow::DataType& type);

/// Have they one name and the same parameters?
bool SameOverload(const Function& a, const Function& b);

/// A library's error as ours. REQUIRES: it failed.
Status StatusOf(const GnomonError& error);

}  // namespace gnomon::plugin
