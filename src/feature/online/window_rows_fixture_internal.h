#pragma once

#include <algorithm>
#include <limits>
#include <memory>
#include <numeric>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <arrow/array.h>
#include <arrow/array/concatenate.h>
#include <arrow/builder.h>
#include <arrow/chunked_array.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <doctest/doctest.h>

#include "base/text.h"
#include "feature/definition/definition.h"
#include "feature/online/event_lists_internal.h"
#include "feature/online/online_reader.h"
#include "feature/online/packed_rows_internal.h"
#include "feature/online/window_folding.h"
#include "feature/online/window_read_internal.h"
#include "feature/online/window_read_tiled_internal.h"
#include "feature/online/window_row.h"
#include "feature/online/window_tiles.h"
#include "pit/window.h"
#include "table/column.h"
#include "table/row_codec.h"
#include "tests/support/status.h"

/// What the tests of stored window rows share: views, random events, and their rows as bytes.
namespace gnomon::feature::internal {

inline constexpr pit::AggregateFunction kFunctions[] = {
    pit::AggregateFunction::kCount,    pit::AggregateFunction::kSum,
    pit::AggregateFunction::kMean,     pit::AggregateFunction::kMin,
    pit::AggregateFunction::kMax,      pit::AggregateFunction::kStd,
    pit::AggregateFunction::kVar,      pit::AggregateFunction::kCountDistinct,
    pit::AggregateFunction::kFirst,    pit::AggregateFunction::kLast,
    pit::AggregateFunction::kLastK,    pit::AggregateFunction::kMedian,
    pit::AggregateFunction::kQuantile, pit::AggregateFunction::kMostFrequent};
inline constexpr std::pair<const char*, ValueType::Base> kColumns[] = {
    {"d", ValueType::kDouble}, {"f", ValueType::kFloat},  {"i", ValueType::kInt64},
    {"b", ValueType::kBool},   {"s", ValueType::kString}, {"t", ValueType::kUnixTimestamp}};
inline constexpr int64_t kAnyTime = INT64_MIN;

/// Nothing is added where the function does not take the type.
inline void AddAggregation(FeatureView* view, const std::string& column, ValueType type,
                           pit::AggregateFunction function, std::optional<int64_t> window) {
  const pit::AggregateSpec spec{.function = function, .k = 3, .quantile = 0.3};
  const auto result = pit::ResultType(spec, *type.ToArrow());
  if (!result.ok()) return;
  const std::string name = Concat(pit::NameOf(function), "_", column, window.value_or(0));
  view->aggregations.push_back({.column = column,
                                .column_type = type,
                                .function = function,
                                .time_window = window,
                                .slide_interval = {},
                                .name = name,
                                .k = 3,
                                .quantile = 0.3});
  view->schema.push_back({.name = name,
                          .dtype = test::ValueOf(ValueType::FromArrow(**result)),
                          .description = {},
                          .tags = {}});
}

/// Every function over every type and the windows.
inline FeatureView AllFunctions(std::span<const int64_t> windows) {
  FeatureView view;
  view.name = "v";
  for (const auto& [column, type] : kColumns) {
    for (const auto function : kFunctions) {
      for (const int64_t window : windows) AddAggregation(&view, column, {type}, function, window);
    }
  }
  return view;
}

/// Events of some entities in input order, as MakeWindowRows takes them but for the entity.
struct WindowEvents {
  std::vector<int32_t> ids;
  std::shared_ptr<arrow::RecordBatch> rows;
};

inline WindowEvents RandomEvents(std::mt19937* random, int32_t num_entities, int64_t count,
                                 int64_t from, int64_t to) {
  const auto below = [&](uint32_t bound) { return static_cast<int64_t>((*random)() % bound); };
  WindowEvents events;
  arrow::Int64Builder times;
  arrow::Int64Builder created;
  arrow::DoubleBuilder d;
  arrow::FloatBuilder f;
  arrow::Int64Builder i;
  arrow::BooleanBuilder b;
  arrow::StringBuilder s;
  arrow::TimestampBuilder t(ValueType{ValueType::kUnixTimestamp}.ToArrow(),
                            arrow::default_memory_pool());
  for (int64_t n = 0; n < count; ++n) {
    // The first entity has few events, the last one none.
    const int64_t place = below(40);
    events.ids.push_back(place == 0 ? 0 : static_cast<int32_t>(1 + place % (num_entities - 2)));
    CHECK_OK(times.Append(from + below(static_cast<uint32_t>(to - from))));
    CHECK_OK(below(4) == 0 ? created.AppendNull() : created.Append(below(3)));
    double value = static_cast<double>(below(60)) / 7.0 - 3;
    if (below(300) == 0) value = std::numeric_limits<double>::quiet_NaN();
    if (below(900) == 0) value = std::numeric_limits<double>::infinity();
    if (below(9) == 0) value = -0.0;
    CHECK_OK(below(6) == 0 ? d.AppendNull() : d.Append(value));
    CHECK_OK(f.Append(static_cast<float>(value) + static_cast<float>(below(100'000'000))));
    CHECK_OK(below(9) == 0 ? i.AppendNull() : i.Append(below(1000) - 500));
    CHECK_OK(below(3) == 0 ? b.AppendNull() : b.Append(below(2) == 0));
    CHECK_OK(below(5) == 0 ? s.AppendNull()
                           : s.Append(std::string(static_cast<size_t>(below(9)), 'a')));
    CHECK_OK(t.Append(below(50)));
  }
  arrow::FieldVector fields = {arrow::field(std::string(kEventTimes), arrow::int64()),
                               arrow::field(std::string(kCreatedTimes), arrow::int64())};
  for (const auto& [column, type] : kColumns)
    fields.push_back(arrow::field(column, ValueType{type}.ToArrow()));
  events.rows = arrow::RecordBatch::Make(
      arrow::schema(std::move(fields)), count,
      arrow::ArrayVector{test::ValueOf(times.Finish()), test::ValueOf(created.Finish()),
                         test::ValueOf(d.Finish()), test::ValueOf(f.Finish()),
                         test::ValueOf(i.Finish()), test::ValueOf(b.Finish()),
                         test::ValueOf(s.Finish()), test::ValueOf(t.Finish())});
  return events;
}

inline void Append(const WindowEvents& added, WindowEvents* events) {
  events->ids.insert(events->ids.end(), added.ids.begin(), added.ids.end());
  events->rows = test::ValueOf(arrow::ConcatenateRecordBatches({events->rows, added.rows}));
}

/// The stored rows of a view, one an entity, as bytes.
class WindowRows {
 public:
  /// Reads all features of the view, or the first ones.
  WindowRows(FeatureView view, int32_t num_entities, size_t num_features = SIZE_MAX)
      : view_(std::move(view)),
        num_entities_(num_entities),
        table_(test::ValueOf(OnlineTableOf("p", view_))),
        folding_(WindowFolding::Make(table_, view_)) {
    std::vector<const Field*> features;
    for (const Field& field : view_.schema) features.push_back(&field);
    features.resize(std::min(num_features, features.size()));
    reader_.emplace(test::ValueOf(WindowReader::Make(table_, view_, features)));
  }

  /// Defines the view's finite windows anew; what is stored stays as it is.
  void SlideBy(std::optional<int64_t> interval) {
    for (Aggregation& aggregation : view_.aggregations) {
      if (aggregation.time_window) aggregation.slide_interval = interval;
    }
    folding_ = WindowFolding::Make(table_, view_);
  }

  void Materialize(const WindowEvents& events) {
    stored_ = test::ValueOf(folding_.Fold(Raw(events)));
  }
  void Push(const WindowEvents& events) {
    OnlineValues stored;
    stored.found.resize(static_cast<size_t>(num_entities_), true);
    stored.columns = stored_->columns();
    stored_ = test::ValueOf(folding_.Merge(stored, *Raw(events)));
  }

  /// With the tiles, or as a build wrote them that did not know any.
  std::vector<std::string> Bytes(bool with_tiles) const {
    auto rows = stored_;
    if (!with_tiles)
      rows = test::ValueOf(rows->RemoveColumn(rows->schema()->GetFieldIndex(std::string(kTiles))));
    const auto codec = test::ValueOf(table::RowCodec::Make(rows->schema()));
    std::vector<std::string> all(static_cast<size_t>(num_entities_));
    for (size_t row = 0; row < all.size(); ++row)
      CHECK_OK(codec.Encode(*rows, static_cast<int64_t>(row), &all[row]));
    return all;
  }

  /// `decoded`: how many of the rows no tiles were found in.
  Result<WindowReader::Values> Read(const std::vector<std::string>& bytes, bool with_tiles,
                                    int64_t as_of, int64_t* decoded = nullptr) const {
    TiledRows tiled(*reader_, as_of);
    const OnlineRead read{.table = &table_,
                          .keys = std::vector<std::string_view>(bytes.size(), "key"),
                          .fields = reader_->fields(),
                          .packed = &tiled};
    PackedRows decoder;
    CHECK_OK(decoder.Start(read));
    const auto load = [&](int64_t) -> Result<std::shared_ptr<arrow::Schema>> {
      const int field = table_.schema->GetFieldIndex(std::string(kTiles));
      return with_tiles ? table_.schema : test::ValueOf(table_.schema->RemoveField(field));
    };
    for (const std::string& row : bytes) GNOMON_RETURN_NOT_OK(decoder.Append(1, row, load));
    OnlineValues stored;
    stored.found.resize(bytes.size(), true);
    stored.event_times.resize(bytes.size());
    stored.columns = test::ValueOf(decoder.Finish());
    if (decoded != nullptr)
      *decoded = stored.columns[0]->length() - stored.columns[0]->null_count();
    return reader_->Evaluate({}, stored, as_of, &tiled);
  }

  /// Where every window begins at or after `oldest`, what is read is what AggregateWindows gives.
  void CheckAsOffline(const WindowEvents& events, int64_t as_of, int64_t oldest) const {
    CAPTURE(as_of);
    int64_t decoded = 0;
    const auto tiled = test::ValueOf(Read(Bytes(true), true, as_of, &decoded));
    CHECK(decoded == num_entities_ - NumTiled());
    const auto plain = test::ValueOf(Read(Bytes(false), false, as_of, &decoded));
    CHECK(decoded == num_entities_);
    for (size_t i = 0; i < plain.columns.size(); ++i) {
      CAPTURE(view_.aggregations[i].name);
      CHECK(tiled.columns[i]->Equals(*plain.columns[i], kSameBits));
    }
    CheckValues(events, as_of, oldest, tiled);
    CHECK(tiled.found == plain.found);
    CHECK(tiled.event_times == plain.event_times);
  }

  /// The same of values that were read.
  void CheckValues(const WindowEvents& events, int64_t as_of, int64_t oldest,
                   const WindowReader::Values& values) const {
    const auto offline = Offline(events, as_of);
    for (size_t i = 0; i < offline.size(); ++i) {
      CAPTURE(view_.aggregations[i].name);
      if (as_of - view_.aggregations[i].time_window.value_or(as_of) < oldest) continue;
      CHECK(values.columns[i]->Equals(*offline[i], kSameBits));
    }
  }

  /// Rows with so many events that they have tiles.
  int64_t NumTiled() const {
    const EventLists times(stored_->GetColumnByName(std::string(kEventTimes)));
    int64_t tiled = 0;
    for (int64_t row = 0; row < num_entities_; ++row)
      tiled += times.length(row) >= kFewestTiledEvents ? 1 : 0;
    return tiled;
  }

  const OnlineTable& table() const { return table_; }
  const WindowReader& reader() const { return *reader_; }
  const std::shared_ptr<arrow::RecordBatch>& stored() const { return stored_; }

 private:
  static inline const arrow::EqualOptions kSameBits =
      arrow::EqualOptions::Defaults().nans_equal(true).signed_zeros_equal(false);

  std::shared_ptr<arrow::RecordBatch> Raw(const WindowEvents& events) const {
    std::vector<int64_t> order(events.ids.size());
    std::iota(order.begin(), order.end(), int64_t{0});
    const auto id = [&](int64_t row) { return events.ids[static_cast<size_t>(row)]; };
    std::ranges::stable_sort(order, {}, id);
    std::vector<int64_t> offsets = {0};
    for (int32_t entity = 0; entity < num_entities_; ++entity)
      offsets.push_back(std::ranges::upper_bound(order, entity, {}, id) - order.begin());
    arrow::ArrayVector columns;
    for (const auto& column : events.rows->columns())
      columns.push_back(test::ValueOf(table::Gather(arrow::ChunkedArray(column), order)));
    const auto grouped = arrow::RecordBatch::Make(events.rows->schema(), events.rows->num_rows(),
                                                  std::move(columns));
    return test::ValueOf(MakeWindowRows(table_, *grouped, offsets));
  }

  arrow::ArrayVector Offline(const WindowEvents& events, int64_t as_of) const {
    const auto& times = static_cast<const arrow::Int64Array&>(*events.rows->column(0));
    std::vector<int64_t> created;
    for (int64_t row = 0; row < events.rows->num_rows(); ++row) {
      const auto& column = static_cast<const arrow::Int64Array&>(*events.rows->column(1));
      created.push_back(column.IsNull(row) ? INT64_MIN : column.Value(row));
    }
    pit::Events all{.ids = events.ids,
                    .times = {times.raw_values(), events.ids.size()},
                    .created = created,
                    .columns = {}};
    for (int column = 2; column < events.rows->num_columns(); ++column)
      all.columns.push_back(events.rows->column(column));
    std::vector<pit::AggregateSpec> specs;
    for (const Aggregation& aggregation : view_.aggregations) {
      specs.push_back(test::ValueOf(AggregateSpecOf(aggregation)));
      specs.back().column = events.rows->schema()->GetFieldIndex(aggregation.column) - 2;
    }
    std::vector<int32_t> label_ids(static_cast<size_t>(num_entities_));
    std::iota(label_ids.begin(), label_ids.end(), 0);
    const std::vector<int64_t> label_times(label_ids.size(), as_of);
    return test::ValueOf(pit::AggregateWindows({}, all, label_ids, label_times, specs));
  }

  FeatureView view_;
  const int32_t num_entities_;
  const OnlineTable table_;
  WindowFolding folding_;
  std::optional<WindowReader> reader_;
  std::shared_ptr<arrow::RecordBatch> stored_;
};

}  // namespace gnomon::feature::internal
