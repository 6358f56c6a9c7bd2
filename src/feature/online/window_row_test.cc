#include "feature/online/window_row.h"

#include <random>

#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <arrow/type.h>
#include <doctest/doctest.h>

#include "base/text.h"
#include "feature/definition/definition.h"
#include "feature/online/online_reader.h"
#include "feature/online/window_read_internal.h"
#include "feature/online/window_rows_fixture_internal.h"
#include "pit/window.h"
#include "tests/support/status.h"
#include "tests/support/table.h"

namespace gnomon::feature {
namespace {

using test::TableOf;
using test::TableOfSchema;
using test::ValueOf;

const auto kLists = arrow::list(arrow::int64());
const OnlineTable kTable{
    .project = "p",
    .view = "v",
    .schema = arrow::schema(
        {{"__event_timestamps", kLists}, {"__created_timestamps", kLists}, {"x", kLists}})};

std::shared_ptr<arrow::RecordBatch> BatchOf(const std::shared_ptr<arrow::Table>& table) {
  return ValueOf(table->CombineChunksToBatch());
}

std::shared_ptr<arrow::RecordBatch> RawRows(std::string_view rows) {
  return BatchOf(TableOf({{"__event_timestamps", arrow::int64()},
                          {"__created_timestamps", arrow::int64()},
                          {"x", arrow::int64()}},
                         rows));
}

std::shared_ptr<arrow::Table> AsTable(const std::shared_ptr<arrow::RecordBatch>& batch) {
  return ValueOf(arrow::Table::FromRecordBatches({batch}));
}

std::shared_ptr<arrow::RecordBatch> Window(std::string_view rows) {
  return BatchOf(TableOfSchema(kTable.schema, rows));
}

OnlineValues Stored(std::string_view rows) {
  const auto batch = Window(rows);
  OnlineValues values;
  for (int64_t row = 0; row < batch->num_rows(); ++row)
    values.found.push_back(batch->column(0)->IsValid(row));
  values.event_times.resize(values.found.size());
  values.columns = batch->columns();
  return values;
}

TEST_CASE("groups become lists in the order of time, created and input") {
  const auto rows = RawRows(
      "[[99, 9, 9], [2, 1, 20], [1, null, 10], [2, 1, 21], [2, 0, 22], [5, 1, null], [99, 9, 9]]");
  const std::vector<int64_t> offsets = {1, 5, 5, 6};
  const auto made = ValueOf(MakeWindowRows(kTable, *rows, offsets));
  CHECK_TABLE_EQ(AsTable(made), TableOfSchema(kTable.schema, R"([
    [[1, 2, 2, 2], [null, 0, 1, 1], [10, 22, 20, 21]], [[], null, []], [[5], [1], [null]]])"));
  const WindowRowTimes newest = NewestTimes(*made);
  CHECK(newest.event_times == std::vector<int64_t>{2, 0, 5});
  CHECK(newest.created_times == std::vector<int64_t>{1, INT64_MIN, 1});
}

TEST_CASE("the lists of a key do not depend on the created times of others") {
  const auto rows = RawRows("[[1, null, 10], [2, null, 20], [1, 7, 30]]");
  const auto made = ValueOf(MakeWindowRows(kTable, *rows, std::vector<int64_t>{0, 2, 3}));
  const auto alone = ValueOf(MakeWindowRows(kTable, *rows, std::vector<int64_t>{0, 2}));
  CHECK_TABLE_EQ(AsTable(made), TableOfSchema(kTable.schema, R"([
    [[1, 2], null, [10, 20]], [[1], [7], [30]]])"));
  CHECK(made->Slice(0, 1)->Equals(*alone));
  const auto merged =
      ValueOf(MergeWindowRows(kTable, {}, Stored("[[[3], null, [0]], [null, null, null]]"), *made));
  CHECK_TABLE_EQ(AsTable(merged), TableOfSchema(kTable.schema, R"([
    [[1, 2, 3], null, [10, 20, 0]], [[1], [7], [30]]])"));
}

TEST_CASE("without created times their lists are null, and narrower columns are widened") {
  const auto rows = BatchOf(
      TableOf({{"__event_timestamps", arrow::int64()}, {"x", arrow::int16()}}, "[[2, 1], [1, 2]]"));
  const std::vector<int64_t> offsets = {0, 2};
  const auto made = ValueOf(MakeWindowRows(kTable, *rows, offsets));
  CHECK_TABLE_EQ(AsTable(made), TableOfSchema(kTable.schema, "[[[1, 2], null, [2, 1]]]"));
  CHECK(NewestTimes(*made).created_times == std::vector<int64_t>{INT64_MIN});
  CHECK_TABLE_EQ(AsTable(ValueOf(MakeWindowRows(kTable, *RawRows("[[1, null, 2]]"),
                                                std::vector<int64_t>{0, 1}))),
                 TableOfSchema(kTable.schema, "[[[1], null, [2]]]"));
}

TEST_CASE("merging keeps the order, stored before new on ties, and drops what no window reaches") {
  const OnlineValues stored =
      Stored("[[[10, 20, 30], null, [1, 2, 3]], [null, null, null], [[5], [7], [8]]]");
  const auto added =
      Window("[[[20, 40], null, [4, 5]], [[1], null, [6]], [[5, 5], [6, 7], [9, null]]]");
  CHECK_TABLE_EQ(AsTable(ValueOf(MergeWindowRows(kTable, 20, stored, *added))),
                 TableOfSchema(kTable.schema, R"([
    [[30, 40], null, [3, 5]],
    [[1], null, [6]],
    [[5, 5, 5], [6, 7, 7], [9, 8, null]]])"));
  CHECK_TABLE_EQ(
      AsTable(ValueOf(MergeWindowRows(kTable, std::nullopt, stored, *added)))->Slice(0, 1),
      TableOfSchema(kTable.schema, "[[[10, 20, 20, 30, 40], null, [1, 2, 4, 3, 5]]]"));
}

TEST_CASE("merging without created times keeps their lists null") {
  CHECK_TABLE_EQ(AsTable(ValueOf(MergeWindowRows(kTable, 100, Stored("[[[1], null, [1]]]"),
                                                 *Window("[[[0], null, [2]]]")))),
                 TableOfSchema(kTable.schema, "[[[0, 1], null, [2, 1]]]"));
}

TEST_CASE("a column that the stored row does not have yet is null there") {
  CHECK_TABLE_EQ(AsTable(ValueOf(MergeWindowRows(kTable, 100, Stored("[[[1, 2], null, null]]"),
                                                 *Window("[[[3], null, [5]]]")))),
                 TableOfSchema(kTable.schema, "[[[1, 2, 3], null, [null, null, 5]]]"));
}

/// All functions over two windows and over the whole past.
FeatureView AggregateView() {
  FeatureView view;
  view.name = "v";
  using enum pit::AggregateFunction;
  for (const auto function : {kCount, kSum, kMean, kMin, kMax, kStd, kVar, kCountDistinct, kFirst,
                              kLast, kLastK, kMedian, kQuantile, kMostFrequent}) {
    for (const std::optional<int64_t> window :
         {std::optional<int64_t>(7), std::optional<int64_t>(40)}) {
      const ValueType column_type{ValueType::kDouble};
      const std::string name = Concat(pit::NameOf(function), window.value_or(0));
      const pit::AggregateSpec spec{.function = function, .k = 3, .quantile = 0.3};
      view.aggregations.push_back({.column = "x",
                                   .column_type = column_type,
                                   .function = function,
                                   .time_window = window,
                                   .slide_interval = {},
                                   .name = name,
                                   .k = 3,
                                   .quantile = 0.3});
      const auto type = ValueOf(pit::ResultType(spec, *column_type.ToArrow()));
      view.schema.push_back({.name = name,
                             .dtype = ValueOf(ValueType::FromArrow(*type)),
                             .description = {},
                             .tags = {}});
    }
  }
  return view;
}

TEST_CASE("stored windows give the bits of the offline aggregation at any later time") {
  const uint32_t seed = 20240517;
  CAPTURE(seed);
  std::mt19937 random(seed);
  const FeatureView view = AggregateView();
  const OnlineTable table = ValueOf(OnlineTableOf("p", view));
  std::vector<const Field*> features;
  for (const Field& field : view.schema) features.push_back(&field);
  const auto reader = ValueOf(internal::WindowReader::Make(table, view, features));

  for (int round = 0; round < 20; ++round) {
    // Entities with up to 60 events, in time order or not, ties and nulls among them; some have
    // none.
    std::string rows = "[";
    std::vector<int64_t> offsets = {0};
    std::vector<int32_t> ids;
    for (int32_t entity = 0; entity < 8; ++entity) {
      const int64_t events = entity == 3 ? 0 : static_cast<int64_t>(random() % 60);
      for (int64_t i = 0; i < events; ++i) {
        const std::string value =
            random() % 7 == 0 ? "null" : Concat(static_cast<double>(random() % 1000) / 7.0);
        rows += Concat(rows.size() > 1 ? "," : "", "[", random() % 50, ",", random() % 3, ",",
                       value, "]");
        ids.push_back(entity);
      }
      offsets.push_back(offsets.back() + events);
    }
    const auto raw = BatchOf(TableOf({{"__event_timestamps", arrow::int64()},
                                      {"__created_timestamps", arrow::int64()},
                                      {"x", arrow::float64()}},
                                     rows + "]"));
    const auto stored_rows = ValueOf(MakeWindowRows(table, *raw, offsets));
    OnlineValues stored;
    stored.found.resize(8, true);
    stored.event_times.resize(8);
    for (const int field : reader.fields()) stored.columns.push_back(stored_rows->column(field));

    const auto& times = static_cast<const arrow::Int64Array&>(*raw->column(0));
    const auto& created = static_cast<const arrow::Int64Array&>(*raw->column(1));
    const auto count = static_cast<size_t>(raw->num_rows());
    const pit::Events events{.ids = ids,
                             .times = {times.raw_values(), count},
                             .created = {created.raw_values(), count},
                             .columns = {raw->column(2)}};
    std::vector<pit::AggregateSpec> specs;
    for (const Aggregation& aggregation : view.aggregations) {
      specs.push_back({.function = aggregation.function,
                       .column = 0,
                       .window = aggregation.time_window,
                       .k = aggregation.k,
                       .quantile = aggregation.quantile,
                       .ddof = aggregation.ddof});
    }
    const std::vector<int32_t> label_ids = {0, 1, 2, 3, 4, 5, 6, 7};
    for (const int64_t as_of : {-1, 10, 30, 49, 60, 200}) {
      const std::vector<int64_t> label_times(8, as_of);
      const auto offline =
          ValueOf(pit::AggregateWindows({}, events, label_ids, label_times, specs));
      const auto online = ValueOf(reader.Evaluate({}, stored, as_of));
      for (size_t i = 0; i < specs.size(); ++i) {
        CAPTURE(view.aggregations[i].name);
        CAPTURE(as_of);
        CHECK(online.columns[i]->Equals(*offline[i],
                                        arrow::EqualOptions::Defaults().nans_equal(true)));
      }
    }
  }
}

TEST_CASE("a window view keeps each aggregated column once, beside the times") {
  FeatureView view;
  view.name = "v";
  const ValueType number{ValueType::kInt64};
  for (const char* column : {"a", "b", "a"}) {
    view.aggregations.push_back({.column = column,
                                 .column_type = number,
                                 .time_window = 7,
                                 .slide_interval = {},
                                 .name = column});
  }
  CHECK(
      ValueOf(OnlineTableOf("p", view)).schema->field_names() ==
      std::vector<std::string>{"__event_timestamps", "__created_timestamps", "a", "b", "__tiles"});
  view.aggregations[0].column_type.list = true;
  CHECK_ERROR(OnlineTableOf("p", view), ErrorKind::kUnsupported, "'a'");
  view.aggregations[0] = {.column = "__event_timestamps",
                          .column_type = number,
                          .time_window = {},
                          .slide_interval = {},
                          .name = "n"};
  CHECK_ERROR(OnlineTableOf("p", view), ErrorKind::kUnsupported, "'__event_timestamps'");
}

TEST_CASE("a lifetime aggregate of a plug-in keeps every event, as do finite windows theirs") {
  FeatureView view;
  view.name = "v";
  const ValueType number{ValueType::kDouble};
  internal::AddAggregation(&view, "x", number, pit::AggregateFunction::kSum, 40);
  CHECK_FALSE(FoldsEvents(view));
  internal::AddAggregation(&view, "x", number, pit::AggregateFunction::kSum, std::nullopt);
  CHECK(FoldsEvents(view));
  CHECK(ValueOf(OnlineTableOf("p", view)).schema->field_names() ==
        std::vector<std::string>{"__event_timestamps", "__created_timestamps", "x", "__folded",
                                 "__partial_names", "__partials", "__tiles"});
  view.aggregations.push_back(view.aggregations.back());
  view.aggregations.back().function = pit::AggregateFunction::kCustom;
  CHECK_FALSE(FoldsEvents(view));
  CHECK(ValueOf(OnlineTableOf("p", view)).schema->num_fields() == 4);
}

}  // namespace
}  // namespace gnomon::feature
