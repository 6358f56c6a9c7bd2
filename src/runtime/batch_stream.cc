#include <utility>

#include <arrow/io/memory.h>
#include <arrow/ipc/options.h>
#include <arrow/ipc/reader.h>
#include <arrow/ipc/writer.h>

#include "runtime/batch_stream_internal.h"

namespace gnomon::runtime {

Result<std::shared_ptr<arrow::ipc::RecordBatchWriter>> OpenBatchStream(
    const std::shared_ptr<arrow::io::OutputStream>& output,
    const std::shared_ptr<arrow::Schema>& schema) {
  auto options = arrow::ipc::IpcWriteOptions::Defaults();
  options.alignment = 64;
  options.use_threads = false;
  return arrow::ipc::MakeStreamWriter(output, schema, options);
}

Result<std::shared_ptr<arrow::RecordBatchReader>> ReadBatchStream(
    const std::shared_ptr<StoredBytes>& bytes) {
  GNOMON_ASSIGN_OR_RETURN(auto buffer, bytes->Map());
  auto options = arrow::ipc::IpcReadOptions::Defaults();
  options.use_threads = false;
  auto reader = arrow::ipc::RecordBatchStreamReader::Open(
      std::make_shared<arrow::io::BufferReader>(std::move(buffer)), options);
  if (!reader.ok()) {
    return Error(ErrorKind::kDataLoss,
                 "a block holds no record batches: ", reader.status().message());
  }
  return std::shared_ptr<arrow::RecordBatchReader>(std::move(*reader));
}

}  // namespace gnomon::runtime
