#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "plugin/abi.h"

/// Typed columns over the arrays of plugin/abi.h. Part of plugin/sdk.h; needs nothing but the C
/// header. The hidden visibility keeps plug-ins apart that are loaded into one process.
#pragma GCC visibility push(hidden)
namespace gnomon::sdk {

struct Timestamp {
  int64_t micros = 0;  ///< since 1970, UTC
};
struct Date {
  int32_t days = 0;  ///< since 1970
};
struct Duration {
  int64_t micros = 0;
};

enum class ErrorKind : int32_t {
  kUser = GNOMON_ERROR_USER,
  kNotFound = GNOMON_ERROR_NOT_FOUND,
  kExhausted = GNOMON_ERROR_EXHAUSTED,
  kUnavailable = GNOMON_ERROR_UNAVAILABLE,
  kUnsupported = GNOMON_ERROR_UNSUPPORTED,
  kInternal = GNOMON_ERROR_INTERNAL
};

/// What a function or an aggregate throws to end the call with an error of that kind. Of other
/// exceptions std::logic_error (invalid_argument, domain_error, out_of_range ...) is kUser,
/// std::bad_alloc kExhausted, the rest kInternal.
class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message, int64_t row = -1)
      : std::runtime_error(message), kind_(kind), row_(row) {}
  ErrorKind kind() const { return kind_; }
  int64_t row() const { return row_; }

 private:
  ErrorKind kind_;
  int64_t row_;
};

namespace internal {

template <typename T>
inline constexpr bool kAlwaysFalse = false;

/// The type's name in the Arrow C Data Interface.
template <typename T>
constexpr const char* FormatOf() {
  if constexpr (std::is_same_v<T, bool>) {
    return "b";
  } else if constexpr (std::is_same_v<T, int64_t>) {
    return "l";
  } else if constexpr (std::is_same_v<T, double>) {
    return "g";
  } else if constexpr (std::is_same_v<T, std::string> || std::is_same_v<T, std::string_view>) {
    return "u";
  } else if constexpr (std::is_same_v<T, Timestamp>) {
    return "tsu:UTC";
  } else if constexpr (std::is_same_v<T, Date>) {
    return "tdD";
  } else if constexpr (std::is_same_v<T, Duration>) {
    return "tDu";
  } else {
    static_assert(kAlwaysFalse<T>,
                  "a plug-in takes and gives bool, int64_t, double, std::string_view (results: "
                  "std::string), Timestamp, Date and Duration");
  }
}

template <typename T>
inline constexpr bool kIsText =
    std::is_same_v<T, std::string> || std::is_same_v<T, std::string_view>;
/// Is one element a T in memory?
template <typename T>
inline constexpr bool kIsPlain = !kIsText<T> && !std::is_same_v<T, bool>;

inline bool BitAt(const void* bits, int64_t i) {
  return ((static_cast<const uint8_t*>(bits)[i >> 3] >> (i & 7)) & 1) != 0;
}
inline void SetBit(std::vector<uint8_t>* bits, int64_t i, bool value) {
  uint8_t& byte = (*bits)[static_cast<size_t>(i >> 3)];
  const auto bit = static_cast<uint8_t>(1U << (i & 7));
  byte = static_cast<uint8_t>(value ? byte | bit : byte & ~bit);
}

}  // namespace internal

/// A column of arguments. T is bool, int64_t, double, std::string_view, Timestamp, Date or
/// Duration.
template <typename T>
class Column {
 public:
  explicit Column(const ArrowArray& array) : array_(&array) {}

  int64_t size() const { return array_->length; }
  bool is_valid(int64_t i) const {
    return array_->buffers[0] == nullptr || internal::BitAt(array_->buffers[0], array_->offset + i);
  }
  /// REQUIRES: is_valid(i).
  T operator[](int64_t i) const {
    const int64_t at = array_->offset + i;
    if constexpr (std::is_same_v<T, bool>) {
      return internal::BitAt(array_->buffers[1], at);
    } else if constexpr (internal::kIsText<T>) {
      const auto* offsets = static_cast<const int32_t*>(array_->buffers[1]);
      const auto* bytes = static_cast<const char*>(array_->buffers[2]);
      const auto size = static_cast<size_t>(offsets[at + 1] - offsets[at]);
      return size == 0 ? T() : T(bytes + offsets[at], size);
    } else {
      return static_cast<const T*>(array_->buffers[1])[at];
    }
  }
  std::optional<T> at(int64_t i) const {
    return is_valid(i) ? std::optional<T>((*this)[i]) : std::nullopt;
  }
  /// All values in a row, arbitrary where not valid.
  std::span<const T> values() const
    requires internal::kIsPlain<T>
  {
    return {static_cast<const T*>(array_->buffers[1]) + array_->offset,
            static_cast<size_t>(array_->length)};
  }

 private:
  const ArrowArray* array_;
};

/// A column of results, all null at first. T is bool, int64_t, double, std::string, Timestamp,
/// Date or Duration.
template <typename T>
class Output {
 public:
  explicit Output(int64_t size)
      : size_(size),
        validity_(static_cast<size_t>((size + 7) / 8), 0),
        values_(std::is_same_v<T, bool> ? validity_.size() : static_cast<size_t>(size)) {}

  int64_t size() const { return size_; }
  void Set(int64_t i, T value) {
    internal::SetBit(&validity_, i, true);
    if constexpr (std::is_same_v<T, bool>) {
      internal::SetBit(&values_, i, value);
    } else {
      values_[static_cast<size_t>(i)] = std::move(value);
    }
  }
  void SetNull(int64_t i) { internal::SetBit(&validity_, i, false); }
  void SetAllValid() { validity_.assign(validity_.size(), 0xFF); }
  /// To write values in a loop of one's own; say SetAllValid, or Set where they are valid.
  std::span<T> values()
    requires internal::kIsPlain<T>
  {
    return values_;
  }

  /// Gives the values away as an array that releases itself.
  void MoveTo(ArrowArray* array) && {
    auto kept = std::make_unique<Kept>();
    kept->validity = std::move(validity_);
    if constexpr (internal::kIsText<T>) {
      WriteTexts(kept.get());
    } else {
      kept->values = std::move(values_);
      kept->buffers[1] = kept->values.data();
    }
    kept->buffers[0] = kept->validity.data();
    *array = {};
    array->length = size_;
    array->null_count = -1;  // not counted
    array->n_buffers = internal::kIsText<T> ? 3 : 2;
    array->buffers = kept->buffers;
    array->release = [](ArrowArray* own) {
      delete static_cast<Kept*>(own->private_data);
      own->release = nullptr;
    };
    array->private_data = kept.release();
  }

 private:
  // std::vector<bool> has no elements: bools are kept as the bits of the array.
  using Values = std::vector<std::conditional_t<std::is_same_v<T, bool>, uint8_t, T>>;
  struct Kept {
    std::vector<uint8_t> validity;
    Values values;
    std::vector<int32_t> offsets;
    std::string bytes;
    const void* buffers[3] = {};
  };

  void WriteTexts(Kept* kept) {
    kept->offsets.push_back(0);
    for (int64_t i = 0; i < size_; ++i) {
      if (internal::BitAt(kept->validity.data(), i)) kept->bytes += values_[static_cast<size_t>(i)];
      if (kept->bytes.size() > static_cast<size_t>(INT32_MAX)) {
        throw Error(ErrorKind::kExhausted, "more than 2 GiB of text in one batch", i);
      }
      kept->offsets.push_back(static_cast<int32_t>(kept->bytes.size()));
    }
    kept->buffers[1] = kept->offsets.data();
    kept->buffers[2] = kept->bytes.data();
  }

  int64_t size_;
  std::vector<uint8_t> validity_;
  Values values_;
};

}  // namespace gnomon::sdk
#pragma GCC visibility pop
