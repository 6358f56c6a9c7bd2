#include "feature/engine/latest_rows.h"

#include <limits>
#include <utility>

#include <arrow/array.h>
#include <arrow/chunked_array.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "feature/engine/view_source.h"
#include "pit/time_unit.h"
#include "table/column.h"

namespace gnomon::feature {
namespace {

constexpr int64_t kMicro = 1000;  ///< nanoseconds
constexpr int64_t kNone = std::numeric_limits<int64_t>::min();

using PlaceOf = std::function<std::string(int64_t row)>;

Status FillAll(const FeatureView& view, const EntityKeyEncoder& encoder, const LatestRows& rows,
               const PlaceOf& place_of, OnlineBlock* block) {
  block->key_bytes.clear();
  block->key_ends.clear();
  block->event_times = rows.event_times;
  block->created_times = rows.created_times;
  const auto num_rows = static_cast<int64_t>(rows.event_times.size());
  for (int64_t row = 0; row < num_rows; ++row) {
    const Status encoded = encoder.Encode(rows.keys, row, &block->key_bytes).status();
    if (!encoded.ok()) return WithContext(encoded, place_of(row));
    block->key_ends.push_back(block->key_bytes.size());
  }
  arrow::FieldVector fields;
  arrow::ArrayVector columns;
  for (size_t i = 0; i < rows.features.size(); ++i) {
    const Field& field = view.schema[i];
    GNOMON_ASSIGN_OR_RETURN(columns.emplace_back(),
                            CastSourceColumn(view, field.name, rows.features[i], field.dtype));
    fields.push_back(arrow::field(field.name, columns.back()->type()));
  }
  block->values =
      arrow::RecordBatch::Make(arrow::schema(std::move(fields)), num_rows, std::move(columns));
  return Status::OK();
}

/// The rows whose key and features have the view's types; the others go to `failed`.
Result<std::vector<int64_t>> FindWritable(const FeatureView& view, const EntityKeyEncoder& encoder,
                                          const LatestRows& rows, const PlaceOf& place_of,
                                          FailedRows* failed) {
  std::vector<Status> why(rows.event_times.size());
  for (size_t i = 0; i < rows.features.size(); ++i) {
    const Field& field = view.schema[i];
    GNOMON_RETURN_NOT_OK(FindUncastable(view, field.name, rows.features[i], field.dtype, &why));
  }
  std::vector<int64_t> writable;
  std::string key;
  for (size_t i = 0; i < why.size(); ++i) {
    const auto row = static_cast<int64_t>(i);
    key.clear();
    const Status encoded = encoder.Encode(rows.keys, row, &key).status();
    if (!encoded.ok()) {
      failed->Add(place_of(row), encoded);
    } else if (!why[i].ok()) {
      failed->Add(DescribeEntityKey(key), why[i]);
    } else {
      writable.push_back(row);
    }
  }
  return writable;
}

}  // namespace

int64_t EventMicros(int64_t raw, int64_t unit_nanos) {
  return pit::CeilToUnit(pit::ToNanos(raw, unit_nanos), kMicro);
}

int64_t CreatedMicros(int64_t raw, int64_t unit_nanos) {
  return raw == kNone ? raw : pit::FloorToUnit(pit::ToNanos(raw, unit_nanos), kMicro);
}

Result<arrow::ArrayVector> OnlyRows(const arrow::ArrayVector& columns,
                                    const std::vector<int64_t>& rows) {
  arrow::ArrayVector only;
  for (const auto& column : columns) {
    if (static_cast<int64_t>(rows.size()) == column->length()) {
      only.push_back(column);
      continue;
    }
    GNOMON_ASSIGN_OR_RETURN(only.emplace_back(), table::Gather(arrow::ChunkedArray(column), rows));
  }
  return only;
}

Status FillBlock(const FeatureView& view, const EntityKeyEncoder& encoder, const LatestRows& rows,
                 const PlaceOf& place_of, OnlineBlock* block) {
  const Status filled = FillAll(view, encoder, rows, place_of, block);
  if (!IsOfOneRow(filled)) return filled;
  GNOMON_ASSIGN_OR_RETURN(const auto writable,
                          FindWritable(view, encoder, rows, place_of, &block->failed));
  LatestRows kept;
  GNOMON_ASSIGN_OR_RETURN(kept.keys, OnlyRows(rows.keys, writable));
  GNOMON_ASSIGN_OR_RETURN(kept.features, OnlyRows(rows.features, writable));
  for (const int64_t row : writable) {
    kept.event_times.push_back(rows.event_times[static_cast<size_t>(row)]);
    kept.created_times.push_back(rows.created_times[static_cast<size_t>(row)]);
  }
  return FillAll(view, encoder, kept, place_of, block);
}

}  // namespace gnomon::feature
