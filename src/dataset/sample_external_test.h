#pragma once

#include <charconv>
#include <memory>
#include <string>
#include <vector>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "base/text.h"
#include "dataset/external_source.h"
#include "tests/support/status.h"

/// An external source for tests.
namespace gnomon::dataset::test {

/// A part "<first> <count>" is that many rows {n, twice}: consecutive numbers, in batches of two.
class NumberSource : public ExternalSource {
 public:
  static std::shared_ptr<arrow::Schema> Schema() {
    return arrow::schema(
        {arrow::field("n", arrow::int64()), arrow::field("twice", arrow::float64())});
  }

  Result<std::unique_ptr<BatchSource>> Open(const Context& /*context*/,
                                            const std::string& part) const override {
    if (part == "fail") return Error(ErrorKind::kUnavailable, "the numbers do not answer");
    const auto words = Split(part, ' ');
    return std::make_unique<Rows>(std::stoll(words[0]), std::stoll(words[1]));
  }

 private:
  class Rows : public BatchSource {
   public:
    Rows(int64_t first, int64_t count) : next_(first), end_(first + count) {}
    Result<std::shared_ptr<arrow::RecordBatch>> Next() override {
      if (next_ == end_) return nullptr;
      arrow::Int64Builder numbers;
      arrow::DoubleBuilder doubled;
      for (int i = 0; i < 2 && next_ < end_; ++i, ++next_) {
        GNOMON_RETURN_NOT_OK(numbers.Append(next_));
        GNOMON_RETURN_NOT_OK(doubled.Append(static_cast<double>(2 * next_)));
      }
      const int64_t rows = numbers.length();
      return arrow::RecordBatch::Make(Schema(), rows, {*numbers.Finish(), *doubled.Finish()});
    }

   private:
    int64_t next_;
    const int64_t end_;
  };
};

inline Plan ExternalNumbers(std::vector<std::string> parts) {
  return gnomon::test::ValueOf(MakeNode(ExternalSpec{.source = "numbers",
                                                     .parts = std::move(parts),
                                                     .schema = NumberSource::Schema(),
                                                     .bytes = 4000,
                                                     .description = "numbers of a test",
                                                     .reader = std::make_shared<NumberSource>()}));
}

}  // namespace gnomon::dataset::test
