#pragma once

#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include <arrow/type_fwd.h>

#include "pit/bytes_internal.h"
#include "pit/partial_state.h"
#include "pit/value_column_internal.h"

namespace gnomon::pit::internal {

/// A state that can be filled from bytes.
class StoredState : public PartialState {
 public:
  /// On a fresh state: becomes what EncodeState wrote; false when the bytes are none.
  virtual bool DecodeState(ByteReader* bytes) = 0;
  uint8_t type_class() const { return own_type_class_; }

 protected:
  StoredState(PartialKind kind, uint8_t type_class)
      : PartialState(kind, type_class), own_type_class_(type_class) {}

 private:
  const uint8_t own_type_class_;
};

/// The keys, or the strings (which borrow from the column), of the rows that are not null.
std::vector<int64_t> KeysOf(const std::shared_ptr<arrow::Array>& values,
                            std::span<const uint32_t> rows);
std::vector<std::string_view> StringsOf(const std::shared_ptr<arrow::Array>& values,
                                        std::span<const uint32_t> rows);

std::unique_ptr<StoredState> MakeValueCounts(KeyKind keys, int64_t max_bytes);

}  // namespace gnomon::pit::internal
