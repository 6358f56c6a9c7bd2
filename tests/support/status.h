#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <doctest/doctest.h>

#include "base/error.h"

namespace gnomon::test {

inline Status StatusOf(const Status& status) { return status; }
template <typename T>
Status StatusOf(const Result<T>& result) {
  return result.status();
}

/// Ends the test case with FormatError when `status` is not OK.
void RequireOk(const Status& status);

/// The value of a result; ends the test case when it is an error.
template <typename T>
T ValueOf(Result<T> result) {
  RequireOk(result.status());
  return std::move(result).ValueUnsafe();
}

/// The error of a status or result; ends the test case when it is OK.
Status RequireError(const Status& status);
template <typename T>
Status ErrorOf(const T& status_or_result) {
  return RequireError(StatusOf(status_or_result));
}

/// What is wrong with `status` when it should be an error of `kind` whose FormatError holds `part`;
/// empty when nothing.
std::string ErrorMismatch(const Status& status, ErrorKind kind, std::string_view part);

}  // namespace gnomon::test

/// Checks that a Status or Result is OK; prints its error.
#define CHECK_OK(...)                                                       \
  do {                                                                      \
    const ::gnomon::Status checked = ::gnomon::test::StatusOf(__VA_ARGS__); \
    CHECK_MESSAGE(checked.ok(), checked.ToString());                        \
  } while (false)

/// Checks that a Status or Result is an error of `kind` with `part` in its message, place or hint.
#define CHECK_ERROR(status_or_result, kind, part)                                              \
  do {                                                                                         \
    const std::string mismatch =                                                               \
        ::gnomon::test::ErrorMismatch(::gnomon::test::StatusOf(status_or_result), kind, part); \
    CHECK_MESSAGE(mismatch.empty(), mismatch);                                                 \
  } while (false)
