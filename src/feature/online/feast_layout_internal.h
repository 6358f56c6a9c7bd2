#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/context.h"
#include "base/error.h"
#include "feature/online/feast_value.h"
#include "feature/online/online_store.h"
#include "table/row_columns.h"

/// What the stores share of Feast's layout: docs/formats/online_feast.md draws it.
namespace gnomon::feature::internal {

enum class OnlineLayout : uint8_t { kPacked, kFeast };
const char* NameOf(OnlineLayout layout);

/// What feature_store.yaml says about layouts.
struct LayoutOptions {
  std::optional<OnlineLayout> asked;  ///< absent: what is there decides, packed for new tables
  int key_version = 3;                ///< of Feast's keys
};
Result<LayoutOptions> LayoutOptionsOf(const RepositoryConfig::OnlineStore& config);

/// Which tables of a view a store has. A window view in Feast's layout has both: its raw rows are
/// packed, its features are Feast's.
struct FoundTables {
  bool packed = false;
  bool feast = false;
};
/// The layout in which a view is read and written; absent: it was not prepared. kConflict when it
/// has another one than was asked for.
Result<std::optional<OnlineLayout>> LayoutToUse(const LayoutOptions& options,
                                                const OnlineTable& table, FoundTables found);
/// The layout in which a view's tables are to be made. kConflict as above.
Result<OnlineLayout> LayoutToPrepare(const LayoutOptions& options, const OnlineTable& table,
                                     FoundTables found);

/// `{project}_{view}`: Feast's table of a view.
std::string FeastTableName(const OnlineTable& table);

/// The schema of the values in Feast's layout: features, of a window view too.
const std::shared_ptr<arrow::Schema>& FeastSchema(const OnlineTable& table);

/// kUnsupported, naming the feature, when Feast's values cannot hold one of the table's.
Status CheckFeastSchema(const OnlineTable& table);

/// A key of version 3 (EntityKeyEncoder's) in the bytes of `version`. An empty key stays empty.
std::string FeastKey(std::string_view key, int version);

/// Microseconds as whole seconds, rounded down: the guard and the TTL then never see a row as newer
/// than it is.
int64_t FloorSeconds(int64_t micros);

/// google.protobuf.Timestamp's bytes, and back; absent for bytes that are none.
std::string TimestampBytes(int64_t micros);
std::optional<int64_t> ParseTimestampBytes(std::string_view bytes);

/// MurmurHash3, x86, 32 bits, seed 0.
uint32_t Murmur3(std::string_view bytes);
/// Rows of a batch, each key's newest alone (of equal times the last), in key order.
std::vector<size_t> NewestByKey(const OnlineRows& rows);

/// The field of a feature in Feast's Redis hashes: the hash of "view:feature", little-endian.
std::string FeastFieldName(std::string_view view, std::string_view feature);

/// What of Feast's layout is written of a batch: its own columns, or for a window view its
/// features as of `rows.as_of`.
Result<std::shared_ptr<arrow::RecordBatch>> FeastBatch(const Context& context,
                                                       const OnlineTable& table,
                                                       const OnlineRows& rows);

/// Encodes rows of one table's features. Immutable, thread-safe.
class FeastEncoder {
 public:
  static Result<FeastEncoder> Make(const OnlineTable& table);

  const std::vector<std::string>& names() const { return names_; }
  size_t size() const { return names_.size(); }

  /// The Value of a feature in a row of FeastBatch's.
  Status Append(const arrow::RecordBatch& batch, size_t feature, int64_t row,
                std::string* out) const;
  /// Its `value_text`; false when it has none.
  bool AppendText(const arrow::RecordBatch& batch, size_t feature, int64_t row,
                  std::string* out) const;
  /// Its `value_num`, a column that Feast's tables can have.
  std::optional<double> Number(const arrow::RecordBatch& batch, size_t feature, int64_t row) const;

 private:
  std::string view_;
  std::vector<std::string> names_;
  std::vector<ValueType> types_;
};

/// Collects what was read: rows in order, each row's values by field in any order. Not thread-safe.
class FeastColumns {
 public:
  static Result<FeastColumns> Make(const OnlineTable& table, std::span<const int> fields);

  const std::vector<std::string>& names() const { return names_; }

  /// Before the first row: how many will be ended.
  Status Reserve(int64_t num_rows) { return columns_->Start(num_rows); }
  /// The place of a feature among the fields; -1: it was not asked for. Fast when features come in
  /// the same order for every row.
  int PlaceOf(std::string_view feature);
  /// Sets a field of the present row, once. kDataLoss names view and feature.
  Status Set(size_t place, std::string_view value);
  /// Ends the row: fields that were not set are null.
  Status EndRow();
  Result<std::vector<std::shared_ptr<arrow::Array>>> Finish();

 private:
  std::string view_;
  std::vector<std::string> names_;
  std::vector<ValueType> types_;
  std::optional<table::RowColumns> columns_;
  std::vector<bool> set_;
  std::vector<bool> warned_;  ///< of values of another type
  size_t next_ = 0;
};

}  // namespace gnomon::feature::internal
