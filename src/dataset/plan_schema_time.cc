#include <algorithm>

#include <arrow/array/util.h>
#include <arrow/type.h>

#include "base/text.h"
#include "dataset/plan_internal.h"
#include "table/column.h"

/// Nodes that look at times: as-of join, window aggregates, newest rows, ranges of time.
namespace gnomon::dataset::internal {

namespace {

using DataTypePtr = std::shared_ptr<arrow::DataType>;

Status CheckTime(const arrow::Schema& schema, const std::string& name, std::string_view side) {
  auto column = FindColumn(schema, name, "");
  GNOMON_RETURN_NOT_OK(WithContext(column.status(), side));
  const auto& type = schema.field(*column)->type();
  if (table::IsTime(*type)) return Status::OK();
  return MakeError(ErrorKind::kUser,
                   Concat(side, ": ", Quoted(name), " is no time: ", type->ToString()), {},
                   "times are timestamps and dates");
}

Status CheckMatch(TimeMatch* match, const arrow::Schema& left, const arrow::Schema& right) {
  if (match->right_keys.empty()) match->right_keys = match->left_keys;
  if (match->right_time.empty()) match->right_time = match->left_time;
  GNOMON_RETURN_NOT_OK(CheckKeyPairs(left, match->left_keys, right, match->right_keys));
  GNOMON_RETURN_NOT_OK(CheckTime(left, match->left_time, "left"));
  GNOMON_RETURN_NOT_OK(CheckTime(right, match->right_time, "right"));
  if (!match->created.empty()) return CheckTime(right, match->created, "right");
  if (!match->filter_by_created && !match->created_before) return Status::OK();
  return Error(ErrorKind::kUser, "looks at the time of creation but names no column for it");
}

Result<std::shared_ptr<arrow::Field>> FieldOf(WindowItem* item, const arrow::Schema& right) {
  if (item->name.empty()) item->name = Concat(item->column, "_", pit::NameOf(item->function));
  if ((item->function == pit::AggregateFunction::kCustom) != (item->custom != nullptr))
    return Error(ErrorKind::kUser, Quoted(item->name), " names no plug-in's aggregate, or two");
  if (item->window && *item->window <= 0)
    return Error(ErrorKind::kUser, Quoted(item->name), " has a window that is not positive");
  GNOMON_ASSIGN_OR_RETURN(const int column, FindColumn(right, item->column, ""));
  DataTypePtr type = right.field(column)->type();
  GNOMON_RETURN_NOT_OK(CheckCast(type, item->input_type, item->column));
  if (item->input_type != nullptr) type = item->input_type;
  auto result = pit::ResultType({.function = item->function,
                                 .k = item->k,
                                 .quantile = item->quantile,
                                 .ddof = item->ddof,
                                 .custom = item->custom},
                                *type);
  GNOMON_RETURN_NOT_OK(WithContext(result.status(), Quoted(item->column)));
  GNOMON_RETURN_NOT_OK(CheckCast(*result, item->type, item->name));
  return arrow::field(item->name, item->type != nullptr ? item->type : *result);
}

}  // namespace

Status CheckCast(const DataTypePtr& from, const DataTypePtr& to, const std::string& name) {
  if (to == nullptr) return Status::OK();
  GNOMON_ASSIGN_OR_RETURN(const auto none, arrow::MakeEmptyArray(from));
  return WithContext(table::CastLossless(none, to).status(), Quoted(name));
}

SchemaResult CheckSpec(AsOfJoinSpec* spec, const std::vector<Plan>& inputs) {
  const arrow::Schema& right = *inputs[1]->schema();
  GNOMON_RETURN_NOT_OK(CheckMatch(&spec->match, *inputs[0]->schema(), right));
  if (spec->tolerance < 0)
    return Error(ErrorKind::kUser, "the tolerance is negative: ", spec->tolerance);
  arrow::FieldVector fields = inputs[0]->schema()->fields();
  for (AsOfFeature& feature : spec->features) {
    if (feature.name.empty()) feature.name = feature.column;
    GNOMON_ASSIGN_OR_RETURN(const int column, FindColumn(right, feature.column, ""));
    const auto& type = right.field(column)->type();
    GNOMON_RETURN_NOT_OK(CheckCast(type, feature.type, feature.column));
    fields.push_back(arrow::field(feature.name, feature.type != nullptr ? feature.type : type));
  }
  return arrow::schema(std::move(fields));
}

SchemaResult CheckSpec(WindowAggregateSpec* spec, const std::vector<Plan>& inputs) {
  const arrow::Schema& right = *inputs[1]->schema();
  GNOMON_RETURN_NOT_OK(CheckMatch(&spec->match, *inputs[0]->schema(), right));
  arrow::FieldVector fields = inputs[0]->schema()->fields();
  for (WindowItem& item : spec->items) {
    GNOMON_ASSIGN_OR_RETURN(fields.emplace_back(), FieldOf(&item, right));
  }
  return arrow::schema(std::move(fields));
}

SchemaResult CheckSpec(LatestSpec* spec, const std::vector<Plan>& inputs) {
  const arrow::Schema& input = *inputs[0]->schema();
  GNOMON_RETURN_NOT_OK(CheckKeyColumns(input, spec->keys));
  GNOMON_RETURN_NOT_OK(CheckTime(input, spec->time, "time"));
  if (!spec->created.empty()) GNOMON_RETURN_NOT_OK(CheckTime(input, spec->created, "created"));
  for (const std::string& name : spec->sums) {
    GNOMON_ASSIGN_OR_RETURN(const int column, FindColumn(input, name, ""));
    const auto& type = input.field(column)->type();
    if (type->id() != arrow::Type::INT64)
      return Error(ErrorKind::kUser, "only int64 is summed, ", Quoted(name), " is ",
                   type->ToString());
    if (std::ranges::find(spec->keys, name) != spec->keys.end() ||
        std::ranges::count(spec->sums, name) > 1)
      return Error(ErrorKind::kUser, "a sum is a key too, or named twice: ", Quoted(name));
  }
  return inputs[0]->schema();
}

SchemaResult CheckSpec(TimeRangeSpec* spec, const std::vector<Plan>& inputs) {
  const arrow::Schema& input = *inputs[0]->schema();
  GNOMON_RETURN_NOT_OK(CheckTime(input, spec->time, "time"));
  if (!spec->created.empty()) GNOMON_RETURN_NOT_OK(CheckTime(input, spec->created, "created"));
  if (spec->created_before && spec->created.empty())
    return Error(ErrorKind::kUser, "looks at the time of creation but names no column for it");
  if (spec->name.empty()) return inputs[0]->schema();
  if (input.GetFieldIndex(spec->name) >= 0)
    return Error(ErrorKind::kUser, "there is such a column already: ", Quoted(spec->name));
  return input.AddField(input.num_fields(),
                        arrow::field(spec->name, arrow::timestamp(spec->unit, "UTC")));
}

}  // namespace gnomon::dataset::internal
