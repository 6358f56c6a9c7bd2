#include "base/fault.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <semaphore>
#include <signal.h>
#include <unistd.h>
#include <utility>

#include "base/fault_internal.h"

namespace gnomon {

namespace {

constexpr std::array<std::pair<std::string_view, FaultAction>, 5> kActions = {{
    {"kill", FaultAction::kKill},
    {"error", FaultAction::kError},
    {"nospace", FaultAction::kNoSpace},
    {"interrupt", FaultAction::kInterrupt},
    {"pause", FaultAction::kPause},
}};

// Read once, at the first point that is passed; null when the variable is not set.
const Result<std::unique_ptr<FaultPlan>>& PlanOfEnvironment() {
  static const Result<std::unique_ptr<FaultPlan>> plan =
      []() -> Result<std::unique_ptr<FaultPlan>> {
    const char* variable = std::getenv("GNOMON_FAULT");
    if (variable == nullptr || *variable == 0) return nullptr;
    return FaultPlan::Parse(variable);
  }();
  return plan;
}

// The signal is handled by another thread: what comes after the point finds the stop requested.
void Interrupt(const std::stop_token& stop) {
  std::binary_semaphore stopped(0);
  const std::stop_callback on_stop(stop, [&stopped] { stopped.release(); });
  ::kill(::getpid(), SIGINT);
  if (stop.stop_possible()) stopped.acquire();
}

}  // namespace

const std::vector<std::string>& FaultPoints() {
  static const std::vector<std::string> points = {
      "materialize.after_sink",   "materialize.before_write",
      "materialize.after_batch",  "materialize.before_commit",
      "materialize.after_commit", "materialize.before_watermark",
      "registry.before_write",    "file.before_scan",
      "file.before_rename",       "file.write",
      "train.before_save",        "offline.before_commit",
      "database.in_part",         "job.before_commit",
      "job.after_commit",         "spill.write",
  };
  return points;
}

FaultPlan::FaultPlan(std::string point, int64_t pass, FaultAction action)
    : point_(std::move(point)), pass_(pass), action_(action) {}

Result<std::unique_ptr<FaultPlan>> FaultPlan::Parse(std::string_view text) {
  const auto error = [&](std::string_view what, std::string hint) {
    return MakeError(ErrorKind::kUser, Concat("GNOMON_FAULT: ", what, ": ", Quoted(text)), {},
                     std::move(hint));
  };
  const std::vector<std::string> parts = Split(text, ':');
  if (parts.size() != 3) {
    return error("expected <point>:<pass>:<action>", "as in 'materialize.before_commit:3:kill'");
  }
  if (std::ranges::find(FaultPoints(), parts[0]) == FaultPoints().end()) {
    return error("unknown fault point", Concat("points: ", Join(FaultPoints(), ", ")));
  }
  int64_t pass = 0;
  const char* end = parts[1].data() + parts[1].size();
  const auto [pass_end, pass_error] = std::from_chars(parts[1].data(), end, pass);
  if (pass_error != std::errc{} || pass_end != end || pass < 1) {
    return error("expected the number of the pass, from 1", {});
  }
  const auto action =
      std::ranges::find(kActions, parts[2], &std::pair<std::string_view, FaultAction>::first);
  if (action == kActions.end()) {
    return error("unknown action", "actions: kill, error, nospace, interrupt, pause");
  }
  return std::unique_ptr<FaultPlan>(new FaultPlan(parts[0], pass, action->second));
}

Status FaultPlan::Pass(std::string_view point, const std::stop_token& stop) {
  if (point != point_ || num_passed_.fetch_add(1) + 1 != pass_) return Status::OK();
  switch (action_) {
    case FaultAction::kKill:
      ::kill(::getpid(), SIGKILL);
      break;
    case FaultAction::kError:
      return Error(ErrorKind::kUnavailable, "injected fault: ", point);
    case FaultAction::kNoSpace:
      return Error(ErrorKind::kExhausted, "injected fault: no space left on device: ", point);
    case FaultAction::kInterrupt:
      Interrupt(stop);
      break;
    case FaultAction::kPause:
      ::raise(SIGSTOP);
      break;
  }
  return Status::OK();
}

Status FaultPoint(std::string_view name, const std::stop_token& stop) {
  GNOMON_CHECK(std::ranges::find(FaultPoints(), name) != FaultPoints().end(), name);
  const auto& plan = PlanOfEnvironment();
  if (!plan.ok()) return plan.status();
  return *plan == nullptr ? Status::OK() : (*plan)->Pass(name, stop);
}

Status CheckFaultVariable() { return PlanOfEnvironment().status(); }

}  // namespace gnomon
