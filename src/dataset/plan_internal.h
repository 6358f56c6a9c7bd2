#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "dataset/plan.h"

/// The schema of each node: checks a spec against its inputs and completes it.
namespace gnomon::dataset::internal {

using SchemaResult = Result<std::shared_ptr<arrow::Schema>>;

/// Place of the column; kUser "<node>: no such column: 'x'" with the nearest name.
Result<int> FindColumn(const arrow::Schema& schema, const std::string& name, std::string_view node);
Result<std::vector<int>> FindColumns(const arrow::Schema& schema,
                                     const std::vector<std::string>& names, std::string_view node);

/// kUser when a name stands twice.
Status CheckNames(const arrow::Schema& schema, std::string_view node);

SchemaResult CheckSpec(ScanSpec* spec, const std::vector<Plan>& inputs);
SchemaResult CheckSpec(RangeSpec* spec, const std::vector<Plan>& inputs);
SchemaResult CheckSpec(TableSpec* spec, const std::vector<Plan>& inputs);
SchemaResult CheckSpec(InputSpec* spec, const std::vector<Plan>& inputs);
SchemaResult CheckSpec(ExternalSpec* spec, const std::vector<Plan>& inputs);
SchemaResult CheckSpec(ProjectSpec* spec, const std::vector<Plan>& inputs);
SchemaResult CheckSpec(FilterSpec* spec, const std::vector<Plan>& inputs);
SchemaResult CheckSpec(DeriveSpec* spec, const std::vector<Plan>& inputs);
SchemaResult CheckSpec(MapBatchesSpec* spec, const std::vector<Plan>& inputs);
SchemaResult CheckSpec(JoinSpec* spec, const std::vector<Plan>& inputs);
SchemaResult CheckSpec(AggregateSpec* spec, const std::vector<Plan>& inputs);
SchemaResult CheckSpec(SortSpec* spec, const std::vector<Plan>& inputs);
SchemaResult CheckSpec(RepartitionSpec* spec, const std::vector<Plan>& inputs);
SchemaResult CheckSpec(UnionSpec* spec, const std::vector<Plan>& inputs);
SchemaResult CheckSpec(LimitSpec* spec, const std::vector<Plan>& inputs);
SchemaResult CheckSpec(SampleSpec* spec, const std::vector<Plan>& inputs);
SchemaResult CheckSpec(WriteSpec* spec, const std::vector<Plan>& inputs);
SchemaResult CheckSpec(AsOfJoinSpec* spec, const std::vector<Plan>& inputs);
SchemaResult CheckSpec(WindowAggregateSpec* spec, const std::vector<Plan>& inputs);
SchemaResult CheckSpec(LatestSpec* spec, const std::vector<Plan>& inputs);
SchemaResult CheckSpec(TimeRangeSpec* spec, const std::vector<Plan>& inputs);
SchemaResult CheckSpec(ExternalWriteSpec* spec, const std::vector<Plan>& inputs);

/// Could values of `from` be brought to `to` (null: they stay)? Whether each fits is seen when it
/// comes.
Status CheckCast(const std::shared_ptr<arrow::DataType>& from,
                 const std::shared_ptr<arrow::DataType>& to, const std::string& name);

/// Are they columns that rows can be put together by, each named once?
Status CheckKeyColumns(const arrow::Schema& schema, const std::vector<std::string>& keys);

/// Can rows of both schemas meet by these keys? kUser names the key and why not.
Status CheckKeyPairs(const arrow::Schema& left, const std::vector<std::string>& left_keys,
                     const arrow::Schema& right, const std::vector<std::string>& right_keys);

/// The expression for the text of a column's values in the names of folders; those of nanoseconds
/// lack the last three digits.
std::string PartitionText(const std::string& column);

/// The schema of a scan before `columns` are chosen: file columns by their names in the plan, then
/// partition columns.
std::shared_ptr<arrow::Schema> FullScanSchema(const ScanSpec& spec);

/// Types of the output key columns of a full join, null when no type holds both.
std::shared_ptr<arrow::DataType> CommonKeyType(const std::shared_ptr<arrow::DataType>& left,
                                               const std::shared_ptr<arrow::DataType>& right);

/// Calls body(spec) with the alternative's own type.
template <typename... Bodies>
struct Overloaded : Bodies... {
  using Bodies::operator()...;
};
template <typename... Bodies>
Overloaded(Bodies...) -> Overloaded<Bodies...>;

}  // namespace gnomon::dataset::internal
