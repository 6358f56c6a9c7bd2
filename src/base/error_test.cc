#include "base/error.h"

#include <array>
#include <cerrno>

#include <doctest/doctest.h>

#include "tests/support/status.h"

namespace gnomon {

namespace {

constexpr std::array<ErrorKind, 12> kKinds = {ErrorKind::kUser,        ErrorKind::kNotFound,
                                              ErrorKind::kConflict,    ErrorKind::kUnauthenticated,
                                              ErrorKind::kDenied,      ErrorKind::kExhausted,
                                              ErrorKind::kUnavailable, ErrorKind::kDeadline,
                                              ErrorKind::kCancelled,   ErrorKind::kDataLoss,
                                              ErrorKind::kUnsupported, ErrorKind::kInternal};

}  // namespace

TEST_CASE("the table of the borders is as documented") {
  std::string table;
  for (const ErrorKind kind : kKinds) {
    table += Concat(NameOf(kind), ' ', ExitCodeOf(kind), ' ', HttpStatusOf(kind), '\n');
  }
  CHECK(table ==
        "user 2 400\n"
        "not_found 3 404\n"
        "conflict 4 409\n"
        "unauthenticated 5 401\n"
        "denied 5 403\n"
        "exhausted 6 413\n"
        "unavailable 7 503\n"
        "deadline 8 504\n"
        "cancelled 130 499\n"
        "data_loss 9 500\n"
        "unsupported 10 501\n"
        "internal 1 500\n");
}

TEST_CASE("an error keeps kind, message, place and hint") {
  const Status status =
      MakeError(ErrorKind::kNotFound, "no feature view: 'x'",
                {.file = "features.yaml", .line = 3, .column = 7}, "did you mean 'y'?");
  CHECK(KindOf(status) == ErrorKind::kNotFound);
  CHECK(status.message() == "no feature view: 'x'");
  CHECK(LocationOf(status).line == 3);
  CHECK(HintOf(status) == "did you mean 'y'?");
  CHECK(FormatError(status) ==
        "no feature view: 'x'\n  at features.yaml:3:7\n  hint: did you mean 'y'?");
  CHECK(FormatError(Error(ErrorKind::kUser, "bad value: ", 7)) == "bad value: 7");
}

TEST_CASE("every kind survives a status") {
  for (const ErrorKind kind : kKinds) {
    const Status status = Error(kind, "x");
    CHECK(KindOf(status) == kind);
    CHECK(IsRetryable(status) == (kind == ErrorKind::kUnavailable));
  }
}

TEST_CASE("a place is written with what is known of it") {
  CHECK(Location{}.ToString() == "");
  CHECK(Location{.file = "a"}.ToString() == "a");
  CHECK(Location{.file = "a", .line = 2}.ToString() == "a:2");
  CHECK(Location{.file = "a", .line = 2, .column = 3}.ToString() == "a:2:3");
  CHECK(Location{.file = "a", .row = 17}.ToString() == "a, row 17");
  CHECK(Location{.file = "", .row = 0}.ToString() == "row 0");
}

TEST_CASE("context, place and hint are added without losing the rest") {
  const Status error = Error(ErrorKind::kExhausted, "disk full");
  const Status status =
      WithHint(WithLocation(WithContext(error, "materialize a"), {.file = "f"}), "h");
  CHECK(KindOf(status) == ErrorKind::kExhausted);
  CHECK(FormatError(status) == "materialize a: disk full\n  at f\n  hint: h");
  CHECK(KindOf(WithContext(error, "a")) == ErrorKind::kExhausted);
}

TEST_CASE("an OK status stays OK") {
  CHECK(WithContext(Status::OK(), "a").ok());
  CHECK(WithHint(Status::OK(), "a").ok());
  CHECK(WithLocation(Status::OK(), {}).ok());
  CHECK_FALSE(IsRetryable(Status::OK()));
  CHECK(HintOf(Status::OK()) == "");
}

TEST_CASE("a status of Arrow's gets its kind from its code") {
  CHECK(KindOf(Status::IOError("x")) == ErrorKind::kUnavailable);
  CHECK(IsRetryable(Status::IOError("x")));
  CHECK(KindOf(Status::OutOfMemory("x")) == ErrorKind::kExhausted);
  CHECK(KindOf(Status::Cancelled("x")) == ErrorKind::kCancelled);
  CHECK(KindOf(Status::KeyError("x")) == ErrorKind::kNotFound);
  CHECK(KindOf(Status::NotImplemented("x")) == ErrorKind::kUnsupported);
  CHECK(KindOf(Status::Invalid("x")) == ErrorKind::kUser);
  CHECK(KindOf(Status::TypeError("x")) == ErrorKind::kUser);
  CHECK(KindOf(Status::UnknownError("x")) == ErrorKind::kInternal);
  CHECK(KindOf(Status::IndexError("x")) == ErrorKind::kInternal);
}

TEST_CASE("a hint on Arrow's status keeps its kind") {
  const Status status = WithHint(Status::KeyError("x"), "h");
  CHECK(KindOf(status) == ErrorKind::kNotFound);
  CHECK(FormatError(status) == "x\n  hint: h");
}

TEST_CASE("an errno becomes a kind and a text") {
  CHECK(KindOf(ErrnoError(ENOENT, "x")) == ErrorKind::kNotFound);
  CHECK(KindOf(ErrnoError(EACCES, "x")) == ErrorKind::kDenied);
  CHECK(KindOf(ErrnoError(EROFS, "x")) == ErrorKind::kDenied);
  CHECK(KindOf(ErrnoError(ENOSPC, "x")) == ErrorKind::kExhausted);
  CHECK(KindOf(ErrnoError(EMFILE, "x")) == ErrorKind::kExhausted);
  CHECK(KindOf(ErrnoError(EEXIST, "x")) == ErrorKind::kConflict);
  CHECK(KindOf(ErrnoError(EADDRINUSE, "x")) == ErrorKind::kConflict);
  CHECK(KindOf(ErrnoError(EIO, "x")) == ErrorKind::kUnavailable);
  CHECK(ErrnoError(ENOENT, "cannot read a").message() ==
        "cannot read a: No such file or directory");
}

TEST_CASE("the macros pass an error on and unpack a value") {
  const auto twice = [](const Result<int>& in) -> Result<int> {
    GNOMON_RETURN_NOT_OK(Status::OK());
    GNOMON_ASSIGN_OR_RETURN(const int value, in);
    return 2 * value;
  };
  CHECK(test::ValueOf(twice(4)) == 8);
  CHECK_ERROR(twice(Error(ErrorKind::kDenied, "no")), ErrorKind::kDenied, "no");
}

}  // namespace gnomon
