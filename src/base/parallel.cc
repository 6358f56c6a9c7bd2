#include "base/parallel.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cmath>
#include <cstddef>
#include <exception>
#include <limits>
#include <memory>
#include <new>
#include <sched.h>
#include <thread>
#include <vector>

#include <oneapi/tbb/blocked_range.h>
#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/parallel_for.h>
#include <oneapi/tbb/partitioner.h>
#include <oneapi/tbb/task_arena.h>

#include "base/cgroup_internal.h"
#include "base/mutex.h"

namespace gnomon {

namespace {

// CPUs in the affinity mask of this process.
int NumAffineCpus() {
  // The mask of the kernel may be wider than cpu_set_t: sched_getaffinity says EINVAL until the set
  // is large enough.
  for (size_t width = CPU_SETSIZE; width <= (size_t{1} << 20); width *= 2) {
    const size_t num_sets = width / CPU_SETSIZE;
    const auto sets = std::make_unique<cpu_set_t[]>(num_sets);
    const size_t num_bytes = num_sets * sizeof(cpu_set_t);
    if (::sched_getaffinity(0, num_bytes, sets.get()) == 0)
      return CPU_COUNT_S(num_bytes, sets.get());
    if (errno != EINVAL) break;
  }
  return static_cast<int>(std::thread::hardware_concurrency());
}

// The arena, and TBB's own bound on its workers, which would else be the number of CPUs.
struct Arena {
  explicit Arena(int threads)
      : num_threads(threads),
        bound(tbb::global_control::max_allowed_parallelism, static_cast<size_t>(threads)),
        arena(threads) {}

  const int num_threads;
  tbb::global_control bound;
  tbb::task_arena arena;
};

struct ArenaHolder {
  Mutex mutex;
  std::shared_ptr<Arena> arena GNOMON_GUARDED_BY(mutex);
};

ArenaHolder& TheArenaHolder() {
  static ArenaHolder holder;
  return holder;
}

std::shared_ptr<Arena> CurrentArena() {
  ArenaHolder& holder = TheArenaHolder();
  const MutexLock lock(holder.mutex);
  if (holder.arena == nullptr) holder.arena = std::make_shared<Arena>(NumCpus());
  return holder.arena;
}

Status CallGuarded(const std::function<Status(int64_t)>& body, int64_t index) {
  try {
    return body(index);
  } catch (const std::bad_alloc&) {
    return Error(ErrorKind::kExhausted, "out of memory");
  } catch (const std::exception& exception) {
    return Error(ErrorKind::kInternal, "exception in a parallel body: ", exception.what());
  } catch (...) {
    return Error(ErrorKind::kInternal, "exception in a parallel body");
  }
}

// The error with the smallest index so far.
class FirstError {
 public:
  bool IsBefore(int64_t index) const { return index_.load(std::memory_order_relaxed) < index; }

  void Record(int64_t index, Status status) {
    const MutexLock lock(mutex_);
    if (index >= index_.load(std::memory_order_relaxed)) return;
    index_.store(index, std::memory_order_relaxed);
    status_ = std::move(status);
  }

  Status Get() {
    const MutexLock lock(mutex_);
    return status_;
  }

 private:
  std::atomic<int64_t> index_{std::numeric_limits<int64_t>::max()};
  Mutex mutex_;
  Status status_ GNOMON_GUARDED_BY(mutex_);
};

#if defined(__SANITIZE_THREAD__)

// ThreadSanitizer does not see how the uninstrumented TBB orders its tasks and takes every
// hand-over for a race; plain threads show it ours.
void RunOnThreads(Arena& arena, int64_t count, const std::function<void(int64_t)>& call) {
  std::atomic<int64_t> next{0};
  const auto work = [&] {
    for (int64_t i = next++; i < count; i = next++) call(i);
  };
  std::vector<std::thread> threads;
  for (int64_t i = 1; i < std::min<int64_t>(arena.num_threads, count); ++i)
    threads.emplace_back(work);
  work();
  for (std::thread& thread : threads) thread.join();
}

#else

void RunOnThreads(Arena& arena, int64_t count, const std::function<void(int64_t)>& call) {
  // Bodies are coarse, so a task is one call unless there are very many.
  const tbb::blocked_range<int64_t> range(0, count, static_cast<size_t>(1 + count / 4096));
  const auto call_range = [&](const tbb::blocked_range<int64_t>& part) {
    for (int64_t i = part.begin(); i != part.end(); ++i) call(i);
  };
  arena.arena.execute([&] {
    // Isolated: a thread that waits here takes no task of an outer loop, whose locks it may hold.
    tbb::this_task_arena::isolate(
        [&] { tbb::parallel_for(range, call_range, tbb::simple_partitioner()); });
  });
}

#endif

}  // namespace

int NumCpus() {
  const int affine = std::max(1, NumAffineCpus());
  const auto quota = ReadCgroupLimits().cpus;
  if (!quota) return affine;
  return std::clamp(static_cast<int>(std::ceil(std::min(*quota, 1e6))), 1, affine);
}

void SetNumThreads(int num_threads) {
  GNOMON_CHECK(num_threads >= 0, num_threads);
  auto arena = std::make_shared<Arena>(num_threads == 0 ? NumCpus() : num_threads);
  ArenaHolder& holder = TheArenaHolder();
  const MutexLock lock(holder.mutex);
  holder.arena.swap(arena);
}

int NumThreads() { return CurrentArena()->num_threads; }

Status ParallelFor(const Context& context, int64_t count,
                   const std::function<Status(int64_t)>& body) {
  FirstError first_error;
  const auto call = [&](int64_t index) {
    Status status = context.Check();
    if (status.ok()) status = CallGuarded(body, index);
    if (!status.ok()) first_error.Record(index, std::move(status));
  };
  const std::shared_ptr<Arena> arena = CurrentArena();
  if (count <= 1 || arena->num_threads == 1) {
    for (int64_t i = 0; i < count && !first_error.IsBefore(i); ++i) call(i);
    return first_error.Get();
  }
  RunOnThreads(*arena, count, [&](int64_t i) {
    if (!first_error.IsBefore(i)) call(i);
  });
  return first_error.Get();
}

Status ParallelRanges(const Context& context, int64_t count, int64_t grain,
                      const std::function<Status(int64_t begin, int64_t end)>& body) {
  if (count <= 0) return Status::OK();
  const int64_t most = int64_t{4} * NumThreads();
  const int64_t num_ranges = std::clamp<int64_t>(count / std::max<int64_t>(grain, 1), 1, most);
  const int64_t size = count / num_ranges;
  const int64_t num_longer = count % num_ranges;
  const auto begin_of = [&](int64_t i) { return i * size + std::min(i, num_longer); };
  return ParallelFor(context, num_ranges,
                     [&](int64_t i) { return body(begin_of(i), begin_of(i + 1)); });
}

}  // namespace gnomon
