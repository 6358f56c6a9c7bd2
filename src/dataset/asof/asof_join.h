#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/context.h"
#include "base/error.h"
#include "dataset/asof/asof_labels.h"
#include "dataset/asof/asof_strategy.h"
#include "dataset/asof/companion_scan.h"
#include "table/partitioned_table.h"

/// The point-in-time join of tables in files: each row of the left table (a label) gets the newest
/// row of each right table (features) at or before its time.
///
/// Two passes over the right tables. The first decodes keys and times only, of the row groups and
/// pages that may hold a wanted time, and finds the winning row of every label; the second gathers
/// the features late: block by block of labels it reads only the pages that hold a winner, columns
/// in parallel. Where memory allows small blocks only, it goes through the labels in the order of
/// their winners, so that each page is read about once, and keeps the features in an unnamed file.
/// A left table of more than 64 MiB is read twice, too. Memory: O(labels) in the first pass (or
/// spilled, see asof_strategy.h), a block of labels in the second.
namespace gnomon::dataset {

/// One right table. Columns are named as in its schema.
struct AsOfFeatures {
  std::shared_ptr<const table::PartitionedTable> table;
  std::vector<std::string> left_by;  ///< key columns of the left table
  std::vector<std::string> by;       ///< the same keys here, in the same order; may be empty
  std::string on;                    ///< the time column
  std::string created = {};          ///< decides between rows of one time; empty: none
  /// Microseconds; 0: rows of any age count.
  int64_t tolerance = 0;
  /// Rows created after the label's time do not exist for it.
  bool filter_by_created = false;
  /// Rows created after this instant (microseconds) do not exist at all.
  std::optional<int64_t> created_before = {};
  std::vector<std::string> features;
  std::vector<std::string> outputs = {};  ///< their names in the result; empty: as they are
  /// Right tables of one group, from 0, have the same partitions (PartitionedTable::Shared under
  /// what each adds to it) and are read side by side in one pass. -1: read alone.
  int scan_group = -1;
};

/// Reads what the right tables of a scan group read, in the same pass. Left out, so that it has to
/// be run alone (its Begin is then never called), when the group is not read by this join, or when
/// the memory budget has no room for the labels' slots beside what the companion keeps.
struct AsOfCompanion {
  int scan_group = -1;
  CompanionScan* scan = nullptr;  ///< outlives the join
};

struct AsOfRequest {
  std::shared_ptr<const table::PartitionedTable> left;
  std::string on;                   ///< the time column of the left table
  std::vector<AsOfFeatures> right;  ///< none: the left rows are the result
  /// Of `left` and `on`, with the key columns of all right tables; null: the join reads them. Given
  /// to one join only.
  std::shared_ptr<AsOfLabels> labels = nullptr;
  AsOfSettings settings = {};
  std::vector<AsOfCompanion> companions = {};
};

struct AsOfStats {
  int64_t labels = 0;
  int64_t null_labels = 0;  ///< with a null key or time: they get nulls
  int64_t label_keys = 0;   ///< distinct
  int64_t spilled_bytes = 0;
  struct Side {
    std::string name;
    AsOfStrategy strategy;
    int64_t partitions = 0;    ///< in the files
    int64_t pruned = 0;        ///< of them, not read
    int64_t pages = 0;         ///< of keys and times, in partitions that were read in part
    int64_t pages_pruned = 0;  ///< of them, not read
    int64_t rows = 0;          ///< whose keys and times were read
    int64_t null_times = 0;    ///< rows without a time: left out
    int64_t matches = 0;       ///< labels that found a row
    int64_t merged_rows = 0;   ///< by the merge kernel without sorting
    int64_t hash_partitions = 0;
    int64_t time_slices = 0;  ///< in all hash partitions
  };
  std::vector<Side> right;
  int64_t scans = 0;  ///< passes of the matching over right tables; a group is read in one
  int64_t gathered_blocks = 0;  ///< of labels, for each of which right tables were read
  std::vector<std::pair<std::string, double>> seconds;  ///< by step

  /// A line a fact, for people.
  std::string ToString() const;
};

/// Not thread-safe. Uses the context's memory budget, which outlives it.
class PointInTimeJoin {
 public:
  /// Checks names and types before anything runs, then reads the labels' keys and times and chooses
  /// the strategies. kNotFound (with the nearest name) for a missing column; kUser for keys or
  /// times of types that cannot be compared and for an output name that occurs twice.
  static Result<std::unique_ptr<PointInTimeJoin>> Make(const Context& context, AsOfRequest request);
  virtual ~PointInTimeJoin() = default;

  /// Finds the labels' rows, reading the right tables. Otherwise the first Next does it.
  virtual Status Match() = 0;
  /// The left columns, then the features in request order.
  virtual const std::shared_ptr<arrow::Schema>& schema() const = 0;
  /// The next rows, in the order of the left table; null at the end.
  virtual Result<std::shared_ptr<arrow::RecordBatch>> Next() = 0;
  /// The plan with the reason of each choice.
  virtual std::string Explain() const = 0;
  virtual const AsOfStats& stats() const = 0;
};

}  // namespace gnomon::dataset
