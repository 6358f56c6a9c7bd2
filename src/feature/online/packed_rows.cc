#include <utility>

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
    std::vector<std::shared_ptr<arrow::DataType>> types;
    for (const int field : read.fields) types.push_back(read.table->schema->field(field)->type());
    GNOMON_ASSIGN_OR_RETURN(columns_, table::RowColumns::Make(types));
    schema_ = read.table->schema;
    fields_ = read.fields;
    for (auto& [id, stored] : schemas_) stored.places = PlacesIn(*stored.codec->schema(), fields_);
    reader_fields_.clear();
  }
  reader_ = read.packed;
  row_ = 0;
  if (reader_ != nullptr && reader_fields_ != reader_->fields()) {
    reader_fields_ = reader_->fields();
    for (auto& [id, stored] : schemas_)
      stored.reader_places = PlacesIn(*stored.codec->schema(), reader_fields_);
  }
  return columns_->Start(static_cast<int64_t>(read.keys.size()));
}

std::vector<int> PackedRows::PlacesIn(const arrow::Schema& stored,
                                      const std::vector<int>& fields) const {
  std::vector<int> places;
  places.reserve(fields.size());
  for (const int asked : fields) {
    const arrow::Field& field = *schema_->field(asked);
    const int place = stored.GetFieldIndex(field.name());
    const bool same = place >= 0 && stored.field(place)->type()->Equals(*field.type());
    places.push_back(same ? place : -1);
  }
  return places;
}

Status PackedRows::Append(int64_t schema_id, std::string_view bytes, const LoadSchema& load) {
  auto known = schemas_.find(schema_id);
  if (known == schemas_.end()) {
    GNOMON_ASSIGN_OR_RETURN(auto schema, load(schema_id));
    StoredSchema stored;
    stored.places = PlacesIn(*schema, fields_);
    stored.reader_places = PlacesIn(*schema, reader_fields_);
    GNOMON_ASSIGN_OR_RETURN(stored.codec, table::RowCodec::Make(std::move(schema)));
    known = schemas_.emplace(schema_id, std::move(stored)).first;
  }
  const StoredSchema& stored = known->second;
  const size_t row = row_++;
  if (reader_ != nullptr && reader_->Take(row, *stored.codec, stored.reader_places, bytes))
    return columns_->AppendNullRow();
  return stored.codec->Decode(bytes, stored.places, &*columns_);
}

Status PackedRows::AppendMissing() {
  ++row_;
  return columns_->AppendNullRow();
}

Result<std::vector<std::shared_ptr<arrow::Array>>> PackedRows::Finish() {
  reader_ = nullptr;
  return columns_->Finish();
}

}  // namespace gnomon::feature::internal
