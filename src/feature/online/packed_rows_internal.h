#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/error.h"
#include "feature/online/online_store.h"
#include "table/row_codec.h"
#include "table/row_columns.h"

/// What the stores share of the packed layout: docs/formats/online_packed.md draws it.
namespace gnomon::feature::internal {

/// A schema as it is stored beside the rows, and back. kDataLoss when it cannot be read.
Result<std::string> SerializeSchema(const arrow::Schema& schema);
Result<std::shared_ptr<arrow::Schema>> ParseSchema(std::string_view bytes);

/// kInternal when the batch does not fit its keys, times or table.
Status CheckShape(const OnlineRows& rows, const arrow::Schema& schema);

/// Decodes stored rows of one view, each under the schema it was written with: fields match by
/// name and type, the others are null. Keeps what it made for the next read of the same fields.
/// Not thread-safe; after an error throw it away.
class PackedRows {
 public:
  /// Finds the schema of an id that was not seen before.
  using LoadSchema = std::function<Result<std::shared_ptr<arrow::Schema>>(int64_t id)>;

  /// Begins a read: as many rows as it has keys are appended.
  Status Start(const OnlineRead& read);
  Status Append(int64_t schema_id, std::string_view bytes, const LoadSchema& load);
  Status AppendMissing();
  Result<std::vector<std::shared_ptr<arrow::Array>>> Finish();

 private:
  struct StoredSchema {
    std::optional<table::RowCodec> codec;
    std::vector<int> places;         ///< of the asked fields, -1: it has no such field
    std::vector<int> reader_places;  ///< of reader_fields_
  };
  std::vector<int> PlacesIn(const arrow::Schema& stored, const std::vector<int>& fields) const;

  std::map<int64_t, StoredSchema> schemas_;
  PackedRowReader* reader_ = nullptr;  ///< of the read at hand
  size_t row_ = 0;
  // Of the last read, used again when the next one asks for the same.
  std::shared_ptr<arrow::Schema> schema_;
  std::vector<int> fields_;
  std::vector<int> reader_fields_;  ///< PackedRowReader::fields
  std::optional<table::RowColumns> columns_;
};

}  // namespace gnomon::feature::internal
