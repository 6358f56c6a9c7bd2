#include "base/back_off.h"

#include <stop_token>

#include <doctest/doctest.h>

namespace gnomon {
namespace {

constexpr BackOff kQuick = {.first_seconds = 0.001, .longest_seconds = 0.002, .total_seconds = 10};

TEST_CASE("work that does not answer is tried again until it does") {
  int attempts = 0;
  CHECK(RetryWithBackOff({}, kQuick, [&]() -> Status {
          return ++attempts < 4 ? Error(ErrorKind::kUnavailable, "not yet") : Status::OK();
        }).ok());
  CHECK(attempts == 4);
}

TEST_CASE("an error that a retry cannot help ends the work at once") {
  int attempts = 0;
  const Status status = RetryWithBackOff({}, kQuick, [&]() -> Status {
    ++attempts;
    return Error(ErrorKind::kDenied, "no");
  });
  CHECK(attempts == 1);
  CHECK(KindOf(status) == ErrorKind::kDenied);
  CHECK(status.message() == "no");
}

TEST_CASE("when the time is up the last error says how often it was tried") {
  int attempts = 0;
  Status status;
  // On a busy machine the time of one round may be up after a single attempt.
  for (double total = 0.02; attempts < 2 && total < 20; total *= 2) {
    attempts = 0;
    const BackOff back_off = {
        .first_seconds = 0.001, .longest_seconds = 0.002, .total_seconds = total};
    status = RetryWithBackOff({}, back_off, [&]() -> Status {
      ++attempts;
      return Error(ErrorKind::kUnavailable, "not there");
    });
  }
  CHECK(attempts > 1);
  CHECK(KindOf(status) == ErrorKind::kUnavailable);
  CHECK(status.message() == Concat("not there (gave up after ", attempts, " attempts)"));

  attempts = 0;
  const Status single = RetryWithBackOff({}, {.total_seconds = 0}, [&]() -> Status {
    ++attempts;
    return Error(ErrorKind::kUnavailable, "not there");
  });
  CHECK(attempts == 1);
  CHECK(single.message() == "not there");
}

TEST_CASE("an attempt that the deadline cuts off leaves the error of the one before it") {
  int attempts = 0;
  const auto cut_off_at = [&](int last) {
    attempts = 0;
    return RetryWithBackOff({}, kQuick, [&, last]() -> Status {
      return ++attempts < last ? Error(ErrorKind::kUnavailable, "refused")
                               : Error(ErrorKind::kDeadline, "out of time");
    });
  };
  CHECK(cut_off_at(1).message() == "out of time");
  const Status second = cut_off_at(2);
  CHECK(KindOf(second) == ErrorKind::kUnavailable);
  CHECK(second.message() == "refused (gave up after 2 attempts)");

  // A pause that the deadline does not leave time for is not made.
  const Status paused =
      RetryWithBackOff(Context{}.WithTimeout(100),
                       {.first_seconds = 1000, .longest_seconds = 1000, .total_seconds = 5000},
                       [&]() -> Status { return Error(ErrorKind::kUnavailable, "refused"); });
  CHECK(KindOf(paused) == ErrorKind::kUnavailable);
}

TEST_CASE("a stopped context ends a pause at once") {
  std::stop_source stop;
  const Context context = Context{}.WithStop(stop.get_token());
  const Status status = RetryWithBackOff(
      context, {.first_seconds = 1000, .longest_seconds = 1000, .total_seconds = 5000},
      [&]() -> Status {
        stop.request_stop();
        return Error(ErrorKind::kUnavailable, "not there");
      });
  CHECK(KindOf(status) == ErrorKind::kCancelled);
}

}  // namespace
}  // namespace gnomon
