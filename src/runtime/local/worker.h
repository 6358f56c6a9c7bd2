#pragma once

#include "base/error.h"
#include "runtime/stage.h"

namespace gnomon::runtime {

/// The life of a worker process: serves the driver on the other end of `socket` (one task at a
/// time, or one actor) until it closes. `registry` must be the driver's. When the driver goes away
/// while a task runs, the task is asked to stop, and a few seconds later the process is ended.
Status RunWorker(const StageRegistry& registry, int socket);

}  // namespace gnomon::runtime
