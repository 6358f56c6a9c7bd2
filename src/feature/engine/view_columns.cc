#include "feature/engine/view_columns.h"

#include <algorithm>
#include <utility>

#include <arrow/array.h>
#include <arrow/chunked_array.h>
#include <arrow/table.h>
#include <arrow/type.h>

#include "base/text.h"
#include "pit/time_unit.h"
#include "table/column.h"

namespace gnomon::feature {
namespace {

constexpr int64_t kMicro = 1000;  ///< nanoseconds

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

Result<Labels> Labels::Make(const Context& context, const FeaturePlan& plan,
                            const arrow::Table& entity_rows) {
  Labels labels;
  labels.num_rows_ = entity_rows.num_rows();
  GNOMON_RETURN_NOT_OK(CheckEntityRows(plan, *entity_rows.schema()));
  GNOMON_ASSIGN_OR_RETURN(std::string time_name, EventTimestampColumn(*entity_rows.schema()));
  GNOMON_ASSIGN_OR_RETURN(auto time_column,
                          table::SingleChunk(*entity_rows.GetColumnByName(time_name)));
  GNOMON_ASSIGN_OR_RETURN(labels.times_, table::RawTimes(*time_column));
  labels.unit_nanos_ = table::UnitNanos(*time_column->type());

  bool any = false;
  for (int64_t i = 0; i < labels.num_rows_; ++i) {
    if (time_column->IsNull(i)) continue;
    const pit::Nanos nanos =
        pit::ToNanos(labels.times_[static_cast<size_t>(i)], labels.unit_nanos_);
    const int64_t low = pit::FloorToUnit(nanos, kMicro);
    const int64_t high = pit::CeilToUnit(nanos, kMicro);
    labels.min_micros_ = any ? std::min(labels.min_micros_, low) : low;
    labels.max_micros_ = any ? std::max(labels.max_micros_, high) : high;
    any = true;
  }

  std::vector<bool> null_key(static_cast<size_t>(labels.num_rows_), false);
  for (const PlannedView& planned : plan.views) {
    if (labels.keys_.contains(planned.entity_columns)) continue;
    Keys& keys = labels.keys_[planned.entity_columns];
    keys.ids.assign(static_cast<size_t>(labels.num_rows_), 0);
    if (!planned.entity_columns.empty()) {
      arrow::ArrayVector columns;
      std::vector<std::shared_ptr<arrow::DataType>> types;
      for (const std::string& name : planned.entity_columns) {
        GNOMON_ASSIGN_OR_RETURN(auto array, table::SingleChunk(*entity_rows.GetColumnByName(name)));
        types.push_back(array->type());
        columns.push_back(std::move(array));
      }
      auto index = table::KeyIndex::Make(types);
      if (!index.ok()) return WithContext(index.status(), "entity rows");
      keys.index = std::make_shared<table::KeyIndex>(*std::move(index));
      GNOMON_RETURN_NOT_OK(keys.index->Insert(columns, keys.ids));
    }
    for (size_t i = 0; i < keys.ids.size(); ++i) {
      if (time_column->IsNull(static_cast<int64_t>(i))) keys.ids[i] = table::KeyIndex::kNull;
      if (keys.ids[i] == table::KeyIndex::kNull) null_key[i] = true;
    }
    GNOMON_RETURN_NOT_OK(context.Check());
  }
  labels.null_key_rows_ = std::ranges::count(null_key, true);
  return labels;
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

SourceRange RangeToRead(const PlannedView& planned, int64_t min_micros, int64_t max_micros,
                        const RetrievalOptions& options) {
  const FeatureView& view = *planned.view;
  SourceRange range{.min = {}, .max = max_micros, .created_before = options.created_before};
  std::optional<int64_t> reach;
  if (view.is_window()) {
    reach = view.LongestWindow();
  } else if (view.ttl > 0) {
    reach = view.ttl;
  }
  int64_t min = 0;
  if (reach && !__builtin_sub_overflow(min_micros, *reach, &min)) range.min = min;
  return range;
}

}  // namespace gnomon::feature
