#include "base/memory.h"

#include <limits>
#include <random>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

#include "tests/support/status.h"

namespace gnomon {

using test::ValueOf;

TEST_CASE("a reservation counts in all ancestors") {
  MemoryBudget process("process", 100);
  MemoryBudget job("job", 0, &process);
  MemoryBudget sort("sort", 50, &job);
  CHECK(sort.TryReserve(40));
  CHECK(process.used() == 40);
  CHECK(job.used() == 40);
  sort.Release(10);
  CHECK(process.used() == 30);
  CHECK(process.peak() == 40);
  sort.Release(30);
}

TEST_CASE("a refused reservation changes nothing") {
  MemoryBudget process("process", 100);
  MemoryBudget left("left", 0, &process);
  MemoryBudget right("right", 0, &process);
  CHECK(left.TryReserve(80));
  CHECK_FALSE(right.TryReserve(21));
  CHECK(right.used() == 0);
  CHECK(right.peak() == 0);
  CHECK(process.used() == 80);
  CHECK(right.TryReserve(20));
  CHECK(process.used() == 100);
}

TEST_CASE("the error names the budget that refused") {
  MemoryBudget process("process", 1024);
  MemoryBudget join("join", 0, &process);
  CHECK_ERROR(join.Reserve(2048), ErrorKind::kExhausted, "'process'");
  CHECK_OK(join.Reserve(1024));
  CHECK_ERROR(join.Reserve(1), ErrorKind::kExhausted, "used 1 KiB of 1 KiB");
}

TEST_CASE("a budget without limit refuses only what overflows") {
  MemoryBudget budget("process");
  CHECK(budget.TryReserve(std::numeric_limits<int64_t>::max()));
  CHECK_FALSE(budget.TryReserve(1));
}

TEST_CASE("a budget gives back what its owner did not") {
  MemoryBudget process("process", 100);
  {
    MemoryBudget job("job", 0, &process);
    CHECK(job.TryReserve(60));
  }
  CHECK(process.used() == 0);
}

TEST_CASE("the limit holds when many threads reserve") {
  MemoryBudget process("process", 1000);
  std::vector<std::jthread> threads;
  std::atomic<bool> passed{false};
  for (unsigned seed = 0; seed < 4; ++seed) {
    threads.emplace_back([&, seed] {
      std::mt19937 random(seed);
      MemoryBudget job("job", 600, &process);
      for (int i = 0; i < 20'000; ++i) {
        const auto bytes = static_cast<int64_t>(random() % 500);
        if (!job.TryReserve(bytes)) continue;
        if (process.used() > 1000 || job.used() > 600) passed = true;
        job.Release(bytes);
      }
    });
  }
  threads.clear();
  CHECK_FALSE(passed.load());
  CHECK(process.used() == 0);
  CHECK(process.peak() <= 1000);
}

TEST_CASE("numbers of bytes have units of 1000 and of 1024") {
  CHECK(ValueOf(ParseBytes("2GiB")) == int64_t{2} << 30);
  CHECK(ValueOf(ParseBytes("512 MB")) == 512'000'000);
  CHECK(ValueOf(ParseBytes("1073741824")) == 1'073'741'824);
  CHECK(ValueOf(ParseBytes(" 1.5 kib ")) == 1536);
  CHECK(ValueOf(ParseBytes("3TB")) == 3'000'000'000'000);
  CHECK(ValueOf(ParseBytes("0")) == 0);
  CHECK(ValueOf(ParseBytes("17 B")) == 17);
}

TEST_CASE("what is no number of bytes is an error") {
  for (const char* text : {"", "GiB", "-1", "1 XB", "1.2.3MB", ".", "1e3", "1 Ki B"}) {
    CAPTURE(text);
    CHECK_ERROR(ParseBytes(text), ErrorKind::kUser, "expected a number of bytes");
  }
  CHECK_ERROR(ParseBytes("9000000TiB"), ErrorKind::kUser, "out of range");
  CHECK_ERROR(ParseBytes("99999999999999999999"), ErrorKind::kUser, "out of range");
  CHECK_ERROR(ParseBytes("9000000.5TiB"), ErrorKind::kUser, "out of range");
}

TEST_CASE("bytes are written for people") {
  CHECK(FormatBytes(17) == "17 B");
  CHECK(FormatBytes(0) == "0 B");
  CHECK(FormatBytes(12 * 1024) == "12 KiB");
  CHECK(FormatBytes(3 * (int64_t{1} << 29)) == "1.5 GiB");
  CHECK(FormatBytes((int64_t{1} << 20) - 1) == "1 MiB");
  CHECK(FormatBytes(std::numeric_limits<int64_t>::max()) == "8 EiB");
}

}  // namespace gnomon
