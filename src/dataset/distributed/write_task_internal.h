#pragma once

#include <memory>
#include <string>

#include <arrow/type_fwd.h>

#include "base/error.h"
#include "dataset/execution.h"
#include "dataset/plan.h"
#include "gnomon/stage_plan.pb.h"
#include "runtime/stage.h"

/// Tasks of write nodes. One task writes the whole attempt, or many write files beside the path,
/// each under a hidden name of its own, and one more gathers them in an attempt by hard links.
/// Either way one attempt is committed (file_sink_internal.h), so that all files appear at once.
namespace gnomon::dataset::internal {

/// The rows that tasks leave which write some of the files.
std::shared_ptr<arrow::Schema> WrittenFilesSchema();

/// Executes a plan with a write node at its root. The token commits it.
Result<runtime::TaskOutput> WriteWhole(runtime::TaskContext& task, const Plan& plan,
                                       const ExecutionOptions& options);

/// The same of some of the files: a block of WrittenFilesSchema, no token. A folder of files whose
/// rows were dealt out in runs gets its numbers from `fragment`.
Result<runtime::TaskOutput> WriteSome(runtime::TaskContext& task,
                                      const proto::StageFragment& fragment, const Plan& plan,
                                      const ExecutionOptions& options);

/// Puts the files that `written` names into one attempt at `path`. The token commits it.
Result<runtime::TaskOutput> AssembleFiles(const runtime::TaskContext& task, const std::string& path,
                                          Execution& written);

}  // namespace gnomon::dataset::internal
