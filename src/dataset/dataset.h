#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/context.h"
#include "base/error.h"
#include "dataset/execution.h"
#include "dataset/plan.h"
#include "dataset/scan.h"

/// Tables larger than memory, lazily: a Dataset is a plan that is made step by step and run at the
/// end.
///
///   GNOMON_ASSIGN_OR_RETURN(const auto totals,
///       Dataset::Read(context, "sales/")
///           .Filter("weekly_sales > 0")
///           .Derive("week", "date_trunc('week', date)")
///           .Aggregate({"store", "week"}, {{AggregateFunction::kSum, "weekly_sales"}})
///           .Sort({{"store"}, {"week"}})
///           .Collect(context));
namespace gnomon::dataset {

/// What an execution gave beside its rows.
struct ExecutionReport {
  std::vector<OperatorStats> stats;
  std::string explain;
};

/// A value: copies share the plan. A step that is wrong makes a Dataset with that error, which
/// every further step keeps and the end reports.
class Dataset {
 public:
  explicit Dataset(Result<Plan> plan) : plan_(std::move(plan)) {}

  static Dataset Read(const Context& context, const std::string& path,
                      const ScanOptions& options = {});
  static Dataset Read(const Context& context, const std::vector<std::string>& paths,
                      const ScanOptions& options = {});
  static Dataset Of(std::shared_ptr<arrow::Table> table);
  static Dataset Range(int64_t begin, int64_t end, int64_t step = 1, std::string name = "id");

  Dataset Select(const std::vector<std::string>& columns) const;
  Dataset Project(std::vector<NamedExpression> expressions) const;
  Dataset Filter(std::string predicate) const;
  Dataset Derive(std::string name, std::string expression) const;
  Dataset Derive(std::vector<NamedExpression> expressions) const;
  /// The schema comes from the function, whose name must be in the options' registry when it runs.
  Dataset MapBatches(const FunctionRegistry& functions, std::string function,
                     std::string parameters = {}, int64_t rows_per_call = int64_t{64} * 1024) const;
  /// The same with a plug-in's function, which the plan keeps (stages find it by its name among
  /// their PlanExtensions).
  Dataset MapBatches(const PlanExtensions& extensions, std::string function,
                     std::string parameters = {}, int64_t rows_per_call = int64_t{64} * 1024) const;
  Dataset Join(const Dataset& right, JoinSpec spec) const;
  /// For each row of this dataset the newest row of `events` as of its time.
  Dataset AsOfJoin(const Dataset& events, AsOfJoinSpec spec) const;
  /// For each row of this dataset aggregates of the rows of `events` before it.
  Dataset WindowAggregate(const Dataset& events, WindowAggregateSpec spec) const;
  Dataset Aggregate(std::vector<std::string> keys, std::vector<AggregateItem> items) const;
  /// The newest row of every key.
  Dataset Latest(LatestSpec spec) const;
  /// Rows of times between bounds.
  Dataset TimeRange(TimeRangeSpec spec) const;
  Dataset Sort(std::vector<SortKey> keys) const;
  Dataset Repartition(int num_partitions, std::vector<std::string> keys = {}) const;
  Dataset Union(const Dataset& other) const;
  Dataset Limit(int64_t limit, int64_t offset = 0) const;
  Dataset Sample(double fraction, uint64_t seed = 0) const;

  /// The plan so far, or the first error.
  const Result<Plan>& plan() const { return plan_; }

  /// Runs the plan into a table in memory. `report` (may be null) gets Stats and Explain.
  Result<std::shared_ptr<arrow::Table>> Collect(const Context& context,
                                                ExecutionOptions options = {},
                                                ExecutionReport* report = nullptr) const;
  /// Runs the plan batch by batch.
  Result<std::unique_ptr<Execution>> Stream(const Context& context,
                                            ExecutionOptions options = {}) const;
  /// Runs the plan into files; the rows of the write node: path and rows of each.
  Result<std::shared_ptr<arrow::Table>> WriteTo(const Context& context, WriteSpec spec,
                                                ExecutionOptions options = {},
                                                ExecutionReport* report = nullptr) const;
  /// Logical, optimised and physical plan with reasons; reads nothing.
  Result<std::string> Explain(const Context& context, ExecutionOptions options = {}) const;

 private:
  Dataset Then(NodeSpec spec) const;
  Result<Plan> Mapped(MapBatchesSpec spec, const BatchFunction& function) const;

  Result<Plan> plan_;
};

}  // namespace gnomon::dataset
