#include "base/error.h"

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace gnomon {

namespace {

struct Border {
  ErrorKind kind;
  const char* name;
  int exit_code;
  int http_status;
  arrow::StatusCode arrow_code;
};

constexpr std::array<Border, 12> kBorders = {{
    {ErrorKind::kUser, "user", 2, 400, arrow::StatusCode::Invalid},
    {ErrorKind::kNotFound, "not_found", 3, 404, arrow::StatusCode::KeyError},
    {ErrorKind::kConflict, "conflict", 4, 409, arrow::StatusCode::AlreadyExists},
    {ErrorKind::kUnauthenticated, "unauthenticated", 5, 401, arrow::StatusCode::Invalid},
    {ErrorKind::kDenied, "denied", 5, 403, arrow::StatusCode::Invalid},
    {ErrorKind::kExhausted, "exhausted", 6, 413, arrow::StatusCode::OutOfMemory},
    {ErrorKind::kUnavailable, "unavailable", 7, 503, arrow::StatusCode::IOError},
    {ErrorKind::kDeadline, "deadline", 8, 504, arrow::StatusCode::Cancelled},
    {ErrorKind::kCancelled, "cancelled", 130, 499, arrow::StatusCode::Cancelled},
    {ErrorKind::kDataLoss, "data_loss", 9, 500, arrow::StatusCode::SerializationError},
    {ErrorKind::kUnsupported, "unsupported", 10, 501, arrow::StatusCode::NotImplemented},
    {ErrorKind::kInternal, "internal", 1, 500, arrow::StatusCode::UnknownError},
}};

constexpr bool IsIndexedByKind() {
  for (size_t i = 0; i < kBorders.size(); ++i) {
    if (kBorders[i].kind != static_cast<ErrorKind>(i)) return false;
  }
  return kBorders.back().kind == ErrorKind::kInternal;
}
static_assert(IsIndexedByKind());

const Border& BorderOf(ErrorKind kind) { return kBorders[static_cast<size_t>(kind)]; }

constexpr char kDetailType[] = "gnomon::ErrorDetail";

// The detail of `status` when it is ours, else null.
const ErrorDetail* DetailOf(const Status& status) {
  const auto& detail = status.detail();
  if (detail == nullptr || std::strcmp(detail->type_id(), kDetailType) != 0) return nullptr;
  return static_cast<const ErrorDetail*>(detail.get());
}

ErrorKind KindOfErrno(int errno_value) {
  switch (errno_value) {
    case ENOENT:
      return ErrorKind::kNotFound;
    case EACCES:
    case EPERM:
    case EROFS:
      return ErrorKind::kDenied;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
    case EMFILE:
      return ErrorKind::kExhausted;
    case EEXIST:
    case EADDRINUSE:
      return ErrorKind::kConflict;
    default:
      return ErrorKind::kUnavailable;
  }
}

}  // namespace

std::string Location::ToString() const {
  std::string out = file;
  if (line > 0) {
    if (!out.empty()) out += ':';
    out += Concat(file.empty() ? "line " : "", line);
    if (column > 0) out += Concat(':', column);
  }
  if (row >= 0) out += Concat(out.empty() ? "row " : ", row ", row);
  return out;
}

ErrorDetail::ErrorDetail(ErrorKind kind, bool retryable, Location location, std::string hint)
    : kind_(kind), retryable_(retryable), location_(std::move(location)), hint_(std::move(hint)) {}

const char* ErrorDetail::type_id() const { return kDetailType; }

std::string ErrorDetail::ToString() const {
  std::string out = NameOf(kind_);
  if (const std::string place = location_.ToString(); !place.empty()) out += Concat(" at ", place);
  if (!hint_.empty()) out += Concat(" (", hint_, ")");
  return out;
}

Status MakeError(ErrorKind kind, std::string message, Location location, std::string hint) {
  return Status(BorderOf(kind).arrow_code, std::move(message),
                std::make_shared<ErrorDetail>(kind, kind == ErrorKind::kUnavailable,
                                              std::move(location), std::move(hint)));
}

Status WithLocation(const Status& status, Location location) {
  if (status.ok()) return status;
  return status.WithDetail(std::make_shared<ErrorDetail>(KindOf(status), IsRetryable(status),
                                                         std::move(location), HintOf(status)));
}

Status WithHint(const Status& status, std::string hint) {
  if (status.ok()) return status;
  return status.WithDetail(std::make_shared<ErrorDetail>(KindOf(status), IsRetryable(status),
                                                         LocationOf(status), std::move(hint)));
}

Status WithContext(const Status& status, std::string_view context) {
  if (status.ok()) return status;
  return status.WithMessage(Concat(context, ": ", status.message()));
}

ErrorKind KindOf(const Status& status) {
  GNOMON_CHECK(!status.ok(), "an OK status has no kind");
  if (const ErrorDetail* detail = DetailOf(status)) return detail->kind();
  switch (status.code()) {
    case arrow::StatusCode::IOError:
      return ErrorKind::kUnavailable;
    case arrow::StatusCode::OutOfMemory:
      return ErrorKind::kExhausted;
    case arrow::StatusCode::Cancelled:
      return ErrorKind::kCancelled;
    case arrow::StatusCode::KeyError:
      return ErrorKind::kNotFound;
    case arrow::StatusCode::NotImplemented:
      return ErrorKind::kUnsupported;
    case arrow::StatusCode::Invalid:
    case arrow::StatusCode::TypeError:
      return ErrorKind::kUser;
    default:
      return ErrorKind::kInternal;
  }
}

bool IsRetryable(const Status& status) {
  if (status.ok()) return false;
  if (const ErrorDetail* detail = DetailOf(status)) return detail->retryable();
  return KindOf(status) == ErrorKind::kUnavailable;
}

Location LocationOf(const Status& status) {
  const ErrorDetail* detail = DetailOf(status);
  return detail == nullptr ? Location{} : detail->location();
}

std::string HintOf(const Status& status) {
  const ErrorDetail* detail = DetailOf(status);
  return detail == nullptr ? std::string{} : detail->hint();
}

const char* NameOf(ErrorKind kind) { return BorderOf(kind).name; }

int ExitCodeOf(ErrorKind kind) { return BorderOf(kind).exit_code; }

int HttpStatusOf(ErrorKind kind) { return BorderOf(kind).http_status; }

std::string FormatError(const Status& status) {
  std::string out = status.message();
  if (const std::string place = LocationOf(status).ToString(); !place.empty()) {
    out += Concat("\n  at ", place);
  }
  if (const std::string hint = HintOf(status); !hint.empty()) out += Concat("\n  hint: ", hint);
  return out;
}

Status ErrnoError(int errno_value, std::string_view what) {
  std::array<char, 256> buffer{};
  // The GNU strerror_r: the text need not be in the buffer.
  const char* text = strerror_r(errno_value, buffer.data(), buffer.size());
  return Error(KindOfErrno(errno_value), what, ": ", text);
}

void CheckFailed(const char* file, int line, const char* condition, const std::string& message) {
  std::fprintf(stderr, "%s:%d: check failed: %s%s%s\n", file, line, condition,
               message.empty() ? "" : ": ", message.c_str());
  std::fflush(stderr);
  std::abort();
}

}  // namespace gnomon
