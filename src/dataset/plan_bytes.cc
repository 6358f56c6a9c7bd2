#include <arrow/buffer.h>
#include <arrow/io/memory.h>
#include <arrow/ipc/dictionary.h>
#include <arrow/ipc/reader.h>
#include <arrow/ipc/writer.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <arrow/type.h>

#include "base/text.h"
#include "dataset/plan_bytes_internal.h"

namespace gnomon::dataset::internal {

Status NoPlan(std::string_view what) { return Error(ErrorKind::kDataLoss, "not a plan: ", what); }

Result<std::string> SchemaBytes(const SchemaPtr& schema) {
  if (schema == nullptr) return std::string();
  GNOMON_ASSIGN_OR_RETURN(const auto buffer, arrow::ipc::SerializeSchema(*schema));
  return buffer->ToString();
}

Result<SchemaPtr> ParseSchema(const std::string& bytes) {
  if (bytes.empty()) return nullptr;
  arrow::io::BufferReader stream(arrow::Buffer::FromString(bytes));
  arrow::ipc::DictionaryMemo dictionaries;
  auto schema = arrow::ipc::ReadSchema(&stream, &dictionaries);
  if (!schema.ok()) return NoPlan(Concat("a broken schema: ", schema.status().message()));
  return *schema;
}

Result<std::string> TableBytes(const arrow::Table& table) {
  GNOMON_ASSIGN_OR_RETURN(const auto stream, arrow::io::BufferOutputStream::Create());
  auto options = arrow::ipc::IpcWriteOptions::Defaults();
  options.use_threads = false;
  GNOMON_ASSIGN_OR_RETURN(const auto writer,
                          arrow::ipc::MakeStreamWriter(stream, table.schema(), options));
  GNOMON_RETURN_NOT_OK(writer->WriteTable(table));
  GNOMON_RETURN_NOT_OK(writer->Close());
  GNOMON_ASSIGN_OR_RETURN(const auto buffer, stream->Finish());
  return buffer->ToString();
}

Result<std::shared_ptr<arrow::Table>> ParseTable(const std::string& bytes) {
  auto options = arrow::ipc::IpcReadOptions::Defaults();
  options.use_threads = false;
  const auto read = [&]() -> Result<std::shared_ptr<arrow::Table>> {
    GNOMON_ASSIGN_OR_RETURN(
        const auto reader,
        arrow::ipc::RecordBatchStreamReader::Open(
            std::make_shared<arrow::io::BufferReader>(arrow::Buffer::FromString(bytes)), options));
    GNOMON_ASSIGN_OR_RETURN(auto table, reader->ToTable());
    GNOMON_RETURN_NOT_OK(table->ValidateFull());
    return table;
  };
  auto table = read();
  if (!table.ok()) return NoPlan(Concat("a broken table: ", table.status().message()));
  return table;
}

}  // namespace gnomon::dataset::internal
