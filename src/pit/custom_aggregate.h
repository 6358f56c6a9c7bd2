#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include <arrow/type_fwd.h>

#include "base/error.h"

/// Window aggregates that are not built in: a user's plug-in, or whatever else implements these
/// interfaces. AggregateWindows evaluates them in one canonical order
/// (docs/design/window_aggregates.md), so that even an aggregate whose result depends on how its
/// values are grouped gives the same bits offline and online.
namespace gnomon::pit {

/// Values in the form that an aggregate reads.
class CustomInput {
 public:
  virtual ~CustomInput() = default;
};

/// A result. `text` is valid until the next Finish on this thread.
struct CustomValue {
  bool is_valid = false;
  int64_t integer = 0;  ///< results of type int64, and bool as 0 or 1
  double real = 0;
  std::string_view text;
};

/// What some rows amount to. Not thread-safe.
class CustomState {
 public:
  virtual ~CustomState() = default;
  /// Back to fresh.
  virtual Status Reset() = 0;
  /// Rows [begin, end), none of them null, all later than those before. One call for many rows is
  /// the same as many calls for one.
  virtual Status Accumulate(const CustomInput& input, int64_t begin, int64_t end) = 0;
  /// Appends what `later`, a state of the same aggregate over later rows, has seen.
  virtual Status Merge(const CustomState& later) = 0;
  /// Does not end the state: more rows may follow.
  virtual Result<CustomValue> Finish() const = 0;
};

/// Immutable, thread-safe.
class CustomAggregate {
 public:
  virtual ~CustomAggregate() = default;
  virtual const std::string& name() const = 0;
  /// bool, int64, double or string. Columns of integers go to int64 and double, floats to double,
  /// large strings to string.
  virtual const std::shared_ptr<arrow::DataType>& input() const = 0;
  virtual const std::shared_ptr<arrow::DataType>& result() const = 0;
  /// Is the value of a window without rows what Finish of a fresh state gives? Otherwise it is
  /// null.
  virtual bool has_value_of_nothing() const = 0;

  /// `values`: of type input().
  virtual Result<std::unique_ptr<CustomInput>> Prepare(
      const std::shared_ptr<arrow::Array>& values) const = 0;
  virtual Result<std::unique_ptr<CustomState>> MakeState() const = 0;
};

}  // namespace gnomon::pit
