#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <tuple>
#include <vector>

#include "base/context.h"
#include "base/error.h"
#include "dataset/asof/asof_join.h"
#include "dataset/asof/asof_strategy.h"
#include "dataset/asof/labels_internal.h"
#include "dataset/asof/memory_internal.h"
#include "pit/asof_join.h"

/// The first pass: which row of a right table does each label get?
namespace gnomon::dataset::internal {

class KeyPartitions;

/// A right table with its columns as places in the schemas, and what is left of it after pruning.
struct BoundFeatures {
  const AsOfFeatures* request = nullptr;
  std::vector<int> left_by;
  std::vector<int> by;
  int on = -1;
  int created = -1;  ///< -1: none
  std::vector<int> features;
  std::vector<int64_t> partitions;  ///< to be read
  /// The labels' times: pages outside are not read. Absent: all are.
  std::optional<table::TimeRange> times = {};

  const table::PartitionedTable& table() const { return *request->table; }
};

/// A row of a right table: its partition and its row there. Numbers ascend in input order.
inline int64_t NumberOf(int64_t partition, int64_t row) { return partition << 32 | row; }
inline int64_t PartitionOf(int64_t number) { return number >> 32; }
inline int64_t RowOf(int64_t number) { return number & 0xffff'ffff; }

/// Rows on their way into a kernel, in the unit of the matching.
struct MatchRows {
  std::vector<int32_t> ids;
  std::vector<int64_t> times;
  std::vector<int64_t> created;  ///< empty without a created column
  std::vector<int64_t> numbers;  ///< empty: consecutive from `first`
  int64_t first = 0;

  size_t size() const { return ids.size(); }
};

/// Streams keys and times of one partition. The created times share the event times' unit: the
/// finer of both columns' units; when the event times do not fit it, `refined` is false and created
/// times are rounded down.
class MatchStream {
 public:
  static Result<MatchStream> Open(const Context& context, const BoundFeatures& features,
                                  const table::KeyIndex* index, int64_t partition, bool refined,
                                  int64_t batch_rows);
  /// False at the end. `rows->first` numbers them.
  Result<bool> Next(MatchRows* rows);
  int64_t null_times() const { return null_times_; }
  table::PageCounts pages() const { return stream_->pages(); }

 private:
  Status ReadCreated(const arrow::Array& column, MatchRows* rows) const;

  const BoundFeatures* features_ = nullptr;
  const table::KeyIndex* index_ = nullptr;
  bool refined_ = true;
  int64_t partition_ = 0;
  int64_t row_ = 0;
  int64_t null_times_ = 0;
  std::unique_ptr<table::PartitionStream> stream_;
};

/// The unit of a matching, in nanoseconds.
int64_t MatchUnit(const BoundFeatures& features, bool refined);

/// A status that asks for the matching to be done again with refined = false.
bool IsUnitOverflow(const Status& status);

/// Labels as a kernel takes them.
struct LabelBounds {
  std::vector<int64_t> times;
  std::vector<int64_t> oldest;  ///< empty: no tolerance
};
LabelBounds BoundsOf(std::span<const int64_t> times, int64_t label_unit, int64_t tolerance,
                     int64_t unit);

/// A right table that is to be matched.
struct MatchSide {
  const BoundFeatures* features;
  const AsOfStrategy* strategy;
  AsOfStats::Side* stats;
};

/// Takes the rows of one right table and finds each label's. Workers, numbered from 0, each hand
/// over the rows of the next partition that nobody has taken, at the same time.
class RowSink {
 public:
  virtual ~RowSink() = default;
  virtual Status Add(size_t worker, const MatchRows& rows) = 0;
  virtual Status EndPartition(size_t worker) = 0;
  /// After all rows: the number of the winning row for each label, or pit::kNoRow.
  virtual Result<SpillableArray<int64_t>> Finish() = 0;
};

/// Matches right tables against one left table.
class Matcher {
 public:
  Matcher(const Context& context, const Labels& labels, const AsOfSettings& settings)
      : context_(context), labels_(labels), settings_(settings) {}

  /// The winning row for each label, of each side. Several sides, and companions, are read side by
  /// side, in one pass over the partitions that they share.
  Result<std::vector<SpillableArray<int64_t>>> Match(
      const std::vector<MatchSide>& sides, const std::vector<CompanionScan*>& companions = {});
  /// Builds what broadcast joins over the same labels share. Call before Match of several tables in
  /// parallel.
  Status Prepare(const BoundFeatures& features, const AsOfStrategy& strategy);

  int64_t spilled_bytes() const { return spilled_bytes_; }

 private:
  using BaseKey = std::tuple<std::vector<int>, int64_t, int64_t, bool>;
  BaseKey KeyOf(const BoundFeatures& features, bool refined) const;
  Result<const pit::AsOfJoin*> Base(const BoundFeatures& features, bool refined);

  Result<std::vector<SpillableArray<int64_t>>> TryMatch(
      const std::vector<MatchSide>& sides, const std::vector<CompanionScan*>& companions,
      bool refined);
  Result<std::unique_ptr<RowSink>> MakeSink(const MatchSide& side, bool refined, size_t workers);
  Result<std::unique_ptr<RowSink>> MakePartitionedSink(const MatchSide& side, bool refined,
                                                       size_t workers);

  Context context_;
  const Labels& labels_;
  const AsOfSettings& settings_;
  std::map<BaseKey, pit::AsOfJoin> bases_;
  std::atomic<int64_t> spilled_bytes_{0};
};

/// Feeds rows to one AsOfJoin by the strategy's kernel; the merge kernel collects chunks first and
/// merges those that are in the order of time.
class KernelFeed {
 public:
  KernelFeed(const Context& context, AsOfKernel kernel, int64_t chunk_rows, pit::AsOfJoin* join)
      : context_(context), kernel_(kernel), chunk_rows_(chunk_rows), join_(join) {}
  Status Add(const MatchRows& rows);
  Status Flush();
  int64_t merged_rows() const { return merged_rows_; }

 private:
  const Context& context_;
  AsOfKernel kernel_;
  int64_t chunk_rows_;
  pit::AsOfJoin* join_;
  MatchRows pending_;
  int64_t merged_rows_ = 0;
};

}  // namespace gnomon::dataset::internal
