#include "feature/engine/distinct_values.h"

#include <random>
#include <set>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/type.h>
#include <doctest/doctest.h>

#include "base/memory.h"
#include "tests/support/status.h"

namespace gnomon::feature {
namespace {

using test::ValueOf;

constexpr int64_t kKiB = 1024;

struct Counted {
  int64_t count = 0;
  int64_t spilled_bytes = 0;
  int64_t peak = 0;  ///< of the index's budget
};

/// Of `batches` under a limit (0: none), of which an eighth is for the index.
Counted CountUnder(int64_t limit, const arrow::ArrayVector& batches) {
  MemoryBudget memory("test", limit);
  MemoryBudget index("index", limit / 8, &memory);
  Context context;
  context.memory = &memory;
  auto values = ValueOf(DistinctValues::Make(context, batches.front()->type(), &index));
  for (const auto& batch : batches) CHECK_OK(values.Add(batch));
  Counted counted{.count = ValueOf(values.Count()), .spilled_bytes = values.spilled_bytes()};
  counted.peak = index.peak();
  return counted;
}

TEST_CASE("distinct values are counted exactly however little memory there is") {
  std::mt19937_64 random(5);
  std::set<int64_t> numbers;
  std::set<std::string> texts;
  arrow::ArrayVector number_batches;
  arrow::ArrayVector text_batches;
  for (int batch = 0; batch < 60; ++batch) {
    arrow::Int64Builder number;
    arrow::StringBuilder text;
    const auto rows = static_cast<int>(random() % 5'000);
    for (int row = 0; row < rows; ++row) {
      const auto value = static_cast<int64_t>(random() % 100'000);
      CHECK_OK(row % 10 == 0 ? number.AppendNull() : number.Append(value));
      CHECK_OK(row % 10 == 0 ? text.AppendNull() : text.Append("text " + std::to_string(value)));
      if (row % 10 == 0) continue;
      numbers.insert(value);
      texts.insert("text " + std::to_string(value));
    }
    number_batches.push_back(ValueOf(number.Finish()));
    text_batches.push_back(ValueOf(text.Finish()));
  }
  for (const int64_t limit : {int64_t{0}, 16'000 * kKiB, 2'000 * kKiB, 400 * kKiB}) {
    CAPTURE(limit);
    const Counted of_numbers = CountUnder(limit, number_batches);
    CHECK(of_numbers.count == static_cast<int64_t>(numbers.size()));
    CHECK((of_numbers.spilled_bytes > 0) == (limit == 400 * kKiB || limit == 2'000 * kKiB));
    const Counted of_texts = CountUnder(limit, text_batches);
    CHECK(of_texts.count == static_cast<int64_t>(texts.size()));
    if (limit > 0) CHECK(of_texts.peak <= limit / 8);
  }
}

TEST_CASE("a part of the values that does not fit is counted in smaller ones") {
  arrow::Int64Builder builder;
  for (int64_t i = 0; i < 400'000; ++i) CHECK_OK(builder.Append(i * 3));
  const auto all = ValueOf(builder.Finish());
  arrow::ArrayVector batches;
  for (int64_t begin = 0; begin < all->length(); begin += 20'000)
    batches.push_back(all->Slice(begin, 20'000));
  // A sixty-fourth of the values has 6,250, for which 80 KiB are too few.
  CHECK(CountUnder(640 * kKiB, batches).count == 400'000);
}

TEST_CASE("floating point has no distinct values") {
  CHECK(KindOf(DistinctValues::Make({}, arrow::float64(), nullptr).status()) == ErrorKind::kUser);
}

}  // namespace
}  // namespace gnomon::feature
