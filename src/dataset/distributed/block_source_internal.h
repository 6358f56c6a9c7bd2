#pragma once

#include <functional>
#include <memory>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/error.h"
#include "dataset/execution.h"
#include "runtime/stage.h"

namespace gnomon::dataset::internal {

/// The blocks of some edges of a task, one edge after the other, under the names and nullability of
/// `schema`. The task outlives the source.
Result<std::unique_ptr<BatchSource>> OpenEdges(const runtime::TaskContext& task,
                                               std::vector<int> edges,
                                               std::shared_ptr<arrow::Schema> schema);

/// The batch with the names and nullability of `schema`, whose types are the batch's; kInternal
/// when they are not.
Result<std::shared_ptr<arrow::RecordBatch>> WithSchema(
    const arrow::RecordBatch& batch, const std::shared_ptr<arrow::Schema>& schema);

}  // namespace gnomon::dataset::internal
