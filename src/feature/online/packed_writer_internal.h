#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/context.h"
#include "base/error.h"
#include "base/memory_reservation.h"
#include "feature/online/online_store.h"
#include "feature/online/sqlite_table_internal.h"
#include "sql/sqlite.h"
#include "table/row_codec.h"

namespace gnomon::feature::internal {

/// Upserts rows of one table in an open transaction. Rows are gathered (up to kBufferBytes, or what
/// the memory budget of the calls' context grants) and written in key order: neighbours share
/// pages, so that a page is changed, logged and copied back once per round and not once per batch.
/// Not thread-safe; dies before its connection and before that budget.
class PackedWriter : public SqliteRowWriter {
 public:
  static constexpr size_t kBufferBytes = size_t{192} << 20;

  /// `id`: of the view's packed table.
  static Result<PackedWriter> Make(const OnlineTable& table, int64_t id, sql::Sqlite* database);

  Status Write(const Context& context, const OnlineRows& rows) override;
  /// Writes what is gathered.
  Status Flush(const Context& context) override;

 private:
  struct Row {
    uint64_t rank;   ///< the first bytes after what all keys share, as a number
    uint32_t part;   ///< of parts_
    uint32_t place;  ///< of the key in the part, the value follows
    uint32_t key_bytes;
    uint32_t value_bytes;
    int64_t event_time;
    int64_t created_time;
  };

  PackedWriter(std::shared_ptr<arrow::Schema> schema, table::RowCodec codec,
               sql::SqliteStatement upsert);
  std::string_view KeyOf(const Row& row) const {
    return std::string_view(parts_[row.part]).substr(row.place, row.key_bytes);
  }
  std::string_view ValueOf(const Row& row) const {
    return std::string_view(parts_[row.part]).substr(row.place + row.key_bytes, row.value_bytes);
  }
  /// Where the next row's bytes go.
  std::string& OpenPart();
  int64_t MemoryBytes() const;
  /// Takes the memory of what is gathered from the budget; when it refuses, writes that instead.
  Status Hold(const Context& context);
  void Sort();

  std::shared_ptr<arrow::Schema> schema_;
  table::RowCodec codec_;
  sql::SqliteStatement upsert_;
  std::vector<std::string> parts_;  ///< keys and values; many, so that growing copies nothing
  size_t closed_bytes_ = 0;         ///< memory of all parts but the last
  size_t gathered_bytes_ = 0;
  std::vector<Row> rows_;
  MemoryReservation held_;
};

}  // namespace gnomon::feature::internal
