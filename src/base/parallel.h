#pragma once

#include <cstdint>
#include <functional>

#include "base/context.h"
#include "base/error.h"

/// Parallelism inside a process: lambdas on the one oneTBB arena. A worker never waits for I/O of a
/// remote store.
namespace gnomon {

/// CPUs that this process may use: affinity mask and cgroup quota (rounded up), at least 1.
int NumCpus();

/// Limits the arena to `num_threads` (0: NumCpus()). Call before the first ParallelFor; later calls
/// apply to later calls of it.
void SetNumThreads(int num_threads);
int NumThreads();

/// Runs body(i) for i in [0, count) on the arena and waits. The first error by index is returned,
/// whatever ends first: of what has not started yet, indices behind an error are not started and
/// those before it are. Cancellation of `context` is looked at before each call. An exception
/// becomes kInternal, std::bad_alloc kExhausted.
Status ParallelFor(const Context& context, int64_t count,
                   const std::function<Status(int64_t)>& body);

/// Cuts [0, count) into ranges of at least `grain` and runs body(begin, end) for each.
Status ParallelRanges(const Context& context, int64_t count, int64_t grain,
                      const std::function<Status(int64_t begin, int64_t end)>& body);

}  // namespace gnomon
