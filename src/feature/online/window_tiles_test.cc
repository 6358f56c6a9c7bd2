#include "feature/online/window_tiles.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <random>

#include <arrow/array.h>
#include <arrow/array/concatenate.h>
#include <arrow/builder.h>
#include <arrow/chunked_array.h>
#include <arrow/record_batch.h>
#include <arrow/scalar.h>
#include <arrow/type.h>
#include <doctest/doctest.h>

#include "base/files.h"
#include "base/text.h"
#include "feature/definition/definition.h"
#include "feature/online/cached_store.h"
#include "feature/online/online_reader.h"
#include "feature/online/packed_rows_internal.h"
#include "feature/online/window_folding.h"
#include "feature/online/window_read_internal.h"
#include "feature/online/window_read_tiled_internal.h"
#include "pit/window.h"
#include "table/column.h"
#include "table/row_codec.h"
#include "tests/support/status.h"
#include "tests/support/temporary.h"

namespace gnomon::feature {
namespace {

using test::ValueOf;
using enum pit::AggregateFunction;

constexpr pit::AggregateFunction kFunctions[] = {
    kCount,         kSum,   kMean, kMin,   kMax,    kStd,      kVar,
    kCountDistinct, kFirst, kLast, kLastK, kMedian, kQuantile, kMostFrequent};
constexpr std::pair<const char*, ValueType::Base> kColumns[] = {
    {"d", ValueType::kDouble}, {"f", ValueType::kFloat},  {"i", ValueType::kInt64},
    {"b", ValueType::kBool},   {"s", ValueType::kString}, {"t", ValueType::kUnixTimestamp}};
constexpr int64_t kWindows[] = {300, 1700};

void AddAggregation(FeatureView* view, const std::string& column, ValueType type,
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
                          .dtype = ValueOf(ValueType::FromArrow(**result)),
                          .description = {},
                          .tags = {}});
}

/// Every function over every type and two windows.
FeatureView AllFunctions() {
  FeatureView view;
  view.name = "v";
  for (const auto& [column, type] : kColumns) {
    for (const auto function : kFunctions) {
      for (const int64_t window : kWindows) AddAggregation(&view, column, {type}, function, window);
    }
  }
  return view;
}

/// Events of some entities in input order, as MakeWindowRows takes them but for the entity.
struct Events {
  std::vector<int32_t> ids;
  std::shared_ptr<arrow::RecordBatch> rows;
};

Events RandomEvents(std::mt19937* random, int32_t num_entities, int64_t count, int64_t from,
                    int64_t to) {
  const auto below = [&](uint32_t bound) { return static_cast<int64_t>((*random)() % bound); };
  Events events;
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
      arrow::ArrayVector{ValueOf(times.Finish()), ValueOf(created.Finish()), ValueOf(d.Finish()),
                         ValueOf(f.Finish()), ValueOf(i.Finish()), ValueOf(b.Finish()),
                         ValueOf(s.Finish()), ValueOf(t.Finish())});
  return events;
}

void Append(const Events& added, Events* events) {
  events->ids.insert(events->ids.end(), added.ids.begin(), added.ids.end());
  events->rows = ValueOf(arrow::ConcatenateRecordBatches({events->rows, added.rows}));
}

/// The stored rows of a view, one an entity, as bytes.
class Rows {
 public:
  /// Reads all features of the view, or the first ones.
  Rows(FeatureView view, int32_t num_entities, size_t num_features = SIZE_MAX)
      : view_(std::move(view)),
        num_entities_(num_entities),
        table_(ValueOf(OnlineTableOf("p", view_))),
        folding_(WindowFolding::Make(table_, view_)) {
    std::vector<const Field*> features;
    for (const Field& field : view_.schema) features.push_back(&field);
    features.resize(std::min(num_features, features.size()));
    reader_.emplace(ValueOf(internal::WindowReader::Make(table_, view_, features)));
  }

  void Materialize(const Events& events) { stored_ = ValueOf(folding_.Fold(Raw(events))); }
  void Push(const Events& events) {
    OnlineValues stored;
    stored.found.resize(static_cast<size_t>(num_entities_), true);
    stored.columns = stored_->columns();
    stored_ = ValueOf(folding_.Merge(stored, *Raw(events)));
  }

  /// With the tiles, or as a build wrote them that did not know any.
  std::vector<std::string> Bytes(bool with_tiles) const {
    auto rows = stored_;
    if (!with_tiles)
      rows = ValueOf(rows->RemoveColumn(rows->schema()->GetFieldIndex(std::string(kTiles))));
    const auto codec = ValueOf(table::RowCodec::Make(rows->schema()));
    std::vector<std::string> all(static_cast<size_t>(num_entities_));
    for (size_t row = 0; row < all.size(); ++row)
      CHECK_OK(codec.Encode(*rows, static_cast<int64_t>(row), &all[row]));
    return all;
  }

  /// `decoded`: how many of the rows no tiles were found in.
  Result<internal::WindowReader::Values> Read(const std::vector<std::string>& bytes,
                                              bool with_tiles, int64_t as_of,
                                              int64_t* decoded = nullptr) const {
    internal::TiledRows tiled(*reader_, as_of);
    const OnlineRead read{.table = &table_,
                          .keys = std::vector<std::string_view>(bytes.size(), "key"),
                          .fields = reader_->fields(),
                          .packed = &tiled};
    internal::PackedRows decoder;
    CHECK_OK(decoder.Start(read));
    const auto load = [&](int64_t) -> Result<std::shared_ptr<arrow::Schema>> {
      const int field = table_.schema->GetFieldIndex(std::string(kTiles));
      return with_tiles ? table_.schema : ValueOf(table_.schema->RemoveField(field));
    };
    for (const std::string& row : bytes) GNOMON_RETURN_NOT_OK(decoder.Append(1, row, load));
    OnlineValues stored;
    stored.found.resize(bytes.size(), true);
    stored.event_times.resize(bytes.size());
    stored.columns = ValueOf(decoder.Finish());
    if (decoded != nullptr)
      *decoded = stored.columns[0]->length() - stored.columns[0]->null_count();
    return reader_->Evaluate({}, stored, as_of, &tiled);
  }

  /// Where every window begins at or after `oldest`, what is read is what AggregateWindows gives.
  void CheckAsOffline(const Events& events, int64_t as_of, int64_t oldest) const {
    CAPTURE(as_of);
    const auto offline = Offline(events, as_of);
    int64_t decoded = 0;
    const auto tiled = ValueOf(Read(Bytes(true), true, as_of, &decoded));
    CHECK(decoded < num_entities_);
    const auto plain = ValueOf(Read(Bytes(false), false, as_of, &decoded));
    CHECK(decoded == num_entities_);
    for (size_t i = 0; i < offline.size(); ++i) {
      CAPTURE(view_.aggregations[i].name);
      const auto options =
          arrow::EqualOptions::Defaults().nans_equal(true).signed_zeros_equal(false);
      CHECK(tiled.columns[i]->Equals(*plain.columns[i], options));
      if (as_of - view_.aggregations[i].time_window.value_or(as_of) < oldest) continue;
      CHECK(tiled.columns[i]->Equals(*offline[i], options));
    }
    CHECK(tiled.found == plain.found);
    CHECK(tiled.event_times == plain.event_times);
  }

  const OnlineTable& table() const { return table_; }
  const internal::WindowReader& reader() const { return *reader_; }
  const std::shared_ptr<arrow::RecordBatch>& stored() const { return stored_; }

 private:
  std::shared_ptr<arrow::RecordBatch> Raw(const Events& events) const {
    std::vector<int64_t> order(events.ids.size());
    std::iota(order.begin(), order.end(), int64_t{0});
    const auto id = [&](int64_t row) { return events.ids[static_cast<size_t>(row)]; };
    std::ranges::stable_sort(order, {}, id);
    std::vector<int64_t> offsets = {0};
    for (int32_t entity = 0; entity < num_entities_; ++entity)
      offsets.push_back(std::ranges::upper_bound(order, entity, {}, id) - order.begin());
    arrow::ArrayVector columns;
    for (const auto& column : events.rows->columns())
      columns.push_back(ValueOf(table::Gather(arrow::ChunkedArray(column), order)));
    const auto grouped = arrow::RecordBatch::Make(events.rows->schema(), events.rows->num_rows(),
                                                  std::move(columns));
    return ValueOf(MakeWindowRows(table_, *grouped, offsets));
  }

  arrow::ArrayVector Offline(const Events& events, int64_t as_of) const {
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
      specs.push_back(ValueOf(AggregateSpecOf(aggregation)));
      specs.back().column = events.rows->schema()->GetFieldIndex(aggregation.column) - 2;
    }
    std::vector<int32_t> label_ids(static_cast<size_t>(num_entities_));
    std::iota(label_ids.begin(), label_ids.end(), 0);
    const std::vector<int64_t> label_times(label_ids.size(), as_of);
    return ValueOf(pit::AggregateWindows({}, all, label_ids, label_times, specs));
  }

  const FeatureView view_;
  const int32_t num_entities_;
  const OnlineTable table_;
  const WindowFolding folding_;
  std::optional<internal::WindowReader> reader_;
  std::shared_ptr<arrow::RecordBatch> stored_;
};

constexpr int64_t kAnyTime = INT64_MIN;

TEST_CASE("tiles give the offline bits of every function and type, at any time and after pushes") {
  const uint32_t seed = 20240703;
  CAPTURE(seed);
  std::mt19937 random(seed);
  for (int round = 0; round < 4; ++round) {
    CAPTURE(round);
    Rows rows(AllFunctions(), 4);
    Events events = RandomEvents(&random, 4, 1200, 0, 2000);
    rows.Materialize(events);
    for (const int64_t as_of : {-5, 0, 299, 300, 1000, 1999, 2000, 2400, 3699, 3700, 9000})
      rows.CheckAsOffline(events, as_of, kAnyTime);
    int64_t newest = 2000;
    for (int push = 0; push < 3; ++push) {
      CAPTURE(push);
      // Late ones between those that are stored, then new ones; the oldest are dropped.
      Events pushed = RandomEvents(&random, 4, 60, newest - 1500, newest);
      Append(RandomEvents(&random, 4, 90, newest, newest + 200), &pushed);
      newest += 200;
      rows.Push(pushed);
      Append(pushed, &events);
      for (const int64_t later : {-250, -1, 0, 1, 299, 1000, 5000})
        rows.CheckAsOffline(events, newest + later, newest - 1700);
    }
  }
}

TEST_CASE("finite windows beside lifetime ones are read from tiles too, and folded ones are not") {
  std::mt19937 random(11);
  FeatureView view;
  view.name = "v";
  for (const auto function : {kSum, kStd, kMax, kMedian, kCount})
    AddAggregation(&view, "d", {ValueType::kDouble}, function, 1700);
  FeatureView both = view;
  AddAggregation(&both, "d", {ValueType::kDouble}, kSum, std::nullopt);
  AddAggregation(&both, "s", {ValueType::kString}, kMin, std::nullopt);
  const Events events = RandomEvents(&random, 4, 3000, 0, 6000);
  Rows finite(view, 4);
  finite.Materialize(events);
  finite.CheckAsOffline(events, 6500, kAnyTime);
  Rows with_lifetime(both, 4);
  with_lifetime.Materialize(events);
  int64_t decoded = 0;
  const auto values = ValueOf(with_lifetime.Read(with_lifetime.Bytes(true), true, 6500, &decoded));
  CHECK(decoded == 4);
  const auto expected = ValueOf(finite.Read(finite.Bytes(true), true, 6500));
  Rows of_finite(both, 4, view.aggregations.size());
  of_finite.Materialize(events);
  const auto alone = ValueOf(of_finite.Read(of_finite.Bytes(true), true, 6500, &decoded));
  CHECK(decoded == 2);
  CHECK_ERROR(of_finite.Read(of_finite.Bytes(true), true, 5000), ErrorKind::kUser,
              "cannot be read as of");
  for (size_t i = 0; i < view.aggregations.size(); ++i) {
    const auto options = arrow::EqualOptions::Defaults().nans_equal(true);
    CHECK(values.columns[i]->Equals(*expected.columns[i], options));
    CHECK(alone.columns[i]->Equals(*expected.columns[i], options));
  }
}

TEST_CASE("a store, and a cache before it, let rows be read where they lie") {
  std::mt19937 random(17);
  Rows rows(AllFunctions(), 4);
  rows.Materialize(RandomEvents(&random, 4, 900, 0, 2000));
  const TemporaryFolder folder = test::MakeTemporaryFolder();
  auto store = ValueOf(OpenOnlineStore({.type = "sqlite", .path = folder.path() + "/online.db"}));
  CHECK_OK(store->Prepare({}, std::vector<OnlineTable>{rows.table()}));
  const std::vector<std::string_view> keys = {"a", "b", "c", "d"};
  const std::vector<int64_t> times = {1, 1, 1, 1};
  auto writer = ValueOf(store->BeginWrite({}, rows.table()));
  CHECK_OK(writer->Write({}, {keys, times, times, rows.stored()}));
  CHECK_OK(writer->Commit({}));
  store = CacheOnlineStore(std::move(store), {.size_bytes = 1 << 24, .ttl = 1'000'000'000'000});
  const auto expected = ValueOf(rows.Read(rows.Bytes(true), true, 2100));
  // From the store, from the cache; one key is not stored.
  for (int i = 0; i < 2; ++i) {
    internal::TiledRows tiled(rows.reader(), 2100);
    const OnlineRead read{.table = &rows.table(),
                          .keys = {"c", "nobody", "b"},
                          .fields = rows.reader().fields(),
                          .packed = &tiled};
    const auto stored = ValueOf(store->Read({}, std::vector<OnlineRead>{read}));
    CHECK(stored[0].columns[0]->null_count() == 3);
    const auto values = ValueOf(rows.reader().Evaluate({}, stored[0], 2100, &tiled));
    CHECK(values.found == std::vector<bool>{true, false, true});
    for (size_t feature = 0; feature < values.columns.size(); ++feature) {
      const auto& column = *values.columns[feature];
      const auto options = arrow::EqualOptions::Defaults().nans_equal(true);
      CHECK(expected.columns[feature]->RangeEquals(2, 3, 0, column, options));
      CHECK(expected.columns[feature]->RangeEquals(1, 2, 2, column, options));
      // What an entity without events has.
      CHECK(expected.columns[feature]->RangeEquals(3, 4, 1, column, options));
    }
  }
}

TEST_CASE("more events than 15 bits number are counted by value") {
  std::mt19937 random(3);
  FeatureView view;
  view.name = "v";
  for (const auto function : {kMedian, kQuantile, kCountDistinct, kMostFrequent}) {
    for (const int64_t window : {500, 100'000})
      AddAggregation(&view, "i", {ValueType::kInt64}, function, window);
  }
  Rows rows(view, 3);
  const Events events = RandomEvents(&random, 3, 35'000, 0, 90'000);
  rows.Materialize(events);
  for (const int64_t as_of : {700, 45'000, 90'000}) rows.CheckAsOffline(events, as_of, kAnyTime);
}

TEST_CASE("damaged rows are errors or other numbers, and nothing worse") {
  std::mt19937 random(5);
  Rows rows(AllFunctions(), 4);
  rows.Materialize(RandomEvents(&random, 4, 700, 0, 2000));
  const std::vector<std::string> whole = rows.Bytes(true);
  CHECK_OK(rows.Read(whole, true, 2000));
  int errors = 0;
  for (int i = 0; i < 400; ++i) {
    std::string row = whole[1];
    if (i % 4 == 0) {
      row.resize(random() % row.size());
    } else {
      // Most of a row are values; its end has the tiles.
      const size_t reach = i % 2 == 0 ? row.size() : row.size() / 3;
      row[row.size() - 1 - random() % reach] = static_cast<char>(random());
    }
    const auto read = rows.Read({row}, true, 1900);
    if (read.ok()) continue;
    ++errors;
    CHECK((KindOf(read.status()) == ErrorKind::kDataLoss ||
           KindOf(read.status()) == ErrorKind::kUser));
  }
  CHECK(errors > 50);
}

std::string HexOf(std::string_view bytes) {
  constexpr const char* kDigits = "0123456789abcdef";
  std::string hex;
  for (const char byte : bytes) {
    hex += kDigits[static_cast<unsigned char>(byte) >> 4];
    hex += kDigits[static_cast<unsigned char>(byte) & 15];
  }
  return hex;
}

std::string BytesOf(std::string_view hex) {
  std::string bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2)
    bytes += static_cast<char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16));
  return bytes;
}

TEST_CASE("the golden rows with tiles and without are read, and those with tiles are written") {
  FeatureView view;
  view.name = "v";
  for (const auto function : {kSum, kMax, kMedian})
    AddAggregation(&view, "i", {ValueType::kInt64}, function, 200);
  Rows rows(view, 1);
  arrow::Int64Builder times;
  arrow::Int64Builder i;
  for (int64_t event = 0; event < kFewestTiledEvents + 2; ++event) {
    CHECK_OK(times.Append(event));
    CHECK_OK(i.Append(event % 10));
  }
  Events events{.ids = std::vector<int32_t>(kFewestTiledEvents + 2, 0), .rows = {}};
  const auto values = ValueOf(i.Finish());
  events.rows = arrow::RecordBatch::Make(
      arrow::schema({arrow::field(std::string(kEventTimes), arrow::int64()),
                     arrow::field("i", arrow::int64())}),
      kFewestTiledEvents + 2, arrow::ArrayVector{ValueOf(times.Finish()), values});
  rows.Materialize(events);
  std::string golden = ValueOf(ReadFile("tests/golden/window_rows.hex"));
  const size_t middle = golden.find('\n');
  const std::string without = golden.substr(0, middle);
  const std::string with = golden.substr(middle + 1, golden.size() - middle - 2);
  CHECK(HexOf(rows.Bytes(false)[0]) == without);
  CHECK(HexOf(rows.Bytes(true)[0]) == with);
  for (const bool with_tiles : {false, true}) {
    const auto read = ValueOf(rows.Read({BytesOf(with_tiles ? with : without)}, with_tiles, 301));
    // Events 102 to 129: 2 to 9 twice over, 0 and 1 between.
    CHECK(ValueOf(read.columns[0]->GetScalar(0))->ToString() == "134");
    CHECK(ValueOf(read.columns[1]->GetScalar(0))->ToString() == "9");
    CHECK(ValueOf(read.columns[2]->GetScalar(0))->ToString() == "5");
  }
}

}  // namespace
}  // namespace gnomon::feature
