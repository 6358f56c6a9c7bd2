#include "base/context.h"

#include <doctest/doctest.h>

#include "tests/support/status.h"

namespace gnomon {

TEST_CASE("a context without stop and deadline goes on") { CHECK_OK(Context{}.Check()); }

TEST_CASE("a stop request cancels all copies") {
  std::stop_source source;
  const Context context = Context{}.WithStop(source.get_token());
  const Context copy = context;
  CHECK_OK(copy.Check());
  source.request_stop();
  CHECK_ERROR(copy.Check(), ErrorKind::kCancelled, "cancelled");
}

TEST_CASE("a deadline that has passed ends the call") {
  CHECK_ERROR(Context{}.WithTimeout(-1).Check(), ErrorKind::kDeadline, "out of time");
  CHECK_OK(Context{}.WithTimeout(1000).Check());
}

TEST_CASE("a timeout never extends an earlier deadline") {
  const Context context = Context{}.WithTimeout(10);
  CHECK(context.WithTimeout(1000).deadline == context.deadline);
  CHECK(*context.WithTimeout(1).deadline < *context.deadline);
}

TEST_CASE("a stop request is told before a passed deadline") {
  std::stop_source source;
  source.request_stop();
  const Context context = Context{}.WithTimeout(-1).WithStop(source.get_token());
  CHECK(KindOf(context.Check()) == ErrorKind::kCancelled);
}

}  // namespace gnomon
