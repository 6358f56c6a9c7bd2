#include "feature/engine/parent_rows.h"

#include <algorithm>
#include <set>

#include <arrow/array.h>
#include <arrow/chunked_array.h>
#include <arrow/table.h>
#include <arrow/type.h>
#include <arrow/util/byte_size.h>

#include "base/text.h"
#include "feature/engine/retrieval.h"
#include "table/column.h"

namespace gnomon::feature {
namespace {

using Columns = std::vector<std::shared_ptr<arrow::ChunkedArray>>;

/// The rows of one plain view, features and keys of their declared types.
Result<ParentRows> PlainRows(const Context& context, const FeatureView& parent,
                             const std::vector<std::string>& features, const SourceRange& range,
                             const Definitions& definitions, const OfflineStore& store,
                             SourceReads* reads) {
  GNOMON_ASSIGN_OR_RETURN(
      SourceRows rows, ReadSourceRows(context, definitions, parent, store, features, range, reads));
  arrow::FieldVector fields;
  Columns arrays;
  const auto add = [&](const std::string& name, std::shared_ptr<arrow::Array> column,
                       const ValueType* type) -> Status {
    if (type != nullptr) {
      auto cast = table::CastLossless(column, type->ToArrow());
      if (!cast.ok()) return WithContext(cast.status(), Concat(parent.name, ":", name));
      column = *std::move(cast);
    }
    fields.push_back(arrow::field(name, column->type()));
    arrays.push_back(std::make_shared<arrow::ChunkedArray>(std::move(column)));
    return Status::OK();
  };
  for (size_t i = 0; i < rows.keys.size(); ++i) {
    const Entity& entity = *definitions.FindEntity(parent.entities[i]);
    GNOMON_RETURN_NOT_OK(add(entity.join_key, rows.keys[i], &entity.value_type));
  }
  for (size_t i = 0; i < features.size(); ++i) {
    GNOMON_RETURN_NOT_OK(add(features[i], rows.columns[i], &parent.FindField(features[i])->dtype));
  }
  GNOMON_RETURN_NOT_OK(add("event_timestamp", rows.time_column, nullptr));
  if (rows.created_column != nullptr)
    GNOMON_RETURN_NOT_OK(add("created_timestamp", rows.created_column, nullptr));
  return ParentRows{
      arrow::Table::Make(arrow::schema(std::move(fields)), std::move(arrays), rows.num_rows),
      std::move(rows.memory)};
}

/// The features of all source views at each of their rows' times.
Result<ParentRows> JoinedRows(const Context& context, const FeatureView& view,
                              const std::vector<std::string>& columns, const SourceRange& range,
                              const Definitions& definitions, const OfflineStore& store,
                              SourceReads* reads) {
  // A feature of each view is asked for, so that its rows are there.
  std::vector<std::string> refs;
  std::vector<std::string> names;
  std::set<std::string> present;
  const std::vector<ParentColumn> all = ParentColumns(definitions, view);
  for (const bool wanted : {true, false}) {
    for (const ParentColumn& column : all) {
      const bool asked = std::ranges::find(columns, column.column) != columns.end();
      if (asked != wanted || (!wanted && present.contains(column.view))) continue;
      present.insert(column.view);
      refs.push_back(Concat(column.view, ":", column.feature));
      names.push_back(column.column);
    }
  }
  // The plan lives no longer than the definitions.
  const std::shared_ptr<const Definitions> borrowed(std::shared_ptr<const void>(), &definitions);
  GNOMON_ASSIGN_OR_RETURN(const FeaturePlan plan, PlanFeatures(borrowed, refs, true));
  const RetrievalOptions options{.filter_by_created_timestamp = false,
                                 .created_before = range.created_before};
  RetrievalStats stats;
  GNOMON_ASSIGN_OR_RETURN(auto rows,
                          RetrieveRange(context, plan, store, range.min.value_or(INT64_MIN),
                                        range.max.value_or(INT64_MAX), options, &stats));
  *reads = {reads->rows + stats.source_rows, reads->scans + stats.scans};
  std::vector<std::string> renamed = rows->schema()->field_names();
  const size_t first = renamed.size() - names.size();
  for (size_t i = 0; i < names.size(); ++i) renamed[first + i] = names[i];
  ParentRows joined{.table = nullptr,
                    .memory = std::make_shared<MemoryReservation>(context.memory)};
  GNOMON_RETURN_NOT_OK(joined.memory->Grow(arrow::util::TotalBufferSize(*rows)));
  GNOMON_ASSIGN_OR_RETURN(joined.table, rows->RenameColumns(renamed));
  return joined;
}

/// Are the rows simply those of the one source view? Else null.
const FeatureView* OnlyPlainParent(const Definitions& definitions, const FeatureView& view) {
  if (view.source_views.size() != 1) return nullptr;
  const FeatureView* parent = definitions.FindFeatureView(view.source_views[0]);
  return parent == nullptr || parent->is_window() ? nullptr : parent;
}

/// The features of a single plain source view that `columns` ask for.
std::vector<std::string> ParentFeatures(const Definitions& definitions, const FeatureView& view,
                                        const std::vector<std::string>& columns) {
  std::vector<std::string> features;
  for (const ParentColumn& column : ParentColumns(definitions, view)) {
    if (std::ranges::find(columns, column.column) != columns.end()) {
      features.push_back(column.feature);
    }
  }
  return features;
}

}  // namespace

Result<ParentRows> ReadParentRows(const Context& context, const FeatureView& view,
                                  const std::vector<std::string>& columns, const SourceRange& range,
                                  const Definitions& definitions, const OfflineStore& store,
                                  SourceReads* reads) {
  const FeatureView* parent = OnlyPlainParent(definitions, view);
  auto rows = parent != nullptr
                  ? PlainRows(context, *parent, ParentFeatures(definitions, view, columns), range,
                              definitions, store, reads)
                  : JoinedRows(context, view, columns, range, definitions, store, reads);
  if (rows.ok()) return rows;
  return WithContext(rows.status(), Concat("feature view ", Quoted(view.name)));
}

}  // namespace gnomon::feature
