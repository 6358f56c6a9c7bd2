#include "base/fault.h"

#include <csignal>
#include <stop_token>

#include <doctest/doctest.h>

#include "base/fault_internal.h"
#include "tests/support/status.h"

namespace gnomon {

using test::ValueOf;

TEST_CASE("a fault happens at the pass that was asked for and only there") {
  const auto plan = ValueOf(FaultPlan::Parse("materialize.before_commit:3:error"));
  CHECK_OK(plan->Pass("materialize.before_commit"));
  CHECK_OK(plan->Pass("materialize.before_write"));
  CHECK_OK(plan->Pass("materialize.before_commit"));
  CHECK_ERROR(plan->Pass("materialize.before_commit"), ErrorKind::kUnavailable,
              "materialize.before_commit");
  CHECK_OK(plan->Pass("materialize.before_commit"));
}

TEST_CASE("a full disk can be pretended") {
  const auto plan = ValueOf(FaultPlan::Parse("file.write:1:nospace"));
  CHECK_ERROR(plan->Pass("file.write"), ErrorKind::kExhausted, "no space");
}

std::stop_source* interrupted = nullptr;

TEST_CASE("after an interrupt the work's stop has been requested") {
  std::stop_source source;
  interrupted = &source;
  const auto old_handler = std::signal(SIGINT, [](int) { interrupted->request_stop(); });
  const auto plan = ValueOf(FaultPlan::Parse("file.write:1:interrupt"));
  CHECK_OK(plan->Pass("file.write", source.get_token()));
  CHECK(source.stop_requested());
  std::signal(SIGINT, old_handler);
}

TEST_CASE("a plan that is not understood is an error") {
  CHECK_ERROR(FaultPlan::Parse("file.write"), ErrorKind::kUser, "expected <point>:<pass>:<action>");
  CHECK_ERROR(FaultPlan::Parse("file.wirte:1:kill"), ErrorKind::kUser, "unknown fault point");
  CHECK_ERROR(FaultPlan::Parse("file.write:0:kill"), ErrorKind::kUser, "from 1");
  CHECK_ERROR(FaultPlan::Parse("file.write:1x:kill"), ErrorKind::kUser, "from 1");
  CHECK_ERROR(FaultPlan::Parse("file.write:1:explode"), ErrorKind::kUser, "unknown action");
}

TEST_CASE("every listed point can be passed without the variable") {
  CHECK_OK(CheckFaultVariable());
  for (const std::string& point : FaultPoints()) CHECK_OK(FaultPoint(point));
}

}  // namespace gnomon
