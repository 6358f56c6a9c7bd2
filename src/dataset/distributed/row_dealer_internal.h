#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/error.h"
#include "gnomon/stage_plan.pb.h"
#include "runtime/stage.h"

namespace gnomon::dataset::internal {

/// Says to which partition of the next stage each row goes. Not thread-safe.
class RowDealer {
 public:
  virtual ~RowDealer() = default;
  /// Of the next rows of the task, in [0, num_partitions).
  virtual Result<std::vector<int32_t>> PartitionsOf(const arrow::RecordBatch& rows) = 0;
};

/// What the fragment's deal says; null when all rows go to one block. Task and fragment outlive it.
Result<std::unique_ptr<RowDealer>> MakeRowDealer(const runtime::TaskContext& task,
                                                 const proto::StageFragment& fragment);

}  // namespace gnomon::dataset::internal
