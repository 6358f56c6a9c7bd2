#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "feature/online/redis_catalog_internal.h"

/// Rows of views in a Redis database, read and written over one connection.
namespace gnomon::feature::internal {

/// Reads rows of several tables: first all questions, then all answers, so that they are one round
/// trip. Not thread-safe.
class RedisRowReader {
 public:
  RedisRowReader(const LayoutOptions& options, std::span<const OnlineRead> reads)
      : options_(options), reads_(reads) {}

  /// `tables`: as TableOf says, one for each read.
  void Ask(std::span<const RedisTable> tables, RedisCommands* connection) const;
  /// Takes the answers of Ask without looking at them.
  Status Skip(const Context& context, std::span<const RedisTable> tables,
              RedisCommands* connection) const;
  Result<std::vector<OnlineValues>> Take(const Context& context, std::span<const RedisTable> tables,
                                         RedisClient* client) const;

 private:
  /// The packed rows of all reads in their order: one answer to one MGET, or where keys are kept
  /// apart an answer for each.
  struct PackedAnswers {
    RedisReply all = {};
    std::vector<RedisReply> each = {};
    std::optional<std::string_view> TextAt(size_t index) const {
      return each.empty() ? all.TextAt(index) : each[index].OptionalText();
    }
  };
  void AskPacked(std::span<const RedisTable> tables, RedisCommands* connection) const;
  size_t NumPacked(std::span<const RedisTable> tables) const;
  Result<PackedAnswers> NextPacked(const Context& context, std::span<const RedisTable> tables,
                                   RedisCommands* connection) const;
  Result<OnlineValues> TakePacked(const Context& context, const OnlineRead& read, int64_t id,
                                  const PackedAnswers& rows, size_t first,
                                  RedisClient* client) const;
  Result<OnlineValues> TakeFeast(const Context& context, const OnlineRead& read,
                                 RedisCommands* connection) const;

  const LayoutOptions options_;
  const std::span<const OnlineRead> reads_;
};

/// Encodes rows of one table and sends them as guarded upserts. Not thread-safe.
class RedisRowWriter {
 public:
  static Result<RedisRowWriter> Make(const OnlineTable& table, const RedisTable& place,
                                     const LayoutOptions& options, int64_t key_ttl_seconds);

  /// Keeps the rows until Send.
  Status Add(const Context& context, const OnlineRows& rows);
  size_t num_bytes() const { return bytes_.size() + rows_.size() * sizeof(Row); }
  bool empty() const { return rows_.empty(); }

  /// Notes the schema; do this before Append, once for each connection or catalogue.
  Status Begin(const Context& context, RedisClient* client);
  /// Appends the commands for rows [begin, end of a piece) and returns how many; a piece is what
  /// becomes visible at once: one row where keys are kept apart.
  size_t Append(size_t begin, RedisCommands* connection) const;
  /// How many answers Append causes for one piece.
  size_t num_answers_of_piece() const { return (packed_ ? 1U : 0U) + (feast_ ? 1U : 0U); }
  /// Appends the command for what of a row KeyOf names, which is to be written only while
  /// RedisScripts::digest of it is `digest`: the answer is nil otherwise.
  void AppendUnlessChanged(size_t row, std::string_view digest, RedisCommands* connection) const;
  /// Whether a row has a second key, of Feast's values, and the command for it.
  bool has_second_key() const { return packed_ && feast_; }
  void AppendSecondKey(size_t row, RedisCommands* connection) const;
  size_t num_rows() const { return rows_.size(); }
  /// The key in Redis of a row: of its packed row where it has one.
  std::string KeyOf(size_t row) const;
  /// Sends everything and takes the answers. Safe to repeat.
  Status Send(const Context& context, RedisClient* client);
  void Clear();

 private:
  struct Row {
    size_t key = 0;     ///< place of the key in bytes_
    size_t packed = 0;  ///< of the packed value; the key ends here
    size_t feast = 0;   ///< of Feast's values, each with its length before it; the packed one ends
    int64_t event_time = 0;
  };
  RedisRowWriter() = default;
  std::string PackedKey(const Row& row) const;
  std::string FeastHash(const Row& row) const;
  void AppendPacked(std::span<const Row> rows, std::optional<std::string_view> digest,
                    RedisCommands* connection) const;
  void AppendFeast(std::span<const Row> rows, std::optional<std::string_view> digest,
                   RedisCommands* connection) const;

  OnlineTable table_;
  RedisTable place_;
  int key_version_ = 3;
  std::string ttl_;
  bool packed_ = false;
  bool feast_ = false;
  std::optional<table::RowCodec> codec_;
  std::optional<FeastEncoder> encoder_;
  std::vector<std::string> field_names_;
  int64_t schema_id_ = 0;
  std::string bytes_;
  std::vector<Row> rows_;
};

}  // namespace gnomon::feature::internal
