#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>

#include "expr/type_internal.h"

namespace gnomon::expr {

template <typename T>
std::shared_ptr<T[]> NewValues(int64_t count) {
  return std::make_shared_for_overwrite<T[]>(static_cast<size_t>(count));
}
template <typename T>
std::shared_ptr<T[]> NewZeros(int64_t count) {
  return std::make_shared<T[]>(static_cast<size_t>(count));
}

/// The values of one expression over the rows of a batch, or one value that stands for all rows.
/// Values are of the C++ type of their Kind (see there); a byte per row says whether it is valid.
/// Values under nulls, and all values of rows that were not asked for, are arbitrary but
/// initialised. Buffers are shared and immutable; texts and lists borrow from the batch, the
/// program or the Evaluation. Copying is cheap.
struct Vector {
  bool constant = false;
  std::shared_ptr<const uint8_t[]> validity;  ///< null: all valid
  std::shared_ptr<const void> values;

  template <typename T>
  const T* data() const {
    return static_cast<const T*>(values.get());
  }
  /// Of a row; of the only value when constant.
  bool IsValid(int64_t row) const {
    return validity == nullptr || validity[constant ? 0 : row] != 0;
  }
  template <typename T>
  const T& At(int64_t row) const {
    return data<T>()[constant ? 0 : row];
  }
};

/// The value of a list: a part of a vector of elements, which the Evaluation keeps.
struct ListSlice {
  const Vector* elements = nullptr;
  int64_t begin = 0;
  int64_t length = 0;
};

/// Calls `function` with a value-initialised value of the C++ type that holds the kind.
template <typename Function>
auto WithValueType(Kind kind, Function&& function) {
  switch (kind) {
    case Kind::kInt:
    case Kind::kTimestamp:
    case Kind::kDate:
    case Kind::kDuration:
      return std::forward<Function>(function)(int64_t{});
    case Kind::kFloat:
      return std::forward<Function>(function)(double{});
    case Kind::kText:
      return std::forward<Function>(function)(std::string_view{});
    case Kind::kList:
      return std::forward<Function>(function)(ListSlice{});
    case Kind::kNull:
    case Kind::kBool:
    case Kind::kOpaque:
      break;
  }
  return std::forward<Function>(function)(uint8_t{});
}

/// A constant vector of one value.
template <typename T>
Vector ConstantVector(T value) {
  auto values = NewValues<T>(1);
  values[0] = value;
  return {.constant = true, .validity = nullptr, .values = std::move(values)};
}

/// A constant null of a type.
Vector NullVector(Type type);

}  // namespace gnomon::expr
