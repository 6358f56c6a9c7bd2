#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <arrow/result.h>
#include <arrow/status.h>

#include "base/text.h"

/// Errors: Arrow's Status and Result inside, with a detail that carries a kind, whether a retry can
/// help, the place in the user's files and a hint. Exit codes and HTTP statuses come from the kind
/// by the one table below.
namespace gnomon {

using arrow::Result;
using arrow::Status;

enum class ErrorKind {
  kUser,             ///< the caller's input is wrong: text, types, flags, configuration
  kNotFound,         ///< a named thing does not exist
  kConflict,         ///< it exists already, or somebody else changed it meanwhile
  kUnauthenticated,  ///< no or wrong credentials
  kDenied,           ///< known, but not allowed
  kExhausted,        ///< memory, disk, connections, size limits
  kUnavailable,      ///< a service or device does not answer now
  kDeadline,         ///< out of time
  kCancelled,        ///< stopped on request
  kDataLoss,         ///< stored bytes are truncated or corrupt
  kUnsupported,      ///< known, but this build does not do it
  kInternal,         ///< a bug of ours
};

/// Where in the user's input an error is. Zero or negative members are unknown.
struct Location {
  std::string file;
  int line = 0;      ///< from 1
  int column = 0;    ///< from 1
  int64_t row = -1;  ///< from 0

  /// "file:line:column", "file:line", "file", "row 17" or "".
  std::string ToString() const;
};

class ErrorDetail : public arrow::StatusDetail {
 public:
  ErrorDetail(ErrorKind kind, bool retryable, Location location, std::string hint);

  const char* type_id() const override;
  std::string ToString() const override;

  ErrorKind kind() const { return kind_; }
  bool retryable() const { return retryable_; }
  const Location& location() const { return location_; }
  const std::string& hint() const { return hint_; }

 private:
  ErrorKind kind_;
  bool retryable_;
  Location location_;
  std::string hint_;
};

/// Makes an error. Messages are lower-case: what is wrong first, values at the end.
/// kUnavailable is retryable unless said otherwise.
Status MakeError(ErrorKind kind, std::string message, Location location = {},
                 std::string hint = {});

/// MakeError(kind, Concat(parts...)).
template <typename... Parts>
Status Error(ErrorKind kind, const Parts&... parts) {
  return MakeError(kind, Concat(parts...));
}

/// A copy of `status` with another location or hint; an OK status stays OK.
Status WithLocation(const Status& status, Location location);
Status WithHint(const Status& status, std::string hint);

/// A copy of `status` whose message begins with `context` and ": "; an OK status stays OK.
Status WithContext(const Status& status, std::string_view context);

/// The kind in the detail; without one, derived from Arrow's code (IOError -> kUnavailable,
/// OutOfMemory -> kExhausted, Cancelled -> kCancelled, KeyError -> kNotFound, NotImplemented ->
/// kUnsupported, Invalid and TypeError -> kUser, the rest kInternal). REQUIRES: !status.ok().
ErrorKind KindOf(const Status& status);
bool IsRetryable(const Status& status);
Location LocationOf(const Status& status);
std::string HintOf(const Status& status);

/// "not_found" and so on, the names of DESIGN and of the JSON errors.
const char* NameOf(ErrorKind kind);

/// The table of the borders. Exit codes: user 2, not_found 3, conflict 4, unauthenticated and
/// denied 5, exhausted 6, unavailable 7, deadline 8, cancelled 130, data_loss 9, unsupported 10,
/// internal 1.
int ExitCodeOf(ErrorKind kind);
/// HTTP: 400, 404, 409, 401, 403, 413 (exhausted), 503, 504, 499, 500 (data_loss), 501, 500.
int HttpStatusOf(ErrorKind kind);

/// For people: "message\n  at file:3:7\n  hint: did you mean 'ttl'?" without trailing newline.
std::string FormatError(const Status& status);

/// An errno as an error: ENOENT -> kNotFound, EACCES/EPERM/EROFS -> kDenied, ENOSPC/EDQUOT/EMFILE
/// -> kExhausted, EEXIST -> kConflict, EADDRINUSE -> kConflict, the rest kUnavailable. Message:
/// "what: strerror".
Status ErrnoError(int errno_value, std::string_view what);

}  // namespace gnomon

/// Ends the process with file, line and message: for bugs only, never for user input.
#define GNOMON_CHECK(condition, ...)                                          \
  do {                                                                        \
    if (!(condition)) [[unlikely]]                                            \
      ::gnomon::CheckFailed(__FILE__, __LINE__, #condition,                   \
                            ::gnomon::Concat("" __VA_OPT__(, ) __VA_ARGS__)); \
  } while (false)

/// `GNOMON_RETURN_NOT_OK(status)` and `GNOMON_ASSIGN_OR_RETURN(auto x, result)` are Arrow's macros
/// under our name.
#define GNOMON_RETURN_NOT_OK(...) ARROW_RETURN_NOT_OK((__VA_ARGS__))
#define GNOMON_ASSIGN_OR_RETURN(lhs, ...) ARROW_ASSIGN_OR_RAISE(lhs, (__VA_ARGS__))

namespace gnomon {
[[noreturn]] void CheckFailed(const char* file, int line, const char* condition,
                              const std::string& message);
}  // namespace gnomon
