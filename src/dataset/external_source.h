#pragma once

#include <memory>
#include <string>

#include "base/context.h"
#include "base/error.h"
#include "dataset/execution.h"

namespace gnomon::dataset {

/// Code that reads another system, a database for example, for external nodes. Found by its name
/// (PlanExtensions::sources) wherever a part of the plan runs. Thread-safe.
class ExternalSource {
 public:
  virtual ~ExternalSource() = default;
  /// The rows of one part of ExternalSpec::parts, in columns of the node's types in its order; the
  /// names do not matter. The same part has the same rows in the same order each time and in every
  /// process, or an error: a task that is made again may not differ. Outlived by context and
  /// source.
  virtual Result<std::unique_ptr<BatchSource>> Open(const Context& context,
                                                    const std::string& part) const = 0;
};

}  // namespace gnomon::dataset
