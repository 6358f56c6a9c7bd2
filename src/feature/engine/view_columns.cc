#include "feature/engine/view_columns.h"

#include <algorithm>
#include <utility>

#include <arrow/type.h>

#include "base/text.h"

namespace gnomon::feature {
namespace {

const Aggregation* FindAggregation(const FeatureView& view, const std::string& name) {
  auto found = std::ranges::find(view.aggregations, name, &Aggregation::name);
  return found == view.aggregations.end() ? nullptr : &*found;
}

}  // namespace

Status CheckEntityRows(const FeaturePlan& plan, const arrow::Schema& schema) {
  const auto missing = [&](const std::string& name, const std::string& what) {
    return MakeError(ErrorKind::kUser,
                     Concat("entity rows have no column ", Quoted(name), ", ", what), {},
                     Concat("columns: ", Join(schema.field_names(), ", ")));
  };
  GNOMON_RETURN_NOT_OK(EventTimestampColumn(schema).status());
  for (const PlannedOutput& output : plan.outputs) {
    if (schema.GetFieldIndex(output.name) < 0) continue;
    return MakeError(
        ErrorKind::kUser,
        Concat("feature ", Quoted(output.name), " is also a column of the entity rows"), {},
        "ask for full feature names (view__feature) or rename the column");
  }
  for (const PlannedView& planned : plan.views) {
    for (const std::string& name : planned.entity_columns) {
      if (schema.GetFieldByName(name) != nullptr) continue;
      return missing(name, Concat("a join key of feature view ", Quoted(planned.view->name)));
    }
  }
  for (const Field& field : plan.request_fields) {
    if (schema.GetFieldByName(field.name) != nullptr) continue;
    return missing(field.name, "request data of an on-demand feature view");
  }
  return Status::OK();
}

std::vector<std::string> ColumnsToRead(const PlannedView& planned) {
  std::vector<std::string> columns;
  for (const Field* field : planned.features) {
    std::string name = field->name;
    if (planned.view->is_window()) {
      if (const Aggregation* aggregation = FindAggregation(*planned.view, field->name))
        name = aggregation->column;
    }
    if (std::ranges::find(columns, name) == columns.end()) columns.push_back(std::move(name));
  }
  return columns;
}

std::optional<int64_t> LongestWindow(const PlannedView& planned) {
  int64_t longest = 0;
  for (const Field* field : planned.features) {
    const Aggregation* aggregation = FindAggregation(*planned.view, field->name);
    if (aggregation == nullptr || !aggregation->time_window) return std::nullopt;
    longest = std::max(longest, *aggregation->time_window);
  }
  return longest;
}

SourceRange RangeToRead(const PlannedView& planned, int64_t min_micros, int64_t max_micros,
                        const RetrievalOptions& options) {
  const FeatureView& view = *planned.view;
  SourceRange range{.min = {}, .max = max_micros, .created_before = options.created_before};
  std::optional<int64_t> reach;
  if (view.is_window()) {
    reach = LongestWindow(planned);
  } else if (view.ttl > 0) {
    reach = view.ttl;
  }
  int64_t min = 0;
  if (reach && !__builtin_sub_overflow(min_micros, *reach, &min)) range.min = min;
  return range;
}

}  // namespace gnomon::feature
