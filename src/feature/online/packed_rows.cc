#include <utility>

#include <arrow/array.h>
#include <arrow/array/data.h>
#include <arrow/buffer.h>
#include <arrow/io/memory.h>
#include <arrow/ipc/reader.h>
#include <arrow/ipc/writer.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "base/text.h"
#include "feature/online/packed_rows_internal.h"

namespace gnomon::feature::internal {

Result<std::string> SerializeSchema(const arrow::Schema& schema) {
  GNOMON_ASSIGN_OR_RETURN(const auto bytes, arrow::ipc::SerializeSchema(*schema.RemoveMetadata()));
  return bytes->ToString();
}

Result<std::shared_ptr<arrow::Schema>> ParseSchema(std::string_view bytes) {
  arrow::io::BufferReader reader(std::make_shared<arrow::Buffer>(
      reinterpret_cast<const uint8_t*>(bytes.data()), static_cast<int64_t>(bytes.size())));
  arrow::ipc::DictionaryMemo memo;
  auto schema = arrow::ipc::ReadSchema(&reader, &memo);
  if (!schema.ok()) {
    return Error(ErrorKind::kDataLoss,
                 "a stored schema cannot be read: ", schema.status().message());
  }
  return schema;
}

Status CheckShape(const OnlineRows& rows, const arrow::Schema& schema) {
  const size_t num_rows = rows.keys.size();
  if (rows.event_times.size() != num_rows || rows.created_times.size() != num_rows ||
      rows.values == nullptr || rows.values->num_rows() != static_cast<int64_t>(num_rows)) {
    return Error(ErrorKind::kInternal, "online rows differ in length from their keys: ", num_rows);
  }
  if (!rows.values->schema()->Equals(schema, /*check_metadata=*/false)) {
    return Error(ErrorKind::kInternal, "online rows have another schema than their table: ",
                 rows.values->schema()->ToString());
  }
  return Status::OK();
}

Status PackedRows::Start(const OnlineRead& read) {
  if (schema_ != read.table->schema || fields_ != read.fields) {
    builders_.clear();
    for (const int field : read.fields) {
      GNOMON_ASSIGN_OR_RETURN(auto builder,
                              arrow::MakeBuilder(read.table->schema->field(field)->type()));
      builders_.push_back(std::move(builder));
    }
    schema_ = read.table->schema;
    fields_ = read.fields;
  }
  for (const auto& builder : builders_)
    GNOMON_RETURN_NOT_OK(builder->Reserve(static_cast<int64_t>(read.keys.size())));
  return Status::OK();
}

Status PackedRows::AddSchema(int64_t id, std::shared_ptr<arrow::Schema> schema) {
  StoredSchema stored;
  stored.schema = std::move(schema);
  GNOMON_ASSIGN_OR_RETURN(stored.codec, table::RowCodec::Make(stored.schema));
  schemas_.emplace(id, std::move(stored));
  return Status::OK();
}

Status PackedRows::Append(int64_t schema_id, std::string_view bytes, const LoadSchema& load) {
  auto known = schemas_.find(schema_id);
  if (known == schemas_.end()) {
    GNOMON_ASSIGN_OR_RETURN(auto schema, load(schema_id));
    GNOMON_RETURN_NOT_OK(AddSchema(schema_id, std::move(schema)));
    known = schemas_.find(schema_id);
  }
  StoredSchema& stored = known->second;
  if (stored.same != schema_ && stored.schema->Equals(*schema_, /*check_metadata=*/false))
    stored.same = schema_;
  if (stored.same == schema_) return stored.codec->Decode(bytes, fields_, builders_);
  return AppendByName(stored, bytes);
}

Status PackedRows::AppendMissing() {
  for (const auto& builder : builders_) GNOMON_RETURN_NOT_OK(builder->AppendNull());
  return Status::OK();
}

Result<std::vector<std::shared_ptr<arrow::Array>>> PackedRows::Finish() {
  std::vector<std::shared_ptr<arrow::Array>> columns;
  columns.reserve(builders_.size());
  for (const auto& builder : builders_) {
    GNOMON_ASSIGN_OR_RETURN(auto column, builder->Finish());
    columns.push_back(std::move(column));
  }
  return columns;
}

Status PackedRows::AppendByName(const StoredSchema& stored, std::string_view bytes) {
  std::vector<int> found;
  std::vector<size_t> places;
  std::vector<std::unique_ptr<arrow::ArrayBuilder>> parts;
  for (size_t i = 0; i < fields_.size(); ++i) {
    const auto& field = schema_->field(fields_[i]);
    const int index = stored.schema->GetFieldIndex(field->name());
    if (index < 0 || !stored.schema->field(index)->type()->Equals(*field->type())) {
      GNOMON_RETURN_NOT_OK(builders_[i]->AppendNull());
      continue;
    }
    found.push_back(index);
    places.push_back(i);
    GNOMON_ASSIGN_OR_RETURN(auto part, arrow::MakeBuilder(field->type()));
    parts.push_back(std::move(part));
  }
  GNOMON_RETURN_NOT_OK(stored.codec->Decode(bytes, found, parts));
  for (size_t i = 0; i < parts.size(); ++i) {
    GNOMON_ASSIGN_OR_RETURN(const auto value, parts[i]->Finish());
    GNOMON_RETURN_NOT_OK(
        builders_[places[i]]->AppendArraySlice(arrow::ArraySpan(*value->data()), 0, 1));
  }
  return Status::OK();
}

}  // namespace gnomon::feature::internal
