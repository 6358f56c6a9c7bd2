#include "base/parallel.h"

#include <atomic>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

#include "tests/support/status.h"

namespace gnomon {

namespace {

// Sets the number of threads for a scope.
class Threads {
 public:
  explicit Threads(int num_threads) { SetNumThreads(num_threads); }
  ~Threads() { SetNumThreads(0); }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;
};

}  // namespace

TEST_CASE("there is at least one CPU") {
  CHECK(NumCpus() >= 1);
  CHECK(NumThreads() == NumCpus());
}

TEST_CASE("every index is called once") {
  for (const int num_threads : {1, 4}) {
    const Threads threads(num_threads);
    for (const int64_t count : {0, 1, 7, 10'000}) {
      std::vector<std::atomic<int>> calls(static_cast<size_t>(count));
      CHECK_OK(ParallelFor({}, count, [&](int64_t i) {
        ++calls[static_cast<size_t>(i)];
        return Status::OK();
      }));
      for (const auto& number : calls) REQUIRE(number.load() == 1);
    }
  }
}

TEST_CASE("more threads than CPUs run when they are asked for") {
  const Threads threads(4);
  CHECK(NumThreads() == 4);
  // Each body waits for the three others: with fewer threads this would not end.
  std::atomic<int> arrived{0};
  CHECK_OK(ParallelFor(Context{}.WithTimeout(60), 4, [&](int64_t) {
    ++arrived;
    while (arrived.load() < 4) std::this_thread::yield();
    return Status::OK();
  }));
}

TEST_CASE("the first error by index is returned, whatever ends first") {
  const Threads threads(4);
  for (int round = 0; round < 50; ++round) {
    const Status status = ParallelFor({}, 1000, [](int64_t i) {
      return i % 100 == 37 ? Error(ErrorKind::kUser, "row ", i) : Status::OK();
    });
    REQUIRE(status.message() == "row 37");
  }
}

TEST_CASE("after an error nothing behind it is started") {
  const Threads threads(1);
  int64_t num_calls = 0;
  const Status status = ParallelFor({}, 1000, [&](int64_t i) {
    ++num_calls;
    return i == 5 ? Error(ErrorKind::kUser, "stop") : Status::OK();
  });
  CHECK_ERROR(status, ErrorKind::kUser, "stop");
  CHECK(num_calls == 6);
}

TEST_CASE("cancellation ends the loop") {
  for (const int num_threads : {1, 3}) {
    const Threads threads(num_threads);
    std::stop_source source;
    std::atomic<int64_t> num_calls{0};
    const Status status =
        ParallelFor(Context{}.WithStop(source.get_token()), 100'000, [&](int64_t) {
          if (++num_calls == 10) source.request_stop();
          return Status::OK();
        });
    CHECK_ERROR(status, ErrorKind::kCancelled, "cancelled");
    CHECK(num_calls.load() < 100);
  }
}

TEST_CASE("an exception becomes an internal error") {
  const Threads threads(2);
  CHECK_ERROR(ParallelFor({}, 10, [](int64_t) -> Status { throw std::runtime_error("oh"); }),
              ErrorKind::kInternal, "oh");
  CHECK_ERROR(ParallelFor({}, 10, [](int64_t) -> Status { throw 7; }), ErrorKind::kInternal,
              "exception");
  CHECK_ERROR(ParallelFor({}, 10, [](int64_t) -> Status { throw std::bad_alloc(); }),
              ErrorKind::kExhausted, "out of memory");
}

TEST_CASE("loops nest, and a lock held around the inner one is no deadlock") {
  const Threads threads(4);
  std::mutex mutex;
  std::atomic<int64_t> sum{0};
  CHECK_OK(ParallelFor({}, 16, [&](int64_t) {
    const std::lock_guard lock(mutex);
    return ParallelFor({}, 100, [&](int64_t i) {
      sum += i;
      return Status::OK();
    });
  }));
  CHECK(sum.load() == 16 * 4950);
}

TEST_CASE("ranges cover everything once and are not shorter than the grain") {
  for (const int num_threads : {1, 4}) {
    const Threads threads(num_threads);
    for (const int64_t count : {0, 1, 99, 100, 101, 1000, 123'457}) {
      std::mutex mutex;
      std::set<std::pair<int64_t, int64_t>> ranges;
      CHECK_OK(ParallelRanges({}, count, 100, [&](int64_t begin, int64_t end) {
        const std::lock_guard lock(mutex);
        ranges.emplace(begin, end);
        return Status::OK();
      }));
      int64_t next = 0;
      for (const auto& [begin, end] : ranges) {
        CHECK(begin == next);
        CHECK((end - begin >= 100 || ranges.size() == 1));
        next = end;
      }
      CHECK(next == count);
    }
  }
}

TEST_CASE("a grain of zero counts as one") {
  int64_t num_rows = 0;
  const Threads threads(1);
  CHECK_OK(ParallelRanges({}, 3, 0, [&](int64_t begin, int64_t end) {
    num_rows += end - begin;
    return Status::OK();
  }));
  CHECK(num_rows == 3);
}

}  // namespace gnomon
