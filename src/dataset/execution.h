#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/context.h"
#include "base/error.h"
#include "dataset/function_registry.h"
#include "dataset/plan.h"

/// Runs a plan as a stream of record batches.
namespace gnomon::dataset {

/// Batches of one schema, in order. Not thread-safe.
class BatchSource {
 public:
  virtual ~BatchSource() = default;
  /// The next batch, null at the end and ever after.
  virtual Result<std::shared_ptr<arrow::RecordBatch>> Next() = 0;
};

/// None of these changes a result.
struct ExecutionOptions {
  /// Rows per batch, about: between 1 and 2^30.
  int64_t batch_rows = int64_t{64} * 1024;
  /// Where operators put aside what memory does not hold (setting spill_folder); empty: $TMPDIR,
  /// else /var/tmp. Files there have no names, so that a crash leaves nothing behind.
  std::string spill_folder = {};
  /// Functions for map_batches; outlives the execution.
  const FunctionRegistry* functions = nullptr;
  /// Opens the batches of InputSpec nodes by name; called once for each node.
  std::map<std::string, std::function<Result<std::unique_ptr<BatchSource>>()>> inputs = {};
  /// Off: the plan is executed as it stands, for comparison.
  bool optimize = true;
  /// By the place of each node in the plan, which is executed as it stands (nodes before their
  /// inputs, these in order): the operator of a larger plan that it belongs to, 0 for none. Nodes
  /// of two of them are not fused, so that each is counted by itself. Empty: all of none.
  std::vector<int> operators = {};
};

/// What one operator of a physical plan did so far.
struct OperatorStats {
  std::string name;     ///< "filter + project"
  std::string details;  ///< as in Explain
  std::string reason;   ///< why this strategy, empty when there is only one
  int depth = 0;        ///< below its consumer
  int64_t rows = 0;     ///< given to its consumer, as the next two
  int64_t batches = 0;
  int64_t bytes = 0;
  double seconds = 0;  ///< without its inputs
  int64_t spilled_bytes = 0;
  int64_t spill_files = 0;
  int64_t row_groups = 0;  ///< of scans, as the next
  int64_t row_groups_pruned = 0;
  int64_t pages = 0;  ///< in row groups that were read in part, as the next
  int64_t pages_pruned = 0;
  int node = 0;       ///< place of its first node in the plan that was executed: see `operators`
  int num_nodes = 1;  ///< from there down, fused
  /// In how many tasks it ran, of a plan in stages (dataset/distributed): `seconds` are theirs one
  /// after the other.
  int64_t tasks = 0;
  double longest_seconds = 0;  ///< of one of them
};

/// A plan that is being run. Holds memory and unnamed files until it is destroyed. Not thread-safe;
/// works in parallel inside.
class Execution : public BatchSource {
 public:
  /// Optimises, checks functions and inputs; reads nothing yet. `context` is kept: what it points
  /// to outlives the execution. With context.memory operators spill when it refuses; beyond it each
  /// operator holds a few batches, and what one key or one row needs.
  static Result<std::unique_ptr<Execution>> Start(const Context& context, const Plan& plan,
                                                  ExecutionOptions options = {});

  virtual const std::shared_ptr<arrow::Schema>& schema() const = 0;
  /// Operators from the root down, inputs after their consumer.
  virtual std::vector<OperatorStats> Stats() const = 0;
  /// Logical plan, optimised plan, physical plan, and what was decided and why.
  virtual std::string Explain() const = 0;
};

/// The operators of an execution of `plan` as it stands, as Execution::Stats has them before they
/// have done anything.
std::vector<OperatorStats> ListOperators(const Plan& plan);

/// One line an operator: rows, bytes, time, spilled bytes.
std::string FormatStats(const std::vector<OperatorStats>& stats);

}  // namespace gnomon::dataset
