#include "table/fingerprint.h"

#include <cstring>
#include <numeric>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <arrow/type.h>
#include <doctest/doctest.h>

#include "base/ids.h"
#include "table/column.h"
#include "tests/support/status.h"

namespace gnomon::table {
namespace {

using test::ValueOf;

constexpr int64_t kRows = 150'000;

std::string Word(uint64_t number) {
  std::string bytes(sizeof(number), '\0');
  std::memcpy(bytes.data(), &number, sizeof(number));
  return bytes;
}

std::shared_ptr<arrow::Table> NumbersAndTexts() {
  arrow::Int64Builder numbers;
  arrow::StringBuilder texts;
  for (int64_t row = 0; row < kRows; ++row) {
    CHECK_OK(row % 7 == 0 ? numbers.AppendNull() : numbers.Append(row * row));
    CHECK_OK(row % 11 == 0 ? texts.AppendNull() : texts.Append(std::to_string(row)));
  }
  return arrow::Table::Make(
      arrow::schema({arrow::field("number", arrow::int64()), arrow::field("text", arrow::utf8())}),
      arrow::ArrayVector{ValueOf(numbers.Finish()), ValueOf(texts.Finish())});
}

/// As the format says it, so that fingerprints that were stored stay what they are.
std::string ByDefinition() {
  std::string hashes = Word(kRows);
  hashes += std::string("number\0int64\0text\0string\0", 25);
  for (const bool numbers : {true, false}) {
    std::string block;
    for (int64_t row = 0; row < kRows; ++row) {
      const std::string text = std::to_string(row);
      if (row % (numbers ? 7 : 11) == 0) {
        block += std::string(1, '\0');
      } else {
        block += '\1';
        block += numbers ? Word(static_cast<uint64_t>(row * row)) : Word(text.size()) + text;
      }
      if ((row + 1) % 65'536 != 0 && row + 1 != kRows) continue;
      hashes += Sha256Hex(block);
      block.clear();
    }
  }
  return Sha256Hex(hashes);
}

TEST_CASE("rows that come batch by batch have the fingerprint of their table") {
  const auto table = NumbersAndTexts();
  const std::string expected = ByDefinition();
  CHECK(ValueOf(Fingerprint(*table)) == expected);
  for (const int64_t batch_rows : {1000, 65'536, 65'537, 100'000, 200'000}) {
    CAPTURE(batch_rows);
    RunningFingerprint fingerprint(*table->schema());
    arrow::TableBatchReader batches(*table);
    batches.set_chunksize(batch_rows);
    while (const auto batch = ValueOf(batches.Next())) CHECK_OK(fingerprint.Add(*batch));
    CHECK(fingerprint.Finish(kRows) == expected);
  }
}

TEST_CASE("a table without rows has a fingerprint of its columns") {
  const auto empty = NumbersAndTexts()->Slice(0, 0);
  CHECK(RunningFingerprint(*empty->schema()).Finish(0) == ValueOf(Fingerprint(*empty)));
  CHECK(RunningFingerprint(*empty->schema()).Finish(0) !=
        RunningFingerprint(*empty->SelectColumns({0}).ValueOrDie()->schema()).Finish(0));
}

}  // namespace
}  // namespace gnomon::table
