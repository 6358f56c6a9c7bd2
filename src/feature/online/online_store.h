#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/context.h"
#include "base/error.h"
#include "feature/definition/repository.h"

namespace gnomon::table {
class RowCodec;
}  // namespace gnomon::table

/// Where the newest row of every entity lies. A store keeps one row per (entity key, view): its
/// event time, created time and values. The values of a window view are the events of its longest
/// window as list columns, of lifetime windows the newest events and what stands for the folded
/// older ones (window_folding.h), so that a read at any later time can be exact. Stores know
/// nothing of windows, TTL or expressions: the reader above them does.
namespace gnomon::feature {

/// What a window view's stored rows are worth as features: Feast's layout keeps them beside the
/// rows, for readers that know nothing of windows. Immutable, thread-safe.
class OnlineFeatures {
 public:
  virtual ~OnlineFeatures() = default;
  virtual const std::shared_ptr<arrow::Schema>& schema() const = 0;
  /// The features of each row (of OnlineTable::schema) at `as_of`, with schema().
  virtual Result<std::shared_ptr<arrow::RecordBatch>> Evaluate(const Context& context,
                                                               const arrow::RecordBatch& rows,
                                                               int64_t as_of) const = 0;
};

/// A view's table. `schema` has the value columns: features of a plain view, lists for a window
/// view.
struct OnlineTable {
  std::string project;
  std::string view;
  std::shared_ptr<arrow::Schema> schema;
  std::shared_ptr<const OnlineFeatures> features = nullptr;  ///< of a window view, else null
};

/// OnlineRows::as_of: the newest event time of the rows.
inline constexpr int64_t kNewestEvent = INT64_MIN;

/// Rows to write: keys[i] is a serialized entity key (EntityKeyEncoder's version 3; a store writes
/// it as its layout wants it); times are microseconds; created INT64_MIN where there is none.
struct OnlineRows {
  std::vector<std::string_view> keys;
  std::span<const int64_t> event_times;
  std::span<const int64_t> created_times;
  std::shared_ptr<arrow::RecordBatch> values;  ///< OnlineTable's schema
  /// When a window view's features are computed that Feast's layout keeps: the materialization's
  /// end.
  int64_t as_of = kNewestEvent;
};

/// What was read, one row per asked key, in the order of the keys.
struct OnlineValues {
  std::vector<bool> found;
  std::vector<int64_t> event_times;                    ///< 0 when not found
  std::vector<std::shared_ptr<arrow::Array>> columns;  ///< the asked fields; null when not found
};

/// Sees packed rows of a read before they are decoded, so that it can take what it needs of them in
/// place.
class PackedRowReader {
 public:
  virtual ~PackedRowReader() = default;
  /// What it looks at: indices into the table's schema.
  virtual const std::vector<int>& fields() const = 0;
  /// A row that was found; rows come in the order of the read's keys, and again from the first one
  /// when a store has to read again. `places`: of fields() in the codec's schema, -1 where that has
  /// none. True: the row need not be decoded, its columns become null.
  virtual bool Take(size_t row, const table::RowCodec& codec, std::span<const int> places,
                    std::string_view bytes) = 0;
};

struct OnlineRead {
  const OnlineTable* table = nullptr;
  std::vector<std::string_view> keys;
  std::vector<int> fields;            ///< indices into the table's schema
  PackedRowReader* packed = nullptr;  ///< a layout other than packed does not ask it
};

/// One open write: rows become visible together at Commit; without it they never do. (Redis has no
/// such transactions: docs/formats/online_packed.md says what holds there.) An error of Write or
/// Commit ends the write. Not thread-safe.
class OnlineWriter {
 public:
  virtual ~OnlineWriter() = default;
  /// Upserts. A row replaces a stored one only when its (event time, created time) is not older;
  /// within one call later rows of the same key and times win. An error of one row that this layout
  /// cannot hold has the row's place in `rows` as its location.
  virtual Status Write(const Context& context, const OnlineRows& rows) = 0;
  virtual Status Commit(const Context& context) = 0;
};

/// Thread-safe.
class OnlineStore {
 public:
  virtual ~OnlineStore() = default;

  /// Creates what is missing for these tables. A table whose schema changed keeps its rows: fields
  /// are matched by name and type on reading, others are null. kConflict when the configured layout
  /// is not the one that a table has, kUnsupported when the layout cannot hold a feature's type.
  virtual Status Prepare(const Context& context, std::span<const OnlineTable> tables) = 0;
  /// Drops tables of views of the project that are not in `keep`.
  virtual Status DropExcept(const Context& context, const std::string& project,
                            std::span<const std::string> keep) = 0;
  /// Removes everything of the project that was prepared; for SQLite the file too when nothing else
  /// is in it.
  virtual Status Teardown(const Context& context, const std::string& project) = 0;

  /// Writes of SQLite take turns: waits for other threads as long as the context allows, for other
  /// processes at most a minute. A thread that has a write open gets kInternal instead of waiting
  /// for itself.
  virtual Result<std::unique_ptr<OnlineWriter>> BeginWrite(const Context& context,
                                                           const OnlineTable& table) = 0;

  /// Reads several tables in one consistent snapshot. A table that was never prepared is kNotFound
  /// ("run gnomon apply"). Duplicate keys are fine; an empty key is never found.
  virtual Result<std::vector<OnlineValues>> Read(const Context& context,
                                                 std::span<const OnlineRead> reads) = 0;

  /// Reads rows, changes them and writes them back in one transaction: for pushes into window
  /// views. `change` gets the stored values and returns the rows to write (may be none); what they
  /// borrow must live until Update returns.
  virtual Status Update(const Context& context, const OnlineRead& read,
                        const std::function<Result<OnlineRows>(const OnlineValues&)>& change) = 0;

  /// Rows of a table, for `status`.
  virtual Result<int64_t> CountRows(const Context& context, const OnlineTable& table) = 0;

  /// Tries to connect and to write, for `gnomon doctor`. Changes nothing that users see.
  virtual Status Check(const Context& context) { return Prepare(context, {}); }
};

/// Opens the store that the configuration names (sqlite, redis, postgres). Nothing is connected
/// before the first call.
Result<std::unique_ptr<OnlineStore>> OpenOnlineStore(const RepositoryConfig::OnlineStore& config);

}  // namespace gnomon::feature
