#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/error.h"
#include "net/json.h"

/// JSON requests as Arrow columns and back. Types come from the values: integers int64, numbers
/// with a fraction or exponent (or mixed with integers) float64, texts string, true and false bool,
/// null in any of them; a column of nulls only is of type null. Arrays of scalars are lists.
/// Anything else is kUser and says where ("instances[3].store").
namespace gnomon::net {

/// A parsed JSON document that its views point into. Not thread-safe; movable.
class JsonDocument {
 public:
  /// kUser for text that is not JSON, with the reason. `readable` is the number of bytes that may
  /// be read from text.data(); 64 beyond the text save a copy.
  static Result<JsonDocument> Parse(std::string_view text, size_t readable = 0);
  JsonDocument(JsonDocument&&) noexcept;
  JsonDocument& operator=(JsonDocument&&) noexcept;
  ~JsonDocument();

  /// Names of the root object's members. kUser when the root is no object.
  Result<std::vector<std::string>> Members() const;
  bool Has(std::string_view member) const;
  /// Whether the root object has the member and it is not null.
  bool HasValue(std::string_view member) const;

  /// Members of the root object. A missing one is kNotFound; a value of another type kUser; both
  /// name the member.
  Result<std::string> GetString(std::string_view member) const;
  Result<bool> GetBool(std::string_view member) const;
  Result<std::vector<std::string>> GetStrings(std::string_view member) const;

  /// {"member": {"a": [1, 2], "b": ["x", null]}}: columns of one length.
  Result<std::shared_ptr<arrow::RecordBatch>> GetColumns(std::string_view member) const;
  /// {"member": [{"a": 1, "b": "x"}, {"a": 2}]}: rows; a key that a row lacks is null.
  Result<std::shared_ptr<arrow::RecordBatch>> GetRows(std::string_view member) const;

  /// The whole document as columns or, when it is an array, as rows.
  Result<std::shared_ptr<arrow::RecordBatch>> AsTable() const;

 private:
  JsonDocument();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Appends one value: timestamps as RFC 3339 texts, bytes as base64, lists as arrays, null as null.
Status AppendJsonValue(const arrow::Array& array, int64_t row, JsonWriter* json);

}  // namespace gnomon::net
