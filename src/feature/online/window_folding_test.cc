#include "feature/online/window_folding.h"

#include <algorithm>
#include <numeric>
#include <random>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <doctest/doctest.h>

#include "base/text.h"
#include "feature/definition/definition.h"
#include "feature/online/online_reader.h"
#include "feature/online/window_read_internal.h"
#include "feature/online/window_rows_fixture_internal.h"
#include "pit/window.h"
#include "table/row_codec.h"
#include "tests/support/status.h"

namespace gnomon::feature {
namespace {

using internal::AddAggregation;
using internal::kFunctions;
using test::ValueOf;
using enum pit::AggregateFunction;

/// Every function over the whole past of two columns, some windows of 40 beside them.
FeatureView LifetimeView() {
  FeatureView view;
  view.name = "v";
  for (const auto function : kFunctions) {
    AddAggregation(&view, "x", {ValueType::kDouble}, function, std::nullopt);
    AddAggregation(&view, "s", {ValueType::kString}, function, std::nullopt);
  }
  AddAggregation(&view, "x", {ValueType::kDouble}, kSum, 40);
  AddAggregation(&view, "s", {ValueType::kString}, kMostFrequent, 40);
  return view;
}

struct Event {
  int32_t entity;
  int64_t time;
  std::optional<int64_t> created;
  std::optional<double> x;
  std::optional<std::string> s;
};

std::shared_ptr<arrow::RecordBatch> BatchOf(const std::vector<Event>& events) {
  arrow::Int64Builder times;
  arrow::Int64Builder created;
  arrow::DoubleBuilder x;
  arrow::StringBuilder s;
  for (const Event& event : events) {
    CHECK_OK(times.Append(event.time));
    CHECK_OK(event.created ? created.Append(*event.created) : created.AppendNull());
    CHECK_OK(event.x ? x.Append(*event.x) : x.AppendNull());
    CHECK_OK(event.s ? s.Append(*event.s) : s.AppendNull());
  }
  return arrow::RecordBatch::Make(
      arrow::schema({arrow::field("__event_timestamps", arrow::int64()),
                     arrow::field("__created_timestamps", arrow::int64()),
                     arrow::field("x", arrow::float64()), arrow::field("s", arrow::utf8())}),
      static_cast<int64_t>(events.size()),
      arrow::ArrayVector{ValueOf(times.Finish()), ValueOf(created.Finish()), ValueOf(x.Finish()),
                         ValueOf(s.Finish())});
}

/// A store of one view: a row per entity.
struct Rows {
  static constexpr int32_t kEntities = 4;

  explicit Rows(FeatureView defined, int64_t value_count_bytes = kValueCountBytes)
      : view(std::move(defined)),
        table(ValueOf(OnlineTableOf("p", view))),
        folding(WindowFolding::Make(table, view, value_count_bytes)) {
    for (const Field& field : view.schema) features.push_back(&field);
    reader.emplace(ValueOf(internal::WindowReader::Make(table, view, features)));
  }

  std::shared_ptr<arrow::RecordBatch> Raw(const std::vector<Event>& events) const {
    std::vector<Event> grouped = events;
    std::ranges::stable_sort(grouped, {}, &Event::entity);
    std::vector<int64_t> offsets = {0};
    for (int32_t entity = 0; entity < kEntities; ++entity)
      offsets.push_back(std::ranges::upper_bound(grouped, entity, {}, &Event::entity) -
                        grouped.begin());
    return ValueOf(MakeWindowRows(table, *BatchOf(grouped), offsets));
  }

  void Materialize(const std::vector<Event>& events) {
    stored = ValueOf(folding.Fold(Raw(events)));
  }
  Status Push(const std::vector<Event>& events) {
    GNOMON_ASSIGN_OR_RETURN(stored, folding.Merge(Stored(), *Raw(events)));
    return Status::OK();
  }

  OnlineValues Stored() const {
    OnlineValues values;
    values.found.resize(kEntities, true);
    values.event_times.resize(kEntities);
    values.columns = stored->columns();
    return values;
  }

  Result<internal::WindowReader::Values> Read(int64_t as_of) const {
    OnlineValues values = Stored();
    values.columns.clear();
    for (const int field : reader->fields()) values.columns.push_back(stored->column(field));
    return reader->Evaluate({}, values, as_of);
  }

  size_t StoredBytes(int64_t row) const {
    std::string bytes;
    CHECK_OK(ValueOf(table::RowCodec::Make(table.schema)).Encode(*stored, row, &bytes));
    return bytes.size();
  }

  FeatureView view;
  OnlineTable table;
  WindowFolding folding;
  std::vector<const Field*> features;
  std::optional<internal::WindowReader> reader;
  std::shared_ptr<arrow::RecordBatch> stored;
};

std::vector<std::shared_ptr<arrow::Array>> Offline(const FeatureView& view,
                                                   const std::vector<Event>& events,
                                                   int64_t as_of) {
  const auto batch = BatchOf(events);
  std::vector<int32_t> ids;
  std::vector<int64_t> times;
  std::vector<int64_t> created;
  for (const Event& event : events) {
    ids.push_back(event.entity);
    times.push_back(event.time);
    created.push_back(event.created.value_or(INT64_MIN));
  }
  const pit::Events all{.ids = ids,
                        .times = times,
                        .created = created,
                        .columns = {batch->column(2), batch->column(3)}};
  std::vector<pit::AggregateSpec> specs;
  for (const Aggregation& aggregation : view.aggregations) {
    specs.push_back(ValueOf(AggregateSpecOf(aggregation)));
    specs.back().column = aggregation.column == "x" ? 0 : 1;
  }
  std::vector<int32_t> label_ids(Rows::kEntities);
  std::iota(label_ids.begin(), label_ids.end(), 0);
  const std::vector<int64_t> label_times(label_ids.size(), as_of);
  return ValueOf(pit::AggregateWindows({}, all, label_ids, label_times, specs));
}

/// False where the read is refused; what is read must be the offline value, bit for bit.
bool ReadsAsOffline(const Rows& rows, const std::vector<Event>& events, int64_t as_of) {
  CAPTURE(as_of);
  const auto online = rows.Read(as_of);
  if (!online.ok()) {
    CHECK_ERROR(online, ErrorKind::kUser, "cannot be read as of");
    return false;
  }
  const auto offline = Offline(rows.view, events, as_of);
  for (size_t i = 0; i < offline.size(); ++i) {
    CAPTURE(rows.view.aggregations[i].name);
    CHECK(online->columns[i]->Equals(
        *offline[i], arrow::EqualOptions::Defaults().nans_equal(true).signed_zeros_equal(false)));
  }
  for (int32_t entity = 0; entity < Rows::kEntities; ++entity) {
    std::optional<int64_t> newest;
    for (const Event& event : events) {
      if (event.entity == entity && event.time <= as_of)
        newest = std::max(newest.value_or(event.time), event.time);
    }
    CHECK(online->found[static_cast<size_t>(entity)] == newest.has_value());
    CHECK(online->event_times[static_cast<size_t>(entity)] == newest.value_or(0));
  }
  return true;
}

std::vector<Event> RandomEvents(std::mt19937* random, size_t count, int64_t from, int64_t to) {
  std::vector<Event> events;
  for (size_t i = 0; i < count; ++i) {
    Event event{};
    event.entity = static_cast<int32_t>((*random)() % (Rows::kEntities - 1));  // one has none
    event.time = from + static_cast<int64_t>((*random)() % static_cast<uint64_t>(to - from));
    if ((*random)() % 4 != 0) event.created = static_cast<int64_t>((*random)() % 3);
    if ((*random)() % 7 != 0) event.x = static_cast<double>((*random)() % 50) / 7.0 - 3;
    if ((*random)() % 5 != 0) event.s = std::string((*random)() % 4, 'a');
    events.push_back(std::move(event));
  }
  return events;
}

TEST_CASE("folded rows give the offline bits after materializations, pushes and late rows") {
  const uint32_t seed = 20240601;
  CAPTURE(seed);
  std::mt19937 random(seed);
  size_t refused = 0;
  for (int round = 0; round < 12; ++round) {
    CAPTURE(round);
    Rows rows(LifetimeView());
    std::vector<Event> events = RandomEvents(&random, 700, 0, 500);
    rows.Materialize(events);
    CHECK(rows.stored->GetColumnByName("__folded")->null_count() == 1);
    int64_t newest = 500;
    for (int step = 0; step < 6; ++step) {
      CAPTURE(step);
      for (const int64_t later : {0, 1, 39, 40, 1000, 1'000'000})
        CHECK(ReadsAsOffline(rows, events, newest + later));
      for (const int64_t as_of : {int64_t{-1}, int64_t{3}, newest / 2, newest - 5, newest - 30})
        refused += ReadsAsOffline(rows, events, as_of) ? 0 : 1;
      if (step == 3) {  // from the source again, which has the pushed rows behind its own
        rows.Materialize(events);
        continue;
      }
      // New ones, and late ones from anywhere in the past, ties with folded ones among them.
      auto pushed = RandomEvents(&random, random() % 120, newest, newest + 60);
      const auto late = RandomEvents(&random, random() % 30, 0, newest);
      pushed.insert(pushed.begin() + static_cast<int64_t>(pushed.size() / 2), late.begin(),
                    late.end());
      CHECK_OK(rows.Push(pushed));
      events.insert(events.end(), pushed.begin(), pushed.end());
      newest += 60;
    }
  }
  CHECK(refused > 0);
}

TEST_CASE("a slide interval keeps so much of the past exact, and changes no value") {
  std::mt19937 random(7);
  FeatureView view = LifetimeView();
  for (Aggregation& aggregation : view.aggregations) {
    if (!aggregation.time_window) aggregation.slide_interval = 100;
  }
  Rows rows(view);
  const auto events = RandomEvents(&random, 3000, 0, 500);
  rows.Materialize(events);
  for (const int64_t as_of : {445, 460, 499, 700}) CHECK(ReadsAsOffline(rows, events, as_of));
  CHECK_FALSE(ReadsAsOffline(rows, events, 300));
  // A read of lifetime windows alone goes back all of it.
  std::erase_if(view.aggregations, [](const Aggregation& each) { return each.time_window; });
  view.schema.resize(view.aggregations.size());
  Rows lifetime(view);
  lifetime.Materialize(events);
  CHECK(ReadsAsOffline(lifetime, events, 400));
}

TEST_CASE("late rows alone do not open the folded past again") {
  std::mt19937 random(5);
  FeatureView view;
  view.name = "v";
  AddAggregation(&view, "x", {ValueType::kDouble}, kSum, std::nullopt);
  Rows rows(view);
  auto events = RandomEvents(&random, 900, 0, 500);
  rows.Materialize(events);
  CHECK_FALSE(ReadsAsOffline(rows, events, 300));
  for (int push = 0; push < 3; ++push) {
    const auto late = RandomEvents(&random, 20, 0, 100);
    CHECK_OK(rows.Push(late));
    events.insert(events.end(), late.begin(), late.end());
    CHECK_FALSE(ReadsAsOffline(rows, events, 300));
    CHECK(ReadsAsOffline(rows, events, 500));
  }
}

TEST_CASE("a sum is beyond 64 bits only when that of all events is") {
  FeatureView view;
  view.name = "v";
  AddAggregation(&view, "x", {ValueType::kInt64}, kSum, std::nullopt);
  Rows rows(view);
  const auto raw = [&](int64_t from, int64_t value) {
    arrow::Int64Builder times;
    arrow::Int64Builder x;
    for (int64_t i = 0; i < 100; ++i) {
      CHECK_OK(times.Append(from + i));
      CHECK_OK(x.Append(value));
    }
    const auto batch = arrow::RecordBatch::Make(
        arrow::schema({arrow::field("__event_timestamps", arrow::int64()),
                       arrow::field("x", arrow::int64())}),
        100, arrow::ArrayVector{ValueOf(times.Finish()), ValueOf(x.Finish())});
    return ValueOf(MakeWindowRows(rows.table, *batch, std::vector<int64_t>{0, 100, 100, 100, 100}));
  };
  constexpr int64_t kHuge = int64_t{1} << 60;
  rows.stored = ValueOf(rows.folding.Fold(raw(0, -kHuge)));
  CHECK_ERROR(rows.Read(500), ErrorKind::kUser, "beyond 64 bits");
  rows.stored = ValueOf(rows.folding.Merge(rows.Stored(), *raw(200, kHuge)));
  const auto values = ValueOf(rows.Read(500));
  CHECK(static_cast<const arrow::Int64Array&>(*values.columns[0]).Value(0) == 0);
  CHECK(values.columns[0]->IsNull(1));
}

TEST_CASE("what is stored of a key stays small however many events it has") {
  FeatureView view;
  view.name = "v";
  for (const auto function : kFunctions)
    AddAggregation(&view, "x", {ValueType::kDouble}, function, std::nullopt);
  Rows rows(view);
  std::vector<Event> events;
  for (int64_t i = 0; i < 100'000; ++i)
    events.push_back(
        {.entity = 0, .time = i, .created = {}, .x = static_cast<double>(i % 100), .s = {}});
  rows.Materialize({events.begin(), events.begin() + 50'000});
  const size_t half = rows.StoredBytes(0);
  for (auto begin = events.begin() + 50'000; begin != events.end(); begin += 10'000)
    CHECK_OK(rows.Push({begin, begin + 10'000}));
  CHECK(rows.StoredBytes(0) < 6'000);
  CHECK(rows.StoredBytes(0) < half + 100);
  CHECK(ReadsAsOffline(rows, events, 100'000));
}

TEST_CASE("distinct values beyond the allowed bytes are refused by name, and nothing is lost") {
  FeatureView view;
  view.name = "v";
  AddAggregation(&view, "x", {ValueType::kDouble}, kMedian, std::nullopt);
  Rows rows(view, 1600);
  std::vector<Event> events;
  for (int64_t i = 0; i < 150; ++i)
    events.push_back({.entity = 0, .time = i, .created = {}, .x = static_cast<double>(i), .s = {}});
  rows.Materialize(events);
  std::vector<Event> more = events;
  for (Event& event : more) event = {0, event.time + 150, {}, *event.x + 1000, {}};
  CHECK_ERROR(rows.Push(more), ErrorKind::kExhausted, "feature view 'v', column 'x'");
  more.insert(more.begin(), events.begin(), events.end());
  CHECK_ERROR(rows.folding.Fold(rows.Raw(more)), ErrorKind::kExhausted, "allowed are 1600");
  CHECK(ReadsAsOffline(rows, events, 1000));
}

TEST_CASE("rows of a store from before folding are read, and folded by the next push") {
  std::mt19937 random(11);
  Rows rows(LifetimeView());
  std::vector<Event> events = RandomEvents(&random, 900, 0, 500);
  rows.stored = rows.Raw(events);  // the folded columns are null, as under an older schema
  CHECK(ReadsAsOffline(rows, events, 250));
  CHECK(ReadsAsOffline(rows, events, 600));
  const size_t before = rows.StoredBytes(0);
  const auto pushed = RandomEvents(&random, 12, 480, 560);
  CHECK_OK(rows.Push(pushed));
  events.insert(events.end(), pushed.begin(), pushed.end());
  CHECK(rows.StoredBytes(0) < before);
  CHECK(ReadsAsOffline(rows, events, 600));
}

TEST_CASE("an aggregate that is newer than the folded rows asks for a materialization") {
  std::mt19937 random(13);
  FeatureView old_view;
  old_view.name = "v";
  AddAggregation(&old_view, "x", {ValueType::kDouble}, kSum, std::nullopt);
  Rows old_rows(old_view);
  const auto events = RandomEvents(&random, 600, 0, 500);
  old_rows.Materialize(events);
  for (const auto function : {kCount, kMin}) {
    FeatureView view = old_view;
    AddAggregation(&view, "x", {ValueType::kDouble}, function, std::nullopt);
    Rows rows(view);
    rows.stored = old_rows.stored;
    CHECK_ERROR(rows.Read(600), ErrorKind::kConflict, Concat(pit::NameOf(function)));
    CHECK_OK(rows.Push(RandomEvents(&random, 5, 500, 510)));
    CHECK_ERROR(rows.Read(600), ErrorKind::kConflict, "has changed since it was materialized");
    rows.Materialize(events);
    CHECK(ReadsAsOffline(rows, events, 600));
  }
}

TEST_CASE("damage of what is folded is data loss, for reads and pushes") {
  std::mt19937 random(17);
  Rows rows(LifetimeView());
  rows.Materialize(RandomEvents(&random, 900, 0, 500));
  const auto sound = rows.stored;
  const auto replace = [&](const char* name, const std::shared_ptr<arrow::Array>& column) {
    const int field = sound->schema()->GetFieldIndex(name);
    rows.stored = ValueOf(sound->SetColumn(field, sound->schema()->field(field), column));
    CHECK_ERROR(rows.Read(600), ErrorKind::kDataLoss, "feature view 'v'");
    CHECK_ERROR(rows.Push({}), ErrorKind::kDataLoss, "feature view 'v'");
  };
  const auto lists =
      std::static_pointer_cast<arrow::ListArray>(sound->GetColumnByName("__partials"));
  const auto& partials = static_cast<const arrow::BinaryArray&>(*lists->values());
  arrow::BinaryBuilder cut;
  for (int64_t i = 0; i < partials.length(); ++i) {
    std::string bytes = partials.GetString(i);
    if (!bytes.empty()) bytes.pop_back();
    CHECK_OK(cut.Append(bytes));
  }
  replace("__partials",
          std::make_shared<arrow::ListArray>(lists->type(), lists->length(), lists->value_offsets(),
                                             ValueOf(cut.Finish()), lists->null_bitmap()));
  auto numbers = std::static_pointer_cast<arrow::ListArray>(sound->GetColumnByName("__folded"));
  arrow::Int64Builder many;
  for (int64_t i = 0; i < numbers->values()->length(); ++i) CHECK_OK(many.Append(1'000'000 - i));
  replace("__folded", std::make_shared<arrow::ListArray>(
                          numbers->type(), numbers->length(), numbers->value_offsets(),
                          ValueOf(many.Finish()), numbers->null_bitmap()));
}

}  // namespace
}  // namespace gnomon::feature
