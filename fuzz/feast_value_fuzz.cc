// Reads any bytes as a Feast value of every type. Nothing may crash; what is read is written and
// read again to the same value.

#include "feature/online/feast_value.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <arrow/array.h>
#include <arrow/array/builder_base.h>
#include <arrow/compare.h>
#include <arrow/type.h>

#include "fuzz/fuzz_check.h"

namespace {

using gnomon::feature::FeastValueState;
using gnomon::feature::ValueType;
using gnomon::fuzz::Require;

struct ReadValue {
  FeastValueState state = FeastValueState::kNull;
  std::shared_ptr<arrow::Array> column;
};

// By a builder and by RowColumns, which must agree. No column when the bytes are no value.
ReadValue Read(std::string_view bytes, ValueType type) {
  const auto builder = *arrow::MakeBuilder(type.ToArrow());
  const auto state = gnomon::feature::ReadFeastValue(bytes, type, builder.get());
  gnomon::fuzz::RequireKind(state.status(), {gnomon::ErrorKind::kDataLoss});
  auto columns = *gnomon::table::RowColumns::Make({type.ToArrow()});
  Require(columns.Start(1).ok());
  const auto other = gnomon::feature::ReadFeastValue(bytes, type, 0, &columns);
  Require(other.status() == state.status());
  if (!state.ok()) return {};
  columns.EndRow();
  const auto column = *builder->Finish();
  const auto options = arrow::EqualOptions::Defaults().nans_equal(true).signed_zeros_equal(false);
  Require(*other == *state && (*columns.Finish())[0]->Equals(*column, options));
  return {.state = *state, .column = column};
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // A copy without padding, so that a read past the end is seen.
  const std::vector<char> copy(data, data + size);
  const std::string_view bytes(copy.data(), copy.size());
  const auto options = arrow::EqualOptions::Defaults().nans_equal(true).signed_zeros_equal(false);
  int values = 0;
  for (int number = 1; number <= 18; ++number) {
    const auto type = ValueType::FromFeastNumber(number);
    if (!type.ok()) continue;
    const ReadValue read = Read(bytes, *type);
    if (read.column == nullptr) continue;
    Require(read.column->length() == 1 && read.column->ValidateFull().ok());
    Require(read.column->IsNull(0) == (read.state != FeastValueState::kValue));
    if (read.state != FeastValueState::kValue) continue;
    ++values;
    std::string again;
    Require(gnomon::feature::AppendFeastValue(*read.column, *type, 0, &again).ok());
    const ReadValue back = Read(again, *type);
    Require(back.state == FeastValueState::kValue && back.column->Equals(*read.column, options));
    std::string text;
    gnomon::feature::AppendFeastText(*read.column, *type, 0, &text);
  }
  Require(values <= 1);
  return 0;
}
