#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/time.h"

namespace gnomon::dataset {

/// What the settings in _mb count in, as Feast does.
inline constexpr int64_t kMegabyte = int64_t{1} << 20;

/// How a point-in-time join is cut up. No setting changes a result.
struct AsOfSettings {
  /// Threads of the matching pass; 0: all CPUs that this process may use.
  int64_t max_workers = 0;
  /// false: row groups outside the labels' time range are read too, and the join is partitioned
  /// without looking at sizes.
  bool enable_optimization = true;
  /// broadcast_join_threshold_mb, in bytes. A side of at most this size (Arrow bytes after
  /// projection and pruning) is broadcast: every worker sees all of it, and the other side is
  /// streamed past. When both are larger, both are partitioned by key.
  int64_t broadcast_join_threshold = 100 * kMegabyte;
  /// A partitioned join has at least as many partitions for each worker.
  double max_parallelism_multiplier = 2;
  /// target_partition_size_mb, in bytes: and so many that the keys and times of one are about as
  /// large.
  int64_t target_partition_size = 64 * kMegabyte;
  /// A partition that does not fit is joined in slices of time; a slice holds whole windows of this
  /// length (microseconds).
  int64_t window_size_for_joins = 3600 * kMicrosPerSecond;
  /// Where what does not fit into memory goes, in unnamed files; empty:
  /// runtime::DefaultSpillFolder().
  std::string spill_folder = {};
  /// Labels whose features are gathered together, at most; fewer when the memory budget is small.
  int64_t block_rows = 1 << 20;
  /// Rows that are decoded together in the matching pass.
  int64_t batch_rows = int64_t{64} * 1024;

  /// Sets one of the documents' settings (max_workers, enable_optimization,
  /// broadcast_join_threshold_mb, max_parallelism_multiplier, target_partition_size_mb,
  /// window_size_for_joins) from text, "1H" and "30min" for the last. kUser for a bad value,
  /// kNotFound with the nearest name for another name.
  Status Set(std::string_view name, std::string_view value);
};

/// What the choice is made from.
struct AsOfSizes {
  int64_t labels = 0;
  int64_t keys = 0;           ///< distinct, of the labels
  int64_t feature_bytes = 0;  ///< after projection and pruning; -1: unknown
  int64_t feature_rows = 0;   ///< after pruning; -1: unknown
  int64_t memory = 0;         ///< that may be reserved; INT64_MAX: no limit
  int workers = 1;
};

/// kLabelSide looks each feature row up among the labels of its key by binary search: O(features
/// log(labels per key)), no sort. kMerge takes chunks of rows, and those that come in the order of
/// time it walks together with the labels: O(features + labels) a chunk. Rows in another order
/// would have to be sorted first, which costs more than the searches at any number of labels (95
/// against 43 ns a row at a million), so they are looked up.
enum class AsOfKernel { kLabelSide, kMerge };

struct AsOfStrategy {
  bool partitioned = false;  ///< else broadcast
  AsOfKernel kernel = AsOfKernel::kLabelSide;
  int workers = 1;
  int64_t num_partitions = 1;  ///< by key; 1 when broadcast
  /// Feature rows of a slice of time at most, where a partition has more.
  int64_t slice_rows = 0;
  std::string reason;

  std::string ToString() const;
};

/// Broadcast when the smaller of both sides (the labels' keys and times; the features' projected
/// columns) is at most the threshold and the index of the labels fits the memory; else partitioned.
/// The merge kernel from kMergeLabelsPerKey labels a key on: there it takes 18 ns a row where the
/// search takes 22 (10 and 24 at a million; the other way round at 100).
inline constexpr int64_t kMergeLabelsPerKey = 512;
AsOfStrategy ChooseAsOfStrategy(const AsOfSizes& sizes, const AsOfSettings& settings);

/// Memory of the label-side index with slots for `workers`, in bytes.
int64_t LabelIndexBytes(int64_t labels, int workers);

}  // namespace gnomon::dataset
