// Reads any bytes as a data file: Parquet and Arrow IPC by their first bytes, JSON lines from a
// brace, else CSV. Nothing may crash or hang, what is read must be valid arrays of the schema that
// was promised, a stream and a whole table must have the same rows, and an error names the bytes'
// fault, not the program's.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include <arrow/array.h>
#include <arrow/chunked_array.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <arrow/type.h>

#include "base/context.h"
#include "fuzz/fuzz_check.h"
#include "fuzz/fuzz_file.h"
#include "table/file.h"

namespace {

using gnomon::ErrorKind;
using gnomon::Result;
using gnomon::fuzz::Require;
using gnomon::table::FileFormat;
using gnomon::table::ReadOptions;

FileFormat FormatOf(std::string_view bytes) {
  if (bytes.starts_with("PAR")) return FileFormat::kParquet;
  if (bytes.starts_with("ARROW") || bytes.starts_with("\xFF\xFF\xFF\xFF")) return FileFormat::kIpc;
  if (bytes.starts_with("{")) return FileFormat::kJson;
  return FileFormat::kCsv;
}

// kExhausted: a file may say that it has more rows than memory holds.
void RequireFaultOfFile(const gnomon::Status& status) {
  gnomon::fuzz::RequireKind(status, {ErrorKind::kUser, ErrorKind::kDataLoss,
                                     ErrorKind::kUnsupported, ErrorKind::kExhausted});
}

// Parquet's texts are taken as they are, UTF-8 or not.
bool IsSound(const arrow::Array& column, FileFormat format) {
  if (format != FileFormat::kParquet) return column.ValidateFull().ok();
  if (column.type_id() != arrow::Type::STRING) return column.Validate().ok();
  const auto bytes = column.View(arrow::binary());
  return bytes.ok() && (*bytes)->ValidateFull().ok();
}

// Rows, or -1 for an error.
int64_t Stream(const gnomon::Context& context, const std::string& path,
               const ReadOptions& options) {
  const auto reader = gnomon::table::TableReader::Open(context, path, options);
  RequireFaultOfFile(reader.status());
  if (!reader.ok()) return -1;
  int64_t rows = 0;
  while (true) {
    const auto batch = (*reader)->Next();
    RequireFaultOfFile(batch.status());
    if (!batch.ok()) return -1;
    if (*batch == nullptr) return rows;
    Require((*batch)->schema()->Equals(*(*reader)->schema()));
    for (const auto& column : (*batch)->columns()) Require(IsSound(*column, *options.format));
    Require((*batch)->num_rows() > 0 && (*batch)->num_rows() <= options.batch_rows);
    rows += (*batch)->num_rows();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const gnomon::fuzz::MemoryFile file(data, size);
  const gnomon::Context context;
  ReadOptions options{.batch_rows = 7, .format = FormatOf(bytes)};
  const int64_t streamed = Stream(context, file.path(), options);
  const auto table = gnomon::table::ReadTable(context, file.path(), options);
  RequireFaultOfFile(table.status());
  // One way may meet a damage that the other passes by, such as a wrong copy of a column's type.
  if (!table.ok()) return 0;
  for (const auto& column : (*table)->columns()) {
    for (const auto& chunk : column->chunks()) Require(IsSound(*chunk, *options.format));
  }
  Require(streamed < 0 || (*table)->num_rows() == streamed);
  return 0;
}
