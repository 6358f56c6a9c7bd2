#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include <arrow/type_fwd.h>

#include "base/error.h"

namespace gnomon::table::internal {

/// Types whose values can be equal. kNothing is Arrow's null type: no row has a key.
enum class KeyClass { kNothing, kBoolean, kInteger, kInstant, kBytes };

/// kUser for a type that cannot be a join key.
Result<KeyClass> KeyClassOf(const arrow::DataType& type);
const char* NameOf(KeyClass key_class);

/// Words that a value of the class takes, 0 for bytes.
size_t NumWords(KeyClass key_class);

inline constexpr uint8_t kNullTag = 0x80;

/// A column of keys in canonical form: equal values give equal words and tags, or equal bytes,
/// whatever their types. Borrows nothing: keeps the array. Immutable, thread-safe.
class KeyColumn {
 public:
  /// Dictionaries are decoded, extension types are what they are stored as.
  static Result<KeyColumn> Make(std::shared_ptr<arrow::Array> array);

  KeyClass key_class() const { return key_class_; }

  /// Canonical words of rows [begin, begin + count); `second` is written for kInstant only. Or-s
  /// into `tags` kNullTag for a null and `huge_tag` for a uint64 above the greatest int64 (whose
  /// word a negative number may have too).
  void LoadWords(int64_t begin, int64_t count, uint64_t* first, uint64_t* second, uint8_t huge_tag,
                 uint8_t* tags) const;

  /// REQUIRES: kBytes. The views live as long as this column.
  void LoadBytes(int64_t begin, int64_t count, std::string_view* bytes, uint8_t* tags) const;

 private:
  KeyColumn() = default;
  void LoadNulls(int64_t begin, int64_t count, uint8_t* tags) const;

  std::shared_ptr<arrow::Array> array_;
  KeyClass key_class_ = KeyClass::kNothing;
};

}  // namespace gnomon::table::internal
