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

#include <arrow/builder.h>

#include "base/error.h"
#include "feature/online/online_store.h"
#include "table/row_codec.h"

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

  /// Begins a read.
  Status Start(const OnlineRead& read);
  bool Knows(int64_t schema_id) const { return schemas_.contains(schema_id); }
  Status AddSchema(int64_t id, std::shared_ptr<arrow::Schema> schema);
  Status Append(int64_t schema_id, std::string_view bytes, const LoadSchema& load);
  Status AppendMissing();
  Result<std::vector<std::shared_ptr<arrow::Array>>> Finish();

 private:
  struct StoredSchema {
    std::shared_ptr<arrow::Schema> schema;
    std::optional<table::RowCodec> codec;
    std::shared_ptr<arrow::Schema> same;  ///< a schema of a reader that equals this one
  };
  Status AppendByName(const StoredSchema& stored, std::string_view bytes);

  std::map<int64_t, StoredSchema> schemas_;
  // Of the last read, used again when the next one asks for the same.
  std::shared_ptr<arrow::Schema> schema_;
  std::vector<int> fields_;
  std::vector<std::unique_ptr<arrow::ArrayBuilder>> builders_;
};

}  // namespace gnomon::feature::internal
