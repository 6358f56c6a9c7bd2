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
#include <hiredis/hiredis.h>
#include <libpq-fe.h>
#include <sqlite3.h>

#include "base/clock.h"
#include "base/text.h"
#include "feature/online/entity_key.h"
#include "feature/online/feast_value.h"
#include "feature/online/online_store.h"

namespace {

using namespace gnomon;
using namespace gnomon::feature;

constexpr int kFeatures = 10;
constexpr int64_t kBatchRows = 16 * 1024;
constexpr int64_t kTime = 1'767'272'400'000'000;

template <typename T>
T OrDie(Result<T> result) {
  if (result.ok()) return *std::move(result);
  std::fprintf(stderr, "%s\n", FormatError(result.status()).c_str());
  std::exit(1);
}

void OrDie(const Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", FormatError(status).c_str());
  std::exit(1);
}

void Require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "wrong answer: %s\n", what);
  std::exit(1);
}

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

struct Medians {
  double ours = 0;
  double bare = 0;
};

/// Median microseconds of two calls that take turns: how a client and its server fall on the
/// processors, which decides what a wake-up costs, changes by the second.
Medians MediansOf(int rounds, const std::function<void()>& ours,
                  const std::function<void()>& bare) {
  constexpr int kTurn = 20;
  std::array<std::vector<double>, 2> times;
  const auto run = [&](const std::function<void()>& call, std::vector<double>* into) {
    for (int i = 0; i < std::min(kTurn, rounds); ++i) {
      const double begin = MonotonicSeconds();
      call();
      into->push_back((MonotonicSeconds() - begin) * 1e6);
    }
  };
  while (std::cmp_less(times[0].size(), rounds)) {
    run(ours, &times[0]);
    run(bare, &times[1]);
  }
  const auto median = [](std::vector<double>& values) {
    const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
    std::ranges::nth_element(values, middle);
    return *middle;
  };
  return {median(times[0]), median(times[1])};
}

/// What a bare client does for the same keys: asks, and looks at every byte string that comes back.
class BareReader {
 public:
  virtual ~BareReader() = default;
  /// The number of rows or values that came.
  virtual size_t Read(const std::vector<std::string_view>& keys) = 0;
};

class BareSqlite : public BareReader {
 public:
  BareSqlite(const std::string& path, bool feast) {
    Require(sqlite3_open(path.c_str(), &database_) == SQLITE_OK, "sqlite3_open");
    sqlite3_exec(database_, "PRAGMA mmap_size=1073741824; PRAGMA cache_size=-16384", nullptr,
                 nullptr, nullptr);
    const char* text =
        feast ? "SELECT feature_name, value, event_ts FROM bench_stats WHERE entity_key = ?"
              : "SELECT event_ts, schema_id, value FROM gnomon_1_bench_stats WHERE entity_key = ?";
    value_ = feast ? 1 : 2;
    Require(sqlite3_prepare_v2(database_, text, -1, &select_, nullptr) == SQLITE_OK, text);
  }
  ~BareSqlite() override {
    sqlite3_finalize(select_);
    sqlite3_close(database_);
  }
  size_t Read(const std::vector<std::string_view>& keys) override {
    size_t count = 0;
    if (keys.size() > 1) sqlite3_exec(database_, "BEGIN", nullptr, nullptr, nullptr);
    for (const std::string_view key : keys) {
      sqlite3_bind_blob(select_, 1, key.data(), static_cast<int>(key.size()), SQLITE_STATIC);
      while (sqlite3_step(select_) == SQLITE_ROW)
        count += sqlite3_column_blob(select_, value_) != nullptr ? 1 : 0;
      sqlite3_reset(select_);
    }
    if (keys.size() > 1) sqlite3_exec(database_, "COMMIT", nullptr, nullptr, nullptr);
    return count;
  }

 private:
  sqlite3* database_ = nullptr;
  sqlite3_stmt* select_ = nullptr;
  int value_ = 0;
};

class BareRedis : public BareReader {
 public:
  BareRedis(const std::string& host, int port, bool feast)
      : context_(redisConnect(host.c_str(), port)), feast_(feast) {
    Require(context_ != nullptr && context_->err == 0, "redisConnect");
    auto* reply = static_cast<redisReply*>(
        redisCommand(context_, feast ? "HKEYS %b" : "HGET gnomon:online:bench packed:stats",
                     (KeyOf(0) + "bench").data(), (KeyOf(0) + "bench").size()));
    if (feast) {
      for (size_t i = 0; i < reply->elements; ++i)
        fields_.emplace_back(reply->element[i]->str, reply->element[i]->len);
    } else {
      prefix_ = Concat("gnomon:bench:", std::string_view(reply->str, reply->len), ":");
    }
    freeReplyObject(reply);
  }
  ~BareRedis() override { redisFree(context_); }
  size_t Read(const std::vector<std::string_view>& keys) override {
    std::vector<std::string> texts;
    for (const std::string_view key : keys)
      texts.push_back(feast_ ? std::string(key) + "bench" : prefix_ + std::string(key));
    if (!feast_) {
      std::vector<std::string> words{"MGET"};
      words.insert(words.end(), texts.begin(), texts.end());
      Append(words);
      return Take();
    }
    for (const std::string& text : texts) {
      std::vector<std::string> words{"HMGET", text};
      words.insert(words.end(), fields_.begin(), fields_.end());
      Append(words);
    }
    size_t count = 0;
    for (size_t i = 0; i < texts.size(); ++i) count += Take();
    return count;
  }

 private:
  void Append(const std::vector<std::string>& words) {
    std::vector<const char*> pointers;
    std::vector<size_t> lengths;
    for (const std::string& word : words) {
      pointers.push_back(word.data());
      lengths.push_back(word.size());
    }
    redisAppendCommandArgv(context_, static_cast<int>(words.size()), pointers.data(),
                           lengths.data());
  }
  size_t Take() {
    void* answer = nullptr;
    Require(redisGetReply(context_, &answer) == REDIS_OK, "redisGetReply");
    auto* reply = static_cast<redisReply*>(answer);
    size_t count = 0;
    for (size_t i = 0; i < reply->elements; ++i) count += reply->element[i]->len > 0 ? 1 : 0;
    freeReplyObject(reply);
    return count;
  }
  redisContext* context_;
  const bool feast_;
  std::string prefix_;
  std::vector<std::string> fields_;
};

/// A prepared statement, binary both ways, one blocking call for each read. One key is asked for as
/// a plain value, several as an array.
class BarePostgres : public BareReader {
 public:
  explicit BarePostgres(bool feast)
      : connection_(PQconnectdb("options='-c search_path=bench -c "
                                "plan_cache_mode=force_generic_plan'")) {
    Require(PQstatus(connection_) == CONNECTION_OK, "PQconnectdb");
    const std::string select =
        feast ? "SELECT entity_key, feature_name, value, event_ts FROM bench_stats"
              : "SELECT entity_key, event_ts, schema_id, value FROM gnomon_1_bench_stats";
    value_ = feast ? 2 : 3;
    Prepare("one", Concat(select, " WHERE entity_key = $1::bytea"));
    Prepare("many", Concat(select, " WHERE entity_key = ANY($1::bytea[])"));
  }
  ~BarePostgres() override { PQfinish(connection_); }
  size_t Read(const std::vector<std::string_view>& keys) override {
    std::string bytes;
    if (keys.size() == 1) {
      bytes = keys[0];
    } else {
      for (const auto word : {1U, 0U, 17U, static_cast<uint32_t>(keys.size()), 1U})
        AppendWord(word, &bytes);
      for (const std::string_view key : keys) {
        AppendWord(static_cast<uint32_t>(key.size()), &bytes);
        bytes.append(key);
      }
    }
    const char* value = bytes.data();
    const int length = static_cast<int>(bytes.size());
    const int format = 1;
    PGresult* result = PQexecPrepared(connection_, keys.size() == 1 ? "one" : "many", 1, &value,
                                      &length, &format, 1);
    Require(PQresultStatus(result) == PGRES_TUPLES_OK, PQerrorMessage(connection_));
    size_t count = 0;
    for (int row = 0; row < PQntuples(result); ++row)
      count += PQgetlength(result, row, value_) > 0 ? 1 : 0;
    PQclear(result);
    return count;
  }

 private:
  static void AppendWord(uint32_t word, std::string* out) {
    for (int shift = 24; shift >= 0; shift -= 8) out->push_back(static_cast<char>(word >> shift));
  }
  void Prepare(const char* name, const std::string& text) {
    PGresult* result = PQprepare(connection_, name, text.c_str(), 1, nullptr);
    Require(PQresultStatus(result) == PGRES_COMMAND_OK, PQerrorMessage(connection_));
    PQclear(result);
  }
  PGconn* connection_;
  int value_ = 0;
};

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

  std::unique_ptr<BareReader> bare;
  if (type == "sqlite") bare = std::make_unique<BareSqlite>(place, feast);
  if (type == "redis") bare = std::make_unique<BareRedis>(config.host, config.port, feast);
  if (type == "postgres") bare = std::make_unique<BarePostgres>(feast);
  // As a server reads what another process wrote.
  const auto reader = OrDie(OpenOnlineStore(config));
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
    const auto ours = [&] {
      const auto values = OrDie(reader->Read({}, {&read, 1}));
      const auto& last = static_cast<const arrow::DoubleArray&>(*values[0].columns[kFeatures - 1]);
      for (size_t i = 0; i < ids.size(); ++i)
        Require(last.Value(static_cast<int64_t>(i)) == ValueOf(ids[i], kFeatures - 1), "read");
    };
    const size_t per_key = feast ? (type == "redis" ? kFeatures + 1 : kFeatures) : 1;
    const auto bares = [&] {
      Require(bare->Read(read.keys) == per_key * read.keys.size(), "bare read");
    };
    const Medians medians = MediansOf(times, ours, bares);
    out += Concat(count == 1 ? "" : ", ", "{\"entities\": ", count,
                  ", \"gnomon_us\": ", medians.ours, ", \"bare_us\": ", medians.bare, "}");
  }
  std::printf("%s]}\n", out.c_str());
  return 0;
}
