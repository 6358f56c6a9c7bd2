#pragma once

#include <memory>

#include <arrow/type_fwd.h>

#include "base/error.h"
#include "gnomon/stage_plan.pb.h"
#include "runtime/stage.h"

namespace gnomon::dataset::internal {

/// What a task leaves of its rows. Not thread-safe.
class StageOutput {
 public:
  virtual ~StageOutput() = default;
  virtual Status Write(const arrow::RecordBatch& rows) = 0;
  virtual Result<runtime::TaskOutput> Finish() = 0;
};

/// As the fragment says: blocks that rows are dealt out to, with their positions if it wants them;
/// a sample; or boundaries. Task and fragment outlive it.
Result<std::unique_ptr<StageOutput>> OpenStageOutput(runtime::TaskContext& task,
                                                     const proto::StageFragment& fragment,
                                                     std::shared_ptr<arrow::Schema> schema);

}  // namespace gnomon::dataset::internal
