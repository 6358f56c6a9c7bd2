// Reads of window views from an online store (SQLite, packed) beside a read of a plain view: one
// entity, ten features each, in process. The values of the window views are checked against those
// that pit::AggregateWindows gives for the raw events. Beside that what a push of one event takes,
// what making a row of its events takes, and the bytes of the row. Times are the thread's CPU time.
//
//   online_window_bench PLACE ROUNDS [SLIDE_INTERVAL] [EVENTS A KEY]...
//
// such as `online_window_bench build/windows.db 1500 1h 1000 10000`.

#include "pit/window.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <numeric>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "base/config.h"
#include "base/text.h"
#include "feature/definition/repository.h"
#include "feature/online/entity_key.h"
#include "feature/online/online_reader.h"
#include "feature/online/window_folding.h"
#include "feature/online/window_row.h"
#include "or_die.h"
#include "table/row_codec.h"

namespace {

using namespace gnomon;
using namespace gnomon::feature;
using gnomon::bench::OrDie;

constexpr int64_t kDay = 86'400'000'000;
constexpr int64_t kNow = 1'767'272'400'000'000;
constexpr int64_t kSpan = 90 * kDay;

void Require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "wrong answer: %s\n", what);
  std::exit(1);
}

double CpuMicros() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_nsec) / 1e3;
}

/// Median microseconds of a call.
double MedianOf(int rounds, const std::function<void()>& call) {
  std::vector<double> times;
  for (int round = 0; round < rounds; ++round) {
    const double begin = CpuMicros();
    call();
    times.push_back(CpuMicros() - begin);
  }
  std::ranges::nth_element(times, times.begin() + rounds / 2);
  return times[static_cast<size_t>(rounds / 2)];
}

struct Shape {
  const char* name;
  std::vector<std::pair<const char*, const char*>> aggregates;  ///< function, window
};

const std::vector<Shape> kShapes = {
    {"counts and sums, 1 to 90 days",
     {{"count", "1d"},
      {"count", "90d"},
      {"sum", "1d"},
      {"sum", "7d"},
      {"sum", "30d"},
      {"sum", "90d"},
      {"mean", "7d"},
      {"mean", "30d"},
      {"mean", "90d"},
      {"count", "7d"}}},
    {"extremes, first and last, 1 to 90 days",
     {{"min", "1d"},
      {"min", "90d"},
      {"max", "1d"},
      {"max", "7d"},
      {"max", "30d"},
      {"max", "90d"},
      {"first", "90d"},
      {"last", "90d"},
      {"min", "30d"},
      {"last", "7d"}}},
    {"deviations, 1 to 90 days",
     {{"std", "1d"},
      {"std", "3d"},
      {"std", "7d"},
      {"std", "14d"},
      {"std", "30d"},
      {"std", "90d"},
      {"var", "1d"},
      {"var", "7d"},
      {"var", "30d"},
      {"var", "90d"}}},
    {"values counted, 1 to 90 days",
     {{"median", "1d"},
      {"median", "7d"},
      {"median", "30d"},
      {"median", "90d"},
      {"count_distinct", "1d"},
      {"count_distinct", "30d"},
      {"count_distinct", "90d"},
      {"most_frequent", "7d"},
      {"most_frequent", "30d"},
      {"most_frequent", "90d"}}},
};

/// `slide`: the slide_interval of all aggregations, empty: none.
std::string DefinitionsOf(const Shape& shape, const std::string& slide) {
  std::string text =
      "entities: [{name: k, value_type: INT64}]\n"
      "data_sources: [{name: s, path: s.parquet, timestamp_field: ts}]\n"
      "feature_views:\n"
      "  - {name: plain, entities: [k], source: s, schema: [";
  for (int i = 0; i < 10; ++i)
    text += Concat(i == 0 ? "" : ", ", "{name: f", i, ", dtype: Float64}");
  text += "]}\n  - name: windows\n    entities: [k]\n    source: s\n    aggregations:\n";
  for (const auto& [function, window] : shape.aggregates)
    text += Concat("      - {column: x, function: ", function, ", time_window: ", window,
                   slide.empty() ? "" : ", slide_interval: ", slide, "}\n");
  return text;
}

std::string KeyOf(int64_t id) {
  static const EntityKeyEncoder encoder =
      OrDie(EntityKeyEncoder::Make({"k"}, {ValueType{ValueType::kInt64}}));
  arrow::Int64Builder builder;
  OrDie(builder.Append(id));
  std::string key;
  OrDie(encoder.Encode({OrDie(builder.Finish())}, 0, &key));
  return key;
}

uint64_t Random() {
  static uint64_t state = 88172645463325252ULL;
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state;
}

struct Events {
  std::vector<int64_t> times;  ///< ascending
  std::vector<double> values;
};

Events RandomEvents(int64_t count) {
  Events events;
  for (int64_t i = 0; i < count; ++i) {
    events.times.push_back(kNow - static_cast<int64_t>(Random() % static_cast<uint64_t>(kSpan)));
    events.values.push_back(static_cast<double>(Random() % 100'000) / 16);
  }
  std::ranges::sort(events.times);
  return events;
}

std::shared_ptr<arrow::Array> Int64s(const std::vector<int64_t>& values) {
  arrow::Int64Builder builder;
  OrDie(builder.AppendValues(values));
  return OrDie(builder.Finish());
}

std::shared_ptr<arrow::Array> Doubles(const std::vector<double>& values) {
  arrow::DoubleBuilder builder;
  OrDie(builder.AppendValues(values));
  return OrDie(builder.Finish());
}

void WritePlain(OnlineStore& store, const OnlineTable& table, int64_t num_keys) {
  auto writer = OrDie(store.BeginWrite({}, table));
  for (int64_t id = 0; id < num_keys; ++id) {
    const std::string key = KeyOf(id);
    const std::vector<std::string_view> keys = {key};
    const std::vector<int64_t> times = {kNow};
    arrow::ArrayVector columns(10, Doubles({static_cast<double>(id)}));
    OrDie(writer->Write(
        {}, {keys, times, times, arrow::RecordBatch::Make(table.schema, 1, std::move(columns))}));
  }
  OrDie(writer->Commit({}));
}

/// The stored row of one entity's events.
std::shared_ptr<arrow::RecordBatch> RowOf(const OnlineTable& table, const WindowFolding& folding,
                                          const Events& events) {
  const auto num_events = static_cast<int64_t>(events.times.size());
  const auto raw = arrow::RecordBatch::Make(
      arrow::schema({arrow::field(std::string(kEventTimes), arrow::int64()),
                     arrow::field("x", arrow::float64())}),
      num_events, arrow::ArrayVector{Int64s(events.times), Doubles(events.values)});
  const std::vector<int64_t> offsets = {0, num_events};
  return OrDie(folding.Fold(OrDie(MakeWindowRows(table, *raw, offsets))));
}

std::vector<Events> WriteWindows(OnlineStore& store, const OnlineTable& table,
                                 const WindowFolding& folding, int64_t num_keys,
                                 int64_t rows_per_key) {
  std::vector<Events> all;
  auto writer = OrDie(store.BeginWrite({}, table));
  for (int64_t id = 0; id < num_keys; ++id) {
    all.push_back(RandomEvents(rows_per_key));
    const auto rows = RowOf(table, folding, all.back());
    const std::string key = KeyOf(id);
    const std::vector<std::string_view> keys = {key};
    const WindowRowTimes newest = NewestTimes(*rows);
    OrDie(writer->Write({}, {keys, newest.event_times, newest.created_times, rows}));
  }
  OrDie(writer->Commit({}));
  return all;
}

/// As FeatureStore::Push does it.
void PushOne(OnlineStore& store, const OnlineTable& table, const WindowFolding& folding, int64_t id,
             const Events& events) {
  const std::string key = KeyOf(id);
  OnlineRead read{.table = &table, .keys = {key}, .fields = {}};
  read.fields.resize(static_cast<size_t>(table.schema->num_fields()));
  std::iota(read.fields.begin(), read.fields.end(), 0);
  const auto added = RowOf(table, folding, events);
  WindowRowTimes newest;
  OrDie(store.Update({}, read, [&](const OnlineValues& stored) -> Result<OnlineRows> {
    OnlineRows write;
    write.keys = read.keys;
    write.values = OrDie(folding.Merge(stored, *added));
    newest = NewestTimes(*write.values);
    write.event_times = newest.event_times;
    write.created_times = newest.created_times;
    return write;
  }));
}

size_t BytesOf(const OnlineTable& table, const WindowFolding& folding, const Events& events) {
  std::string bytes;
  OrDie(
      OrDie(table::RowCodec::Make(table.schema)).Encode(*RowOf(table, folding, events), 0, &bytes));
  return bytes.size();
}

/// What the offline kernel says of the same events.
void CheckValues(const FeatureView& view, const Events& events, const OnlineResponse& response) {
  pit::Events raw;
  const std::vector<int32_t> ids(events.times.size(), 0);
  raw.ids = ids;
  raw.times = events.times;
  raw.columns = {Doubles(events.values)};
  std::vector<pit::AggregateSpec> specs;
  for (const Aggregation& aggregation : view.aggregations) {
    specs.push_back(OrDie(AggregateSpecOf(aggregation)));
    specs.back().column = 0;
  }
  const std::vector<int32_t> label_ids = {0};
  const std::vector<int64_t> label_times = {kNow};
  const auto expected = OrDie(pit::AggregateWindows({}, raw, label_ids, label_times, specs));
  for (size_t i = 0; i < expected.size(); ++i)
    Require(response.features[i].values->Equals(*expected[i]), response.features[i].name.c_str());
}

}  // namespace

int main(int argc, char** argv) {
  Require(argc >= 3, "usage: online_window_bench PLACE ROUNDS [SLIDE_INTERVAL] [EVENTS A KEY]...");
  const std::string place = argv[1];
  const int rounds = std::atoi(argv[2]);
  std::vector<int64_t> numbers_of_events;
  std::string slide;
  for (int i = 3; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument.find_first_not_of("0123456789") != std::string::npos) {
      slide = argument;
    } else {
      numbers_of_events.push_back(std::atoll(argv[i]));
    }
  }
  if (numbers_of_events.empty()) numbers_of_events = {10, 100, 1000, 10'000};
  std::printf(
      "| features | rows a key | us | times a plain read | push | make | bytes |\n"
      "|---|---|---|---|---|---|---|\n");
  for (const Shape& shape : kShapes) {
    const Definitions parsed = Complete(
        OrDie(ParseDefinitions(OrDie(ParseConfig(DefinitionsOf(shape, slide), "definitions")))));
    arrow::FieldVector fields = {
        arrow::field("k", arrow::int64()),
        arrow::field("ts", arrow::timestamp(arrow::TimeUnit::MICRO, "UTC")),
        arrow::field("x", arrow::float64())};
    for (int i = 0; i < 10; ++i) fields.push_back(arrow::field(Concat("f", i), arrow::float64()));
    const auto definitions = std::make_shared<const Definitions>(
        OrDie(ResolveSchemas(parsed, {{"s", arrow::schema(std::move(fields))}})));
    const FeatureView& view = *definitions->FindFeatureView("windows");
    for (const int64_t rows : numbers_of_events) {
      const int64_t num_keys = std::clamp<int64_t>(200'000 / rows, 50, 2000);
      RepositoryConfig::OnlineStore config{.type = "sqlite", .layout = "packed"};
      config.path = place;
      const auto store = OrDie(OpenOnlineStore(config));
      OrDie(store->Teardown({}, "bench"));
      const OnlineTable plain_table =
          OrDie(OnlineTableOf("bench", *definitions->FindFeatureView("plain")));
      const OnlineTable window_table = OrDie(OnlineTableOf("bench", view));
      OrDie(store->Prepare({}, std::vector<OnlineTable>{plain_table, window_table}));
      const WindowFolding folding = WindowFolding::Make(window_table, view);
      WritePlain(*store, plain_table, num_keys);
      const std::vector<Events> events =
          WriteWindows(*store, window_table, folding, num_keys, rows);
      const auto reader_of = [&](const char* features) {
        return OrDie(OnlineReader::Make(
            "bench", OrDie(PlanFeatures(definitions, std::vector<std::string>{features})), {}));
      };
      const auto plain = reader_of("plain:*");
      const auto windows = reader_of("windows:*");
      const auto read = [&](const OnlineReader& reader, int64_t id) {
        const auto entities = arrow::RecordBatch::Make(
            arrow::schema({arrow::field("k", arrow::int64())}), 1, {Int64s({id})});
        return OrDie(reader.Read({}, *store, *entities, kNow));
      };
      for (int64_t id = 0; id < num_keys; id += 7)
        CheckValues(view, events[static_cast<size_t>(id)], read(*windows, id));
      const auto choose = [&] {
        return static_cast<int64_t>(Random() % static_cast<uint64_t>(num_keys));
      };
      const double of_plain = MedianOf(rounds, [&] { read(*plain, choose()); });
      const double of_windows = MedianOf(rounds, [&] { read(*windows, choose()); });
      const double of_making = MedianOf(std::min(rounds, 200), [&] {
        RowOf(window_table, folding, events[static_cast<size_t>(choose())]);
      });
      int64_t time = kNow;
      const double of_pushes = MedianOf(std::min(rounds, 200), [&] {
        PushOne(*store, window_table, folding, choose(),
                {{++time}, {static_cast<double>(time % 97)}});
      });
      std::printf("| %s | %lld | %.1f | %.1f | %.0f | %.0f | %zu |\n", shape.name,
                  static_cast<long long>(rows), of_windows, of_windows / of_plain, of_pushes,
                  of_making, BytesOf(window_table, folding, events.front()));
      std::fflush(stdout);
    }
  }
  return 0;
}
