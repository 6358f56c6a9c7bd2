#include "dataset/dataset.h"

#include <arrow/table.h>
#include <arrow/type.h>

#include "base/text.h"

namespace gnomon::dataset {

Dataset Dataset::Read(const Context& context, const std::string& path, const ScanOptions& options) {
  return Dataset(OpenScan(context, {path}, options));
}

Dataset Dataset::Read(const Context& context, const std::vector<std::string>& paths,
                      const ScanOptions& options) {
  return Dataset(OpenScan(context, paths, options));
}

Dataset Dataset::Of(std::shared_ptr<arrow::Table> table) {
  return Dataset(MakeNode(TableSpec{std::move(table)}));
}

Dataset Dataset::Range(int64_t begin, int64_t end, int64_t step, std::string name) {
  return Dataset(MakeNode(RangeSpec{begin, end, step, std::move(name)}));
}

Dataset Dataset::Then(NodeSpec spec) const {
  if (!plan_.ok()) return *this;
  return Dataset(MakeNode(std::move(spec), {*plan_}));
}

Dataset Dataset::Select(const std::vector<std::string>& columns) const {
  ProjectSpec spec;
  for (const std::string& column : columns)
    spec.expressions.push_back({column, ColumnExpression(column)});
  return Then(std::move(spec));
}

Dataset Dataset::Project(std::vector<NamedExpression> expressions) const {
  return Then(ProjectSpec{std::move(expressions)});
}

Dataset Dataset::Filter(std::string predicate) const {
  return Then(FilterSpec{std::move(predicate)});
}

Dataset Dataset::Derive(std::string name, std::string expression) const {
  return Derive({{std::move(name), std::move(expression)}});
}

Dataset Dataset::Derive(std::vector<NamedExpression> expressions) const {
  return Then(DeriveSpec{std::move(expressions)});
}

Dataset Dataset::MapBatches(const FunctionRegistry& functions, std::string function,
                            std::string parameters, int64_t rows_per_call) const {
  if (!plan_.ok()) return *this;
  const auto found = functions.Find(function);
  if (!found.ok()) return Dataset(found.status());
  return Dataset(Mapped(
      {std::move(function), std::move(parameters), rows_per_call, (*found)->row_wise}, **found));
}

Dataset Dataset::MapBatches(const PlanExtensions& extensions, std::string function,
                            std::string parameters, int64_t rows_per_call) const {
  if (!plan_.ok()) return *this;
  const auto found = extensions.batch_functions.find(function);
  if (found == extensions.batch_functions.end()) {
    std::vector<std::string> names;
    for (const auto& [name, code] : extensions.batch_functions) names.push_back(name);
    return Dataset(MakeError(ErrorKind::kNotFound,
                             Concat("no such batch function of a plug-in: ", Quoted(function)), {},
                             DidYouMean(function, names)));
  }
  const auto& code = found->second;
  return Dataset(Mapped(
      {std::move(function), std::move(parameters), rows_per_call, code->row_wise, nullptr, code},
      *code));
}

Result<Plan> Dataset::Mapped(MapBatchesSpec spec, const BatchFunction& function) const {
  auto schema = function.output_schema(*(*plan_)->schema(), spec.parameters);
  GNOMON_RETURN_NOT_OK(
      WithContext(schema.status(), Concat("batch function ", Quoted(spec.function))));
  spec.output_schema = *std::move(schema);
  return MakeNode(std::move(spec), {*plan_});
}

Dataset Dataset::Join(const Dataset& right, JoinSpec spec) const {
  if (!plan_.ok()) return *this;
  if (!right.plan_.ok()) return right;
  return Dataset(MakeNode(std::move(spec), {*plan_, *right.plan_}));
}

Dataset Dataset::AsOfJoin(const Dataset& events, AsOfJoinSpec spec) const {
  if (!plan_.ok()) return *this;
  if (!events.plan_.ok()) return events;
  return Dataset(MakeNode(std::move(spec), {*plan_, *events.plan_}));
}

Dataset Dataset::WindowAggregate(const Dataset& events, WindowAggregateSpec spec) const {
  if (!plan_.ok()) return *this;
  if (!events.plan_.ok()) return events;
  return Dataset(MakeNode(std::move(spec), {*plan_, *events.plan_}));
}

Dataset Dataset::Aggregate(std::vector<std::string> keys, std::vector<AggregateItem> items) const {
  return Then(AggregateSpec{std::move(keys), std::move(items)});
}

Dataset Dataset::Sort(std::vector<SortKey> keys) const { return Then(SortSpec{std::move(keys)}); }

Dataset Dataset::Latest(LatestSpec spec) const { return Then(std::move(spec)); }

Dataset Dataset::TimeRange(TimeRangeSpec spec) const { return Then(std::move(spec)); }

Dataset Dataset::Repartition(int num_partitions, std::vector<std::string> keys) const {
  return Then(RepartitionSpec{num_partitions, std::move(keys)});
}

Dataset Dataset::Union(const Dataset& other) const {
  if (!plan_.ok()) return *this;
  if (!other.plan_.ok()) return other;
  return Dataset(MakeNode(UnionSpec{}, {*plan_, *other.plan_}));
}

Dataset Dataset::Limit(int64_t limit, int64_t offset) const {
  return Then(LimitSpec{limit, offset});
}

Dataset Dataset::Sample(double fraction, uint64_t seed) const {
  return Then(SampleSpec{fraction, seed});
}

Result<std::unique_ptr<Execution>> Dataset::Stream(const Context& context,
                                                   ExecutionOptions options) const {
  GNOMON_RETURN_NOT_OK(plan_.status());
  return Execution::Start(context, *plan_, std::move(options));
}

Result<std::shared_ptr<arrow::Table>> Dataset::Collect(const Context& context,
                                                       ExecutionOptions options,
                                                       ExecutionReport* report) const {
  GNOMON_ASSIGN_OR_RETURN(const auto execution, Stream(context, std::move(options)));
  std::vector<std::shared_ptr<arrow::RecordBatch>> batches;
  while (true) {
    GNOMON_ASSIGN_OR_RETURN(auto batch, execution->Next());
    if (batch == nullptr) break;
    batches.push_back(std::move(batch));
  }
  if (report != nullptr) *report = {execution->Stats(), execution->Explain()};
  return arrow::Table::FromRecordBatches(execution->schema(), batches);
}

Result<std::shared_ptr<arrow::Table>> Dataset::WriteTo(const Context& context, WriteSpec spec,
                                                       ExecutionOptions options,
                                                       ExecutionReport* report) const {
  return Then(std::move(spec)).Collect(context, std::move(options), report);
}

Result<std::string> Dataset::Explain(const Context& context, ExecutionOptions options) const {
  GNOMON_ASSIGN_OR_RETURN(const auto execution, Stream(context, std::move(options)));
  return execution->Explain();
}

}  // namespace gnomon::dataset
