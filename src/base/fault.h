#pragma once

#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

/// Named fault points for tests: GNOMON_FAULT=materialize.before_commit:3:kill makes the third pass
/// through the point kill the process (SIGKILL); `:error` returns kUnavailable, `:nospace`
/// kExhausted, `:interrupt` raises SIGINT and waits until it has fired the point's stop token,
/// `:pause` stops the process (SIGSTOP) until it gets SIGCONT.
namespace gnomon {

/// Every point by name. A point that is not listed here ends the process when it is passed (a bug).
const std::vector<std::string>& FaultPoints();

/// Passes the point; OK unless the environment asks for a fault here. Cheap when GNOMON_FAULT is
/// not set. `stop` is that of the work which passes here.
Status FaultPoint(std::string_view name, const std::stop_token& stop = {});

/// Checks GNOMON_FAULT's syntax and names; called once by main.
Status CheckFaultVariable();

}  // namespace gnomon
