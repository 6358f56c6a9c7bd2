#pragma once

#include <memory>

#include <arrow/io/type_fwd.h>
#include <arrow/type_fwd.h>

#include "base/error.h"
#include "runtime/stored_bytes.h"

namespace arrow::ipc {
class RecordBatchWriter;
}

/// The one form in which batches are stored: an uncompressed Arrow IPC stream whose buffers are
/// aligned to 64 bytes, so that mapped bytes can be used as they are.
namespace gnomon::runtime {

Result<std::shared_ptr<arrow::ipc::RecordBatchWriter>> OpenBatchStream(
    const std::shared_ptr<arrow::io::OutputStream>& output,
    const std::shared_ptr<arrow::Schema>& schema);

/// kDataLoss when the bytes are no such stream.
Result<std::shared_ptr<arrow::RecordBatchReader>> ReadBatchStream(
    const std::shared_ptr<StoredBytes>& bytes);

}  // namespace gnomon::runtime
