// Writes and reads one online store in this process, beside bare loops of the store's own client
// over the same rows, and prints one JSON object. bench_online.py runs it.
//
// usage: online_bench TYPE LAYOUT PLACE ROWS ROUNDS
//   TYPE sqlite (PLACE is a file), redis (PLACE is host:port) or postgres (PLACE is a port; the
//   rest comes from PG*)

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <sqlite3.h>

#include "bare_readers.h"
#include "base/clock.h"
#include "base/text.h"
#include "feature/online/entity_key.h"
#include "feature/online/feast_value.h"
#include "feature/online/online_store.h"
#include "or_die.h"

namespace {

using namespace gnomon;
using namespace gnomon::feature;
using gnomon::bench::OrDie;

constexpr int kFeatures = 10;
constexpr int64_t kBatchRows = 16 * 1024;
constexpr int64_t kTime = 1'767'272'400'000'000;

double CpuSeconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

std::string KeyOf(int64_t id) {
  static const EntityKeyEncoder encoder =
      OrDie(EntityKeyEncoder::Make({"driver_id"}, {ValueType{ValueType::kInt64}}));
  arrow::Int64Builder builder;
  OrDie(builder.Append(id));
  std::string key;
  OrDie(encoder.Encode({OrDie(builder.Finish())}, 0, &key));
  return key;
}

double ValueOf(int64_t id, int feature) { return static_cast<double>(id) + feature / 16.0; }

OnlineTable MakeTable() {
  arrow::FieldVector fields;
  for (int i = 0; i < kFeatures; ++i)
    fields.push_back(arrow::field(Concat("f", i), arrow::float64()));
  return {.project = "bench", .view = "stats", .schema = arrow::schema(std::move(fields))};
}

struct Cost {
  double wall = 0;
  double cpu = 0;
};

Cost WriteAll(OnlineStore& store, const OnlineTable& table, const std::vector<std::string>& keys) {
  const double wall = MonotonicSeconds();
  const double cpu = CpuSeconds();
  auto writer = OrDie(store.BeginWrite({}, table));
  const auto total = static_cast<int64_t>(keys.size());
  for (int64_t begin = 0; begin < total; begin += kBatchRows) {
    const int64_t count = std::min(kBatchRows, total - begin);
    const std::vector<int64_t> times(static_cast<size_t>(count), kTime);
    arrow::ArrayVector columns;
    for (int feature = 0; feature < kFeatures; ++feature) {
      arrow::DoubleBuilder builder;
      for (int64_t id = begin; id < begin + count; ++id)
        OrDie(builder.Append(ValueOf(id, feature)));
      columns.push_back(OrDie(builder.Finish()));
    }
    OnlineRows rows{{keys.begin() + begin, keys.begin() + begin + count},
                    times,
                    times,
                    arrow::RecordBatch::Make(table.schema, count, std::move(columns))};
    OrDie(writer->Write({}, rows));
  }
  OrDie(writer->Commit({}));
  return {MonotonicSeconds() - wall, CpuSeconds() - cpu};
}

/// One of several calls that are compared: median microseconds, and CPU of this process on average.
struct Timed {
  std::function<void()> call;
  std::vector<double> times = {};
  double cpu = 0;

  double Median() {
    const auto middle = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2);
    std::ranges::nth_element(times, middle);
    return *middle;
  }
  double MeanCpu() const { return cpu * 1e6 / static_cast<double>(times.size()); }
};

/// The calls take turns: how a client and its server fall on the processors, which decides what a
/// wake-up costs, changes by the second.
void Compare(int rounds, const std::vector<Timed*>& calls) {
  constexpr int kTurn = 20;
  while (std::cmp_less(calls.front()->times.size(), rounds)) {
    for (Timed* each : calls) {
      const double cpu = CpuSeconds();
      for (int i = 0; i < std::min(kTurn, rounds); ++i) {
        const double begin = MonotonicSeconds();
        each->call();
        each->times.push_back((MonotonicSeconds() - begin) * 1e6);
      }
      each->cpu += CpuSeconds() - cpu;
    }
  }
}

/// A bare loop that writes the same rows as Feast's table has, into a file of its own.
Cost WriteBareFeast(const std::string& path, const std::vector<std::string>& keys) {
  sqlite3* database = nullptr;
  sqlite3_stmt* upsert = nullptr;
  Require(sqlite3_open(path.c_str(), &database) == SQLITE_OK, "sqlite3_open");
  sqlite3_exec(
      database,
      "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-32768; CREATE "
      "TABLE t (entity_key BLOB, feature_name TEXT, value BLOB, value_text TEXT, "
      "vector_value BLOB, event_ts timestamp, created_ts timestamp, PRIMARY KEY(entity_key, "
      "feature_name)); CREATE INDEX t_ek ON t (entity_key)",
      nullptr, nullptr, nullptr);
  const double wall = MonotonicSeconds();
  const double cpu = CpuSeconds();
  sqlite3_exec(database, "BEGIN", nullptr, nullptr, nullptr);
  sqlite3_prepare_v2(
      database,
      "INSERT INTO t (entity_key, feature_name, value, value_text, event_ts, "
      "created_ts) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT(entity_key, feature_name) DO "
      "UPDATE SET value = excluded.value, value_text = excluded.value_text, event_ts = "
      "excluded.event_ts, created_ts = excluded.created_ts",
      -1, &upsert, nullptr);
  for (size_t id = 0; id < keys.size(); ++id) {
    for (int feature = 0; feature < kFeatures; ++feature) {
      const double value = ValueOf(static_cast<int64_t>(id), feature);
      const std::string name = Concat("f", feature);
      std::string bytes = "\x29";
      bytes.append(reinterpret_cast<const char*>(&value), sizeof(value));
      const std::string text = PythonText(value);
      sqlite3_bind_blob(upsert, 1, keys[id].data(), static_cast<int>(keys[id].size()),
                        SQLITE_STATIC);
      sqlite3_bind_text(upsert, 2, name.data(), static_cast<int>(name.size()), SQLITE_STATIC);
      sqlite3_bind_blob(upsert, 3, bytes.data(), static_cast<int>(bytes.size()), SQLITE_STATIC);
      sqlite3_bind_text(upsert, 4, text.data(), static_cast<int>(text.size()), SQLITE_STATIC);
      sqlite3_bind_int64(upsert, 5, kTime / 1'000'000);
      sqlite3_bind_int64(upsert, 6, kTime / 1'000'000);
      Require(sqlite3_step(upsert) == SQLITE_DONE, "bare upsert");
      sqlite3_reset(upsert);
    }
  }
  sqlite3_finalize(upsert);
  sqlite3_exec(database, "COMMIT", nullptr, nullptr, nullptr);
  const Cost cost{MonotonicSeconds() - wall, CpuSeconds() - cpu};
  sqlite3_close(database);
  return cost;
}

}  // namespace

int main(int argc, char** argv) {
  Require(argc == 6, "usage: online_bench TYPE LAYOUT PLACE ROWS ROUNDS");
  const std::string type = argv[1];
  const std::string layout = argv[2];
  const std::string place = argv[3];
  const int64_t num_rows = std::atoll(argv[4]);
  const int rounds = std::atoi(argv[5]);
  const bool feast = layout == "feast";

  RepositoryConfig::OnlineStore config{.type = type, .layout = layout};
  if (type == "sqlite") config.path = place;
  if (type == "redis") {
    config.host = place.substr(0, place.find(':'));
    config.port = std::atoi(place.substr(place.find(':') + 1).c_str());
  }
  if (type == "postgres") config.db_schema = "bench";
  const auto store = OrDie(OpenOnlineStore(config));
  const OnlineTable table = MakeTable();
  OrDie(store->Teardown({}, "bench"));
  OrDie(store->Prepare({}, {{table}}));
  std::vector<std::string> keys;
  for (int64_t id = 0; id < num_rows; ++id) keys.push_back(KeyOf(id));

  const Cost written = WriteAll(*store, table, keys);
  std::string out =
      Concat("{\"type\": \"", type, "\", \"layout\": \"", layout, "\", \"rows\": ", num_rows,
             ", \"write_wall\": ", written.wall, ", \"write_cpu\": ", written.cpu);
  if (type == "sqlite" && feast) {
    const Cost bare = WriteBareFeast(place + ".bare", keys);
    out += Concat(", \"bare_write_wall\": ", bare.wall, ", \"bare_write_cpu\": ", bare.cpu);
  }

  const auto bare = OpenBareReader(type, place, feast, keys.front());
  // As a server reads what another process wrote; with a cache that has the rows, and with one
  // whose rows are always too old.
  const auto reader = OrDie(OpenOnlineStore(config));
  config.cache_size_mb = 64;
  const auto cached = OrDie(OpenOnlineStore(config));
  config.cache_ttl = 1;
  const auto missed = OrDie(OpenOnlineStore(config));
  out += ", \"reads\": [";
  for (const int64_t count : {1, 10, 100, 1000}) {
    uint64_t random = 88172645463325252ULL;
    const int times = static_cast<int>(std::max<int64_t>(5, rounds / count));
    OnlineRead read{.table = &table, .keys = {}, .fields = {}};
    for (int i = 0; i < kFeatures; ++i) read.fields.push_back(i);
    std::vector<int64_t> ids;
    const auto choose = [&] {
      read.keys.clear();
      ids.clear();
      for (int64_t i = 0; i < count; ++i) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        ids.push_back(static_cast<int64_t>(random % static_cast<uint64_t>(num_rows)));
      }
      // A bare client does not answer a key twice: neither is asked for one twice.
      std::ranges::sort(ids);
      ids.erase(std::ranges::unique(ids).begin(), ids.end());
      for (const int64_t id : ids) read.keys.push_back(keys[static_cast<size_t>(id)]);
    };
    choose();
    const auto read_from = [&](OnlineStore& from) {
      const auto values = OrDie(from.Read({}, {&read, 1}));
      const auto& last = static_cast<const arrow::DoubleArray&>(*values[0].columns[kFeatures - 1]);
      for (size_t i = 0; i < ids.size(); ++i)
        Require(last.Value(static_cast<int64_t>(i)) == ValueOf(ids[i], kFeatures - 1), "read");
    };
    const size_t per_key = feast ? (type == "redis" ? kFeatures + 1 : kFeatures) : 1;
    Timed ours{.call = [&] { read_from(*reader); }};
    Timed bares{
        .call = [&] { Require(bare->Read(read.keys) == per_key * read.keys.size(), "bare read"); }};
    Timed hits{.call = [&] { read_from(*cached); }};
    Timed misses{.call = [&] { read_from(*missed); }};
    Compare(times, {&ours, &bares, &hits, &misses});
    out += Concat(count == 1 ? "" : ", ", "{\"entities\": ", count,
                  ", \"gnomon_us\": ", ours.Median(), ", \"bare_us\": ", bares.Median(),
                  ", \"gnomon_cpu_us\": ", ours.MeanCpu(), ", \"bare_cpu_us\": ", bares.MeanCpu(),
                  ", \"cached_us\": ", hits.Median(), ", \"missed_us\": ", misses.Median(), "}");
  }
  std::printf("%s]}\n", out.c_str());
  return 0;
}
