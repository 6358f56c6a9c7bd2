#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include <arrow/type_fwd.h>

#include "base/context.h"
#include "base/error.h"

namespace gnomon::dataset {

/// A function over batches for map_batches. Thread-safe: row-wise ones are called in parallel.
struct BatchFunction {
  /// The schema of the results for an input schema and the parameters; kUser when they do not fit.
  std::function<Result<std::shared_ptr<arrow::Schema>>(const arrow::Schema& input,
                                                       std::string_view parameters)>
      output_schema;
  /// A batch of that schema, of any number of rows. Must depend on its arguments only.
  std::function<Result<std::shared_ptr<arrow::RecordBatch>>(
      const Context& context, const std::shared_ptr<arrow::RecordBatch>& batch,
      std::string_view parameters)>
      apply;
  /// The result of some rows does not depend on the other rows of the batch, and there is one row
  /// out for each in.
  bool row_wise = false;
};

/// Functions by name. An object, not a global: a program makes one in main and registers what it
/// has. Registering is not thread-safe, looking up is.
class FunctionRegistry {
 public:
  /// kConflict when the name is taken.
  Status Register(std::string name, BatchFunction function);
  /// kNotFound with the nearest name. The function lives as long as the registry.
  Result<const BatchFunction*> Find(const std::string& name) const;

 private:
  std::map<std::string, BatchFunction> functions_;
};

}  // namespace gnomon::dataset
