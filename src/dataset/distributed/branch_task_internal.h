#pragma once

#include <functional>

#include "base/error.h"
#include "dataset/execution.h"
#include "dataset/plan.h"
#include "gnomon/stage_plan.pb.h"
#include "runtime/stage.h"

namespace gnomon::dataset::internal {

/// The task of a fragment with branches: reads `source` once, hands its batches to all branches,
/// and leaves their outputs one after the other. Each branch runs on a thread of its own; reading
/// waits while one of them is behind, so that few batches are there at any time. `parse` reads the
/// plan of a branch; `options` are for all of the task's executions.
Result<runtime::TaskOutput> RunBranches(
    runtime::TaskContext& task, const proto::StageFragment& fragment, const Plan& source,
    const ExecutionOptions& options, const std::function<Result<Plan>(const std::string&)>& parse);

}  // namespace gnomon::dataset::internal
