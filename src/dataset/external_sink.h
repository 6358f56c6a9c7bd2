#pragma once

#include <string>

#include "base/context.h"
#include "base/error.h"
#include "dataset/execution.h"

namespace gnomon::dataset {

/// Code that writes to another system, a database for example, for external write nodes. Found by
/// its name (PlanExtensions::sinks) wherever a partition is written. Thread-safe.
///
/// An attempt to write a partition may be killed at any point and repeated, two may run at the same
/// time, and one may go on after another has been committed. So either a second writing of the same
/// rows changes nothing (then that the rows are written is all, and ExternalWriteSpec::commits is
/// null), or the attempt writes to a place of its own that `commits` makes visible
/// (runtime/sink.h).
class ExternalSink {
 public:
  virtual ~ExternalSink() = default;
  /// Writes all rows of one partition, whose columns are those of the node's input. Gives the token
  /// of the attempt, which is not empty: what the driver learns of it, and what its journal keeps.
  virtual Result<std::string> Write(const Context& context, const std::string& parameters,
                                    BatchSource& rows) const = 0;
};

}  // namespace gnomon::dataset
