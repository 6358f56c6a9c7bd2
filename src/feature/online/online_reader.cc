#include "feature/online/online_reader.h"

#include <algorithm>
#include <optional>
#include <utility>

#include <arrow/array.h>
#include <arrow/array/util.h>
#include <arrow/chunked_array.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "base/text.h"
#include "feature/online/entity_column_internal.h"
#include "feature/online/entity_key.h"
#include "feature/online/window_features_internal.h"
#include "feature/online/window_folding.h"
#include "feature/online/window_read_internal.h"
#include "feature/online/window_read_tiled_internal.h"
#include "feature/online/window_row.h"
#include "table/column.h"

namespace gnomon::feature {

const char* NameOf(FieldStatus status) {
  switch (status) {
    case FieldStatus::kPresent:
      return "PRESENT";
    case FieldStatus::kNullValue:
      return "NULL_VALUE";
    case FieldStatus::kNotFound:
      return "NOT_FOUND";
    case FieldStatus::kOutsideMaxAge:
      return "OUTSIDE_MAX_AGE";
    case FieldStatus::kInvalid:
      break;
  }
  return "INVALID";
}

Result<OnlineTable> OnlineTableOf(const std::string& project, const FeatureView& view) {
  arrow::FieldVector fields;
  if (!view.is_window()) {
    for (const Field& field : view.schema)
      fields.push_back(arrow::field(field.name, field.dtype.ToArrow()));
    return OnlineTable{
        .project = project, .view = view.name, .schema = arrow::schema(std::move(fields))};
  }
  fields.push_back(arrow::field(std::string(kEventTimes), arrow::list(arrow::int64())));
  fields.push_back(arrow::field(std::string(kCreatedTimes), arrow::list(arrow::int64())));
  for (const Aggregation& aggregation : view.aggregations) {
    const auto known = std::ranges::find(fields, aggregation.column, &arrow::Field::name);
    if (known != fields.end() && known - fields.begin() >= 2) continue;
    if (known != fields.end() || IsDerivedColumn(aggregation.column) ||
        aggregation.column_type.list || aggregation.column_type.base == ValueType::kInvalid) {
      return Error(ErrorKind::kUnsupported, "feature view ", Quoted(view.name),
                   " cannot keep column ", Quoted(aggregation.column),
                   " online: ", aggregation.column_type.ToString());
    }
    fields.push_back(
        arrow::field(aggregation.column, arrow::list(aggregation.column_type.ToArrow())));
  }
  if (FoldsEvents(view)) {
    fields.push_back(arrow::field(std::string(kFolded), arrow::list(arrow::int64())));
    fields.push_back(arrow::field(std::string(kPartialNames), arrow::list(arrow::utf8())));
    fields.push_back(arrow::field(std::string(kPartials), arrow::list(arrow::binary())));
  }
  fields.push_back(arrow::field(std::string(kTiles), arrow::list(arrow::binary())));
  OnlineTable table{
      .project = project, .view = view.name, .schema = arrow::schema(std::move(fields))};
  GNOMON_ASSIGN_OR_RETURN(table.features, internal::MakeWindowFeatures(table, view));
  return table;
}

namespace {

/// Entity columns that several views share; their keys are encoded once.
struct KeyGroup {
  std::vector<std::string> join_keys;
  std::vector<std::string> columns;
  std::vector<ValueType> types;
  EntityKeyEncoder encoder;
};

struct ViewReader {
  OnlineTable table;
  size_t key_group = 0;
  std::vector<int> fields;
  int64_t ttl = 0;
  std::optional<internal::WindowReader> window;
};

/// The keys of a request by group. A null key is empty: no entity has an empty key. `bytes` is
/// reserved on the heap, so that the views into it survive a move.
struct RequestKeys {
  std::string bytes;
  std::vector<std::string_view> keys;
};

/// What a view, or an expression, says about each entity row.
struct RowStates {
  std::vector<FieldStatus> statuses;
  std::vector<int64_t> event_times;
};

Result<std::shared_ptr<arrow::Array>> FindColumn(const arrow::RecordBatch& entities,
                                                 const std::string& name, std::string_view what) {
  auto column = entities.GetColumnByName(name);
  if (column != nullptr) return column;
  return MakeError(ErrorKind::kUser, Concat(what, " is missing: ", Quoted(name)), {},
                   DidYouMean(name, entities.schema()->field_names()));
}

Result<RequestKeys> EncodeKeys(const KeyGroup& group, const arrow::RecordBatch& entities,
                               std::vector<bool>* null_rows) {
  arrow::ArrayVector columns;
  columns.reserve(group.columns.size());
  for (size_t i = 0; i < group.columns.size(); ++i) {
    GNOMON_ASSIGN_OR_RETURN(auto column, FindColumn(entities, group.columns[i], "entity column"));
    GNOMON_ASSIGN_OR_RETURN(column, internal::CastKey(group.columns[i], column, group.types[i]));
    columns.push_back(std::move(column));
  }
  const auto num_rows = static_cast<size_t>(entities.num_rows());
  RequestKeys keys;
  std::vector<size_t> ends(num_rows);
  keys.bytes.reserve(num_rows * 48);
  for (size_t row = 0; row < num_rows; ++row) {
    GNOMON_ASSIGN_OR_RETURN(const bool has_key,
                            group.encoder.Encode(columns, static_cast<int64_t>(row), &keys.bytes));
    if (!has_key) (*null_rows)[row] = true;
    ends[row] = keys.bytes.size();
  }
  keys.keys.reserve(num_rows);
  const std::string_view all = keys.bytes;
  for (size_t row = 0, begin = 0; row < num_rows; begin = ends[row], ++row) {
    keys.keys.push_back(all.substr(begin, ends[row] - begin));
  }
  return keys;
}

/// Nulls the rows that are not present.
Status MaskColumns(const RowStates& states, std::vector<std::shared_ptr<arrow::Array>>* columns) {
  std::vector<int64_t> indices(states.statuses.size());
  for (size_t row = 0; row < indices.size(); ++row) {
    indices[row] = states.statuses[row] == FieldStatus::kPresent ? static_cast<int64_t>(row) : -1;
  }
  for (auto& column : *columns) {
    GNOMON_ASSIGN_OR_RETURN(column, table::Gather(arrow::ChunkedArray(column), indices));
  }
  return Status::OK();
}

Result<RowStates> ApplyTime(OnlineValues* values, int64_t ttl, int64_t as_of) {
  const size_t num_rows = values->found.size();
  RowStates states{.statuses = std::vector<FieldStatus>(num_rows, FieldStatus::kNotFound),
                   .event_times = std::move(values->event_times)};
  int64_t oldest = INT64_MIN;
  if (ttl <= 0 || __builtin_sub_overflow(as_of, ttl, &oldest)) oldest = INT64_MIN;
  bool masked = false;
  for (size_t row = 0; row < num_rows; ++row) {
    if (!values->found[row]) continue;
    if (states.event_times[row] > as_of) {
      states.event_times[row] = 0;
      masked = true;
    } else if (states.event_times[row] < oldest) {
      states.statuses[row] = FieldStatus::kOutsideMaxAge;
      masked = true;
    } else {
      states.statuses[row] = FieldStatus::kPresent;
    }
  }
  if (masked) GNOMON_RETURN_NOT_OK(MaskColumns(states, &values->columns));
  return states;
}

RowStates StatesOf(internal::WindowReader::Values* values) {
  RowStates states{.statuses = {}, .event_times = std::move(values->event_times)};
  states.statuses.reserve(values->found.size());
  for (const bool found : values->found) {
    states.statuses.push_back(found ? FieldStatus::kPresent : FieldStatus::kNotFound);
  }
  return states;
}

/// An expression is present unless it reads views and none of them has the entity; its time is its
/// inputs' newest.
RowStates StatesOf(const PlannedExpression& expression, size_t num_rows,
                   std::span<const RowStates> views,
                   std::span<const std::optional<RowStates>> earlier) {
  RowStates states{.statuses = std::vector<FieldStatus>(num_rows, FieldStatus::kPresent),
                   .event_times = std::vector<int64_t>(num_rows, 0)};
  std::vector<const RowStates*> inputs;
  for (const ColumnSlot& slot : expression.inputs) {
    const auto index = static_cast<size_t>(slot.index);
    if (slot.kind == ColumnSlot::Kind::kView) inputs.push_back(&views[index]);
    // An expression of request data alone has no states: it says nothing about an entity.
    if (slot.kind == ColumnSlot::Kind::kExpression && earlier[index].has_value())
      inputs.push_back(&*earlier[index]);
  }
  for (size_t row = 0; row < num_rows; ++row) {
    bool any_found = inputs.empty();
    for (const RowStates* input : inputs) {
      any_found = any_found || input->statuses[row] != FieldStatus::kNotFound;
      states.event_times[row] = std::max(states.event_times[row], input->event_times[row]);
    }
    if (!any_found) states.statuses[row] = FieldStatus::kNotFound;
  }
  return states;
}

bool ReadsViews(const PlannedExpression& expression,
                std::span<const std::optional<RowStates>> earlier) {
  return std::ranges::any_of(expression.inputs, [&](const ColumnSlot& slot) {
    return slot.kind == ColumnSlot::Kind::kView ||
           (slot.kind == ColumnSlot::Kind::kExpression &&
            earlier[static_cast<size_t>(slot.index)].has_value());
  });
}

}  // namespace

struct OnlineReader::Resolved {
  std::vector<KeyGroup> key_groups;
  std::vector<ViewReader> views;
};

Result<std::shared_ptr<const OnlineReader>> OnlineReader::Make(const std::string& project,
                                                               FeaturePlan plan,
                                                               const OnlineReaderOptions& options) {
  auto resolved = std::make_shared<Resolved>();
  for (const PlannedView& planned : plan.views) {
    const FeatureView& view = *planned.view;
    if (!view.online) {
      return MakeError(ErrorKind::kUser, Concat("feature view is not online: ", Quoted(view.name)),
                       {}, "set online: true and run gnomon apply and materialize");
    }
    ViewReader reader;
    GNOMON_ASSIGN_OR_RETURN(reader.table, OnlineTableOf(project, view));
    reader.ttl = options.serve_expired ? 0 : view.ttl;
    if (view.is_window()) {
      GNOMON_ASSIGN_OR_RETURN(reader.window,
                              internal::WindowReader::Make(reader.table, view, planned.features));
      reader.fields = reader.window->fields();
    } else {
      for (const Field* feature : planned.features) {
        reader.fields.push_back(reader.table.schema->GetFieldIndex(feature->name));
      }
    }
    const auto group = std::ranges::find_if(resolved->key_groups, [&](const KeyGroup& other) {
      return other.join_keys == planned.join_keys && other.columns == planned.entity_columns &&
             other.types == planned.key_types;
    });
    reader.key_group = static_cast<size_t>(group - resolved->key_groups.begin());
    if (group == resolved->key_groups.end()) {
      GNOMON_ASSIGN_OR_RETURN(auto encoder,
                              EntityKeyEncoder::Make(planned.join_keys, planned.key_types));
      resolved->key_groups.push_back({.join_keys = planned.join_keys,
                                      .columns = planned.entity_columns,
                                      .types = planned.key_types,
                                      .encoder = std::move(encoder)});
    }
    resolved->views.push_back(std::move(reader));
  }
  std::shared_ptr<OnlineReader> reader(new OnlineReader());
  reader->plan_ = std::move(plan);
  reader->resolved_ = std::move(resolved);
  return reader;
}

Result<OnlineResponse> OnlineReader::Read(const Context& context, OnlineStore& store,
                                          const arrow::RecordBatch& entities, int64_t as_of) const {
  GNOMON_RETURN_NOT_OK(context.Check());
  const auto num_rows = static_cast<size_t>(entities.num_rows());
  std::vector<bool> null_rows(num_rows);
  std::vector<RequestKeys> keys;
  keys.reserve(resolved_->key_groups.size());
  for (const KeyGroup& group : resolved_->key_groups) {
    GNOMON_ASSIGN_OR_RETURN(auto encoded, EncodeKeys(group, entities, &null_rows));
    keys.push_back(std::move(encoded));
  }
  PlanInputs inputs;
  inputs.num_rows = entities.num_rows();
  for (const Field& field : plan_.request_fields) {
    GNOMON_ASSIGN_OR_RETURN(auto column, FindColumn(entities, field.name, "request field"));
    GNOMON_ASSIGN_OR_RETURN(column, internal::CastInput(field.name, column, field.dtype));
    inputs.request.push_back(std::move(column));
  }

  std::vector<RowStates> view_states;
  view_states.reserve(resolved_->views.size());
  inputs.views.reserve(resolved_->views.size());
  if (!resolved_->views.empty()) {
    std::vector<OnlineRead> reads;
    reads.reserve(resolved_->views.size());
    std::vector<internal::TiledRows> tiled;
    tiled.reserve(resolved_->views.size());
    for (const ViewReader& view : resolved_->views) {
      internal::TiledRows* packed =
          view.window.has_value() ? &tiled.emplace_back(*view.window, as_of) : nullptr;
      reads.push_back({.table = &view.table,
                       .keys = keys[view.key_group].keys,
                       .fields = view.fields,
                       .packed = packed});
    }
    GNOMON_ASSIGN_OR_RETURN(std::vector<OnlineValues> stored, store.Read(context, reads));
    for (size_t i = 0; i < stored.size(); ++i) {
      const ViewReader& view = resolved_->views[i];
      if (view.window.has_value()) {
        auto* const rows = static_cast<internal::TiledRows*>(reads[i].packed);
        GNOMON_ASSIGN_OR_RETURN(auto values,
                                view.window->Evaluate(context, stored[i], as_of, rows));
        view_states.push_back(StatesOf(&values));
        inputs.views.push_back(std::move(values.columns));
      } else {
        GNOMON_ASSIGN_OR_RETURN(auto states, ApplyTime(&stored[i], view.ttl, as_of));
        view_states.push_back(std::move(states));
        inputs.views.push_back(std::move(stored[i].columns));
      }
    }
  }

  GNOMON_ASSIGN_OR_RETURN(auto outputs, EvaluateOutputs(plan_, inputs));
  std::vector<std::optional<RowStates>> expression_states(plan_.expressions.size());
  for (size_t i = 0; i < plan_.expressions.size(); ++i) {
    if (!ReadsViews(plan_.expressions[i], expression_states)) continue;
    expression_states[i] = StatesOf(plan_.expressions[i], num_rows, view_states, expression_states);
  }
  OnlineResponse response;
  response.num_rows = entities.num_rows();
  response.null_keys = std::ranges::count(null_rows, true);
  response.features.reserve(outputs.size());
  for (size_t i = 0; i < outputs.size(); ++i) {
    const PlannedOutput& output = plan_.outputs[i];
    const auto index = static_cast<size_t>(output.slot.index);
    const RowStates* states = nullptr;
    if (output.slot.kind == ColumnSlot::Kind::kView) {
      states = &view_states[index];
    } else if (output.slot.kind == ColumnSlot::Kind::kExpression &&
               expression_states[index].has_value()) {
      states = &*expression_states[index];
    }
    OnlineColumn& column = response.features.emplace_back();
    column.name = output.name;
    column.values = std::move(outputs[i]);
    if (states != nullptr) {
      column.statuses = states->statuses;
      column.event_times = states->event_times;
    } else {
      column.statuses.assign(num_rows, FieldStatus::kPresent);
      column.event_times.assign(num_rows, 0);
    }
  }
  return response;
}

}  // namespace gnomon::feature
