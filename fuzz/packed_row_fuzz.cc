// Decodes any bytes as a packed row of every type. Nothing may crash; what decodes is encoded and
// decoded again to the same values.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <numeric>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <arrow/array.h>
#include <arrow/compare.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "fuzz/fuzz_check.h"
#include "table/row_codec.h"

namespace {

using gnomon::fuzz::Require;
using gnomon::table::RowCodec;

std::shared_ptr<arrow::Schema> MakeSchema() {
  return arrow::schema({arrow::field("i", arrow::int64()), arrow::field("text", arrow::utf8()),
                        arrow::field("flag", arrow::boolean()), arrow::field("x", arrow::float64()),
                        arrow::field("bytes", arrow::large_binary()),
                        arrow::field("small", arrow::uint16()),
                        arrow::field("at", arrow::timestamp(arrow::TimeUnit::MICRO, "UTC")),
                        arrow::field("price", arrow::decimal128(9, 2)),
                        arrow::field("flags", arrow::list(arrow::boolean())),
                        arrow::field("texts", arrow::list(arrow::utf8())),
                        arrow::field("numbers", arrow::large_list(arrow::float32()))});
}

// Null when the bytes are no row.
std::shared_ptr<arrow::RecordBatch> Decode(const RowCodec& codec, std::string_view bytes,
                                           const std::vector<int>& fields) {
  arrow::FieldVector schema;
  std::vector<std::shared_ptr<arrow::DataType>> types;
  for (const int field : fields) {
    schema.push_back(codec.schema()->field(field));
    types.push_back(schema.back()->type());
  }
  auto columns = *gnomon::table::RowColumns::Make(types);
  Require(columns.Start(1).ok());
  const gnomon::Status status = codec.Decode(bytes, fields, &columns);
  gnomon::fuzz::RequireKind(status, {gnomon::ErrorKind::kDataLoss});
  if (!status.ok()) return nullptr;
  return arrow::RecordBatch::Make(arrow::schema(schema), 1, *columns.Finish());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const RowCodec kCodec = *RowCodec::Make(MakeSchema());
  // A copy without padding, so that a read past the end is seen.
  const std::vector<char> copy(data, data + size);
  const std::string_view bytes(copy.data(), copy.size());
  std::vector<int> all(static_cast<size_t>(kCodec.schema()->num_fields()));
  std::iota(all.begin(), all.end(), 0);
  const auto row = Decode(kCodec, bytes, all);
  for (const int field : all)
    Require((Decode(kCodec, bytes, {field}) != nullptr) || row == nullptr);
  if (row == nullptr) return 0;
  Require(row->Validate().ok());
  std::string again;
  Require(kCodec.Encode(*row, 0, &again).ok());
  const auto options = arrow::EqualOptions::Defaults().nans_equal(true);
  const auto decoded = Decode(kCodec, again, all);
  Require(decoded != nullptr && decoded->Equals(*row, false, options));
  return 0;
}
