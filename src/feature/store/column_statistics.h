#pragma once

#include <memory>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/context.h"
#include "base/error.h"
#include "base/memory.h"
#include "feature/registry/registry.h"

namespace gnomon::feature {

class ColumnDescription;

/// What each column of a table holds, from rows that come batch by batch: the same for the same
/// values whatever their batches and the memory limit; mean and standard deviation are exact before
/// their last rounding. Holds an eighth of the context's memory limit at most, and spills values
/// that are to be counted beyond it. The context's budget outlives it.
class TableDescription {
 public:
  static Result<std::unique_ptr<TableDescription>> Make(const Context& context,
                                                        const arrow::Schema& schema);
  ~TableDescription();
  TableDescription(const TableDescription&) = delete;
  TableDescription& operator=(const TableDescription&) = delete;

  /// The next values of one column. Different columns may be added to by different threads.
  Status AddTo(int column, std::shared_ptr<arrow::Array> values);
  /// Once, at the end: a column each, in order.
  Result<std::vector<ColumnStatistics>> Finish();
  int64_t spilled_bytes() const;

 private:
  explicit TableDescription(const Context& context);

  MemoryBudget distinct_memory_;
  std::vector<std::unique_ptr<ColumnDescription>> columns_;
};

}  // namespace gnomon::feature
