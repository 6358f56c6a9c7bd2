#include "bare_readers.h"

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include <hiredis/hiredis.h>
#include <libpq-fe.h>
#include <sqlite3.h>

#include "base/text.h"

namespace {

using gnomon::Concat;

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
  BareRedis(const std::string& place, bool feast, const std::string& any_key)
      : context_(redisConnect(place.substr(0, place.find(':')).c_str(),
                              std::atoi(place.substr(place.find(':') + 1).c_str()))),
        feast_(feast) {
    Require(context_ != nullptr && context_->err == 0, "redisConnect");
    auto* reply = static_cast<redisReply*>(
        redisCommand(context_, feast ? "HKEYS %b" : "HGET gnomon:online:bench packed:stats",
                     (any_key + "bench").data(), any_key.size() + 5));
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
/// a plain value, which need not come back, several as an array.
class BarePostgres : public BareReader {
 public:
  explicit BarePostgres(bool feast)
      : connection_(PQconnectdb("options='-c search_path=bench -c "
                                "plan_cache_mode=force_generic_plan'")) {
    Require(PQstatus(connection_) == CONNECTION_OK, "PQconnectdb");
    const std::string select = feast ? "feature_name, value, event_ts, entity_key"
                                     : "schema_id, value, event_ts, entity_key";
    const std::string one = select.substr(0, select.rfind(','));
    const std::string from = feast ? " FROM bench_stats" : " FROM gnomon_1_bench_stats";
    Prepare("one", Concat("SELECT ", one, from, " WHERE entity_key = $1::bytea"));
    Prepare("many", Concat("SELECT ", select, from, " WHERE entity_key = ANY($1::bytea[])"));
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
      count += PQgetlength(result, row, 1) > 0 ? 1 : 0;
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
};

}  // namespace

void Require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "wrong answer: %s\n", what);
  std::exit(1);
}

std::unique_ptr<BareReader> OpenBareReader(const std::string& type, const std::string& place,
                                           bool feast, const std::string& any_key) {
  if (type == "sqlite") return std::make_unique<BareSqlite>(place, feast);
  if (type == "redis") return std::make_unique<BareRedis>(place, feast, any_key);
  return std::make_unique<BarePostgres>(feast);
}
