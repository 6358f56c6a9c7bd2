#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/context.h"
#include "base/error.h"
#include "dataset/asof/companion_scan.h"
#include "expr/expression.h"
#include "feature/definition/definition.h"
#include "feature/engine/source_rows.h"
#include "feature/offline/offline_store.h"
#include "pit/time_unit.h"
#include "table/partitioned_table.h"

namespace gnomon::feature {

/// Columns of the source (after field mapping) that the view needs to produce `columns`: its keys
/// and times first.
Result<std::vector<std::string>> SourceColumns(const Definitions& definitions,
                                               const FeatureView& view, const DataSource& source,
                                               const std::vector<std::string>& columns);

/// Names of the transformations that `columns` and the filter reach.
Result<std::set<std::string>> NeededTransformations(const FeatureView& view,
                                                    const std::vector<std::string>& columns);

/// What a view reads of its source, where that is no view.
Result<ScanOptions> ReadOf(const Definitions& definitions, const FeatureView& view,
                           const DataSource& source, const std::vector<std::string>& columns,
                           const SourceRange& range);

/// kNotFound: the view's source has no such column, with the nearest of `schema`.
Status NoSourceColumn(const FeatureView& view, const DataSource& source, const std::string& column,
                      const arrow::Schema& schema);

/// A view's rows before one of them is read: its source opened, transformations as columns of it,
/// the filter bound. Immutable, thread-safe.
class ViewSource {
 public:
  /// `columns`: source columns or transformed ones that will be asked for. Of a view over views the
  /// rows of its source views are read here, of `range` (more may come), counted in `reads`, and
  /// their memory is reserved as long as this lives. kNotFound for a missing column, kUser for
  /// times that are none. `opened`: the source, where it is open already.
  static Result<ViewSource> Open(const Context& context, const Definitions& definitions,
                                 const FeatureView& view, const OfflineStore& store,
                                 const std::vector<std::string>& columns, const SourceRange& range,
                                 SourceReads* reads,
                                 std::shared_ptr<const table::PartitionedTable> opened = nullptr);

  const FeatureView& view() const { return *view_; }
  const DataSource& source() const { return source_; }
  const std::shared_ptr<const table::PartitionedTable>& table() const { return table_; }
  const std::vector<std::string>& join_keys() const { return join_keys_; }
  /// Places in the table's schema.
  const std::vector<int>& keys() const { return keys_; }
  int time() const { return time_; }
  int created() const { return created_; }  ///< -1: none
  /// kNotFound, with the nearest name.
  Result<std::vector<int>> Columns(const std::vector<std::string>& names) const;

  int64_t time_unit() const;     ///< in nanoseconds
  int64_t created_unit() const;  ///< REQUIRES: created() >= 0

  /// Null without a filter.
  const expr::BoundExpression* filter() const { return filter_ ? &*filter_ : nullptr; }
  const std::vector<int>& filter_columns() const { return filter_columns_; }

  /// The schema of ViewBatch::EventColumns when these values are read.
  std::shared_ptr<arrow::Schema> EventSchema(const std::vector<int>& values) const;
  /// An error of memory that was refused with the source's name and what to do; others as they are.
  Status WithoutMemory(const Status& status) const;

 private:
  ViewSource() = default;
  Status Bind(const Definitions& definitions);
  Result<int> Column(const std::string& name) const;
  Result<int> TimeColumn(const std::string& what, const std::string& name) const;

  const FeatureView* view_ = nullptr;
  DataSource source_;
  std::shared_ptr<MemoryReservation> memory_;  ///< of the rows of a view over views
  std::shared_ptr<const table::PartitionedTable> table_;
  std::vector<std::string> join_keys_;
  std::vector<int> keys_;
  int time_ = -1;
  int created_ = -1;
  std::optional<expr::BoundExpression> filter_;
  std::vector<int> filter_columns_;
};

/// Rows of one partition, those that count, in input order.
struct ViewBatch {
  int64_t partition = 0;
  int64_t first_row = 0;      ///< of the partition; of the batch
  std::vector<int64_t> rows;  ///< in the batch as it was read; empty: all
  int64_t num_rows = 0;
  arrow::ArrayVector keys;
  std::shared_ptr<arrow::Array> times;    ///< no nulls
  std::shared_ptr<arrow::Array> created;  ///< null: the source has none
  arrow::ArrayVector values;

  /// The place of row i in its partition.
  int64_t RowOf(int64_t i) const {
    return first_row + (rows.empty() ? i : rows[static_cast<size_t>(i)]);
  }
  /// Keys, event times, created times where there are some, values.
  arrow::ArrayVector EventColumns() const;
  /// Only the rows `kept` of these.
  Status Keep(const std::vector<int64_t>& kept);
};

/// Which rows of a view count.
struct ViewScan {
  std::vector<int> values;  ///< places in the table: columns to read beside keys and times
  std::optional<pit::Nanos> first = {};     ///< event time, inclusive; absent: unbounded
  std::optional<pit::Nanos> last = {};      ///< likewise
  std::optional<int64_t> created_before{};  ///< microseconds; rows created after it do not exist
};

/// The rows of the range, no values.
ViewScan ScanOf(const SourceRange& range);

struct ViewScanStats {
  int64_t rows_read = 0;   ///< in the row groups that may hold a row that counts
  int64_t rows = 0;        ///< that count
  int64_t null_times = 0;  ///< rows read that have no event timestamp: left out
};

/// A view's part in a pass over its source. What the filter refuses, rows without a time and rows
/// outside the scan's bounds are not in the batches that it takes. A point-in-time join may run it
/// beside its own reading (dataset::AsOfCompanion).
class ViewPass : public dataset::CompanionScan {
 public:
  /// `visit` gets the batches, from several threads at once and in any order; each partition's
  /// batches come in order from one thread. `begin` is called before the first one, and again when
  /// the pass has to begin anew. `context` and `source` outlive the pass.
  ViewPass(const Context& context, const ViewSource& source, ViewScan scan,
           std::function<Status(ViewBatch)> visit, std::function<Status()> begin = {});
  ~ViewPass() override;

  const std::vector<int64_t>& partitions() const override { return partitions_; }
  Status Begin() override;
  Result<std::unique_ptr<Reading>> Open(int64_t partition) override;

  const ViewSource& source() const { return source_; }
  bool has_begun() const { return has_begun_; }
  /// After the pass.
  ViewScanStats stats() const;

 private:
  class PartitionReading;
  struct Columns;
  void Prune();

  const Context& context_;
  const ViewSource& source_;
  const ViewScan scan_;
  const std::function<Status(ViewBatch)> visit_;
  const std::function<Status()> begin_;
  const std::unique_ptr<const Columns> columns_;
  std::vector<int64_t> partitions_;
  bool has_begun_ = false;
  std::atomic<int64_t> rows_read_{0};
  std::atomic<int64_t> rows_{0};
  std::atomic<int64_t> null_times_{0};
};

/// Runs passes side by side, partition by partition, in parallel. Their sources have the same
/// partitions: those of one shared table are read once. Memory for reading is reserved.
Status RunPasses(const Context& context, const std::vector<ViewPass*>& passes);

/// Values of some columns of the rows `numbers` (partition << 32 | row of the partition,
/// ascending), in that order: what holds them is read only, in parallel. No memory is reserved.
Result<arrow::ArrayVector> GatherViewRows(const Context& context, const ViewSource& source,
                                          const std::vector<int>& columns,
                                          std::span<const int64_t> numbers);

/// A column of the view's source as the type that the view declares for it. kUser, with a hint,
/// when the source has changed so that a value would be lost.
Result<std::shared_ptr<arrow::Array>> CastSourceColumn(const FeatureView& view,
                                                       const std::string& name,
                                                       const std::shared_ptr<arrow::Array>& column,
                                                       const ValueType& type);

/// Rows of every partition are numbered in input order.
inline int64_t NumberOfRow(int64_t partition, int64_t row) { return partition << 32 | row; }

}  // namespace gnomon::feature
