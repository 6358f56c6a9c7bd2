// Parses any bytes as an expression, binds it to a fixed schema and evaluates it. Nothing may
// crash, a result must be a valid array of the bound type, and row by row evaluation must agree
// with the whole batch.

#include "expr/expression.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include <arrow/array.h>
#include <arrow/json/from_string.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "fuzz/fuzz_check.h"

namespace {

using gnomon::expr::BoundExpression;
using gnomon::expr::Expression;
using gnomon::fuzz::Require;

std::shared_ptr<arrow::RecordBatch> MakeBatch() {
  const auto row = arrow::struct_({
      arrow::field("i", arrow::int64()),
      arrow::field("small", arrow::int32()),
      arrow::field("u", arrow::uint64()),
      arrow::field("x", arrow::float64()),
      arrow::field("f", arrow::float32()),
      arrow::field("b", arrow::boolean()),
      arrow::field("s", arrow::utf8()),
      arrow::field("t", arrow::timestamp(arrow::TimeUnit::SECOND)),
      arrow::field("d", arrow::date32()),
      arrow::field("z", arrow::duration(arrow::TimeUnit::MICRO)),
      arrow::field("l", arrow::list(arrow::int64())),
      arrow::field("ls", arrow::list(arrow::utf8())),
      arrow::field("odd name", arrow::int64()),
  });
  return *arrow::RecordBatch::FromStructArray(*arrow::json::ArrayFromJSONString(row, R"([
      [1, 2, 3, 0.5, 1.5, true, "abc", "2024-02-29", 19782, 1000000, [1, 2, null], ["a", ""], 7],
      [0, 0, 0, -0.0, 0.0, false, "", "1970-01-01", 0, 0, [], [], 0],
      [null, null, null, null, null, null, null, null, null, null, null, null, null],
      [-9223372036854775808, -2147483648, 18446744073709551615, 1e308, -1e30, true, "Grüße %_\\", 9223372036854775807,
       2147483647, -9223372036854775808, [9223372036854775807, 1], [null], -1]])"));
}

void CompareRows(const BoundExpression& bound, const arrow::RecordBatch& batch,
                 const arrow::Result<std::shared_ptr<arrow::Array>>& whole) {
  bool any_failed = false;
  for (int64_t row = 0; row < batch.num_rows(); ++row) {
    const auto single = bound.Evaluate(*batch.Slice(row, 1));
    any_failed = any_failed || !single.ok();
    if (!single.ok()) {
      Require(gnomon::KindOf(single.status()) == gnomon::ErrorKind::kUser);
      continue;
    }
    Require((*single)->length() == 1);
    if (!whole.ok()) continue;
    const auto options = arrow::EqualOptions::Defaults().nans_equal(true);
    Require((*whole)->Slice(row, 1)->Equals(**single, options));
  }
  Require(any_failed != whole.ok());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::shared_ptr<arrow::RecordBatch> kBatch = MakeBatch();
  const auto parsed = Expression::Parse({reinterpret_cast<const char*>(data), size});
  if (!parsed.ok()) {
    Require(gnomon::KindOf(parsed.status()) == gnomon::ErrorKind::kUser);
    return 0;
  }
  Require(parsed->columns().size() <= size);
  const auto bound = parsed->Bind(*kBatch->schema());
  if (!bound.ok()) {
    Require(gnomon::KindOf(bound.status()) == gnomon::ErrorKind::kUser);
    return 0;
  }
  const auto whole = bound->Evaluate(*kBatch);
  if (whole.ok()) {
    Require((*whole)->ValidateFull().ok());
    Require((*whole)->length() == kBatch->num_rows());
    Require((*whole)->type()->Equals(bound->type()));
  }
  CompareRows(*bound, *kBatch, whole);
  (void)bound->Select(*kBatch);
  return 0;
}
