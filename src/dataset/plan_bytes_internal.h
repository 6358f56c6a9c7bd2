#pragma once

#include <memory>
#include <string>
#include <string_view>

#include <arrow/type_fwd.h>

#include "base/error.h"

/// Schemas and tables inside a serialised plan.
namespace gnomon::dataset::internal {

using SchemaPtr = std::shared_ptr<arrow::Schema>;

/// kDataLoss: "not a plan: <what>".
Status NoPlan(std::string_view what);

/// An Arrow IPC schema message; no bytes for a null.
Result<std::string> SchemaBytes(const SchemaPtr& schema);
Result<SchemaPtr> ParseSchema(const std::string& bytes);

/// An Arrow IPC stream.
Result<std::string> TableBytes(const arrow::Table& table);
Result<std::shared_ptr<arrow::Table>> ParseTable(const std::string& bytes);

}  // namespace gnomon::dataset::internal
