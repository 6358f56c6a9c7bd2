#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/error.h"
#include "feature/definition/definition.h"
#include "feature/online/online_store.h"
#include "feature/online/window_row.h"
#include "feature/online/window_tiles.h"
#include "pit/partial_state.h"

/// A lifetime window has no end, so its events cannot all be kept. The oldest events of a stored
/// row are folded: partial states and the few events that min, max, first and last need stand for
/// them. docs/formats/online_packed.md draws the row.
namespace gnomon::feature {

inline constexpr std::string_view kFolded = "__folded";
inline constexpr std::string_view kPartialNames = "__partial_names";
inline constexpr std::string_view kPartials = "__partials";

/// Is the column one of the three above, or kTiles?
bool IsDerivedColumn(std::string_view name);

/// Are old events of the view folded? Where it has lifetime aggregates, but for those of plug-ins,
/// which see every event in order.
bool FoldsEvents(const FeatureView& view);

/// Of each entity so many of the newest events are kept whatever their age, so that reads of the
/// recent past are exact too.
inline constexpr int64_t kNewestEventsKept = 64;
/// What the counted values of one aggregate of one entity may take: count_distinct, median,
/// quantile and most_frequent count every distinct value.
inline constexpr int64_t kValueCountBytes = int64_t{16} << 20;

/// What is kept of folded events for the lifetime aggregates of one kind over one column.
struct FoldedPart {
  int field = 0;  ///< the column, in the table's schema
  pit::PartialKind kind = pit::PartialKind::kNone;
  int64_t num_rows = 1;  ///< kLastRows: how many
  std::string name;      ///< as stored: "last_rows 3 double amount"
};

/// Turns rows of raw events into rows as they are stored: folded and with tiles. Immutable,
/// thread-safe.
class WindowFolding {
 public:
  /// `table` is the view's (OnlineTableOf).
  static WindowFolding Make(const OnlineTable& table, const FeatureView& view,
                            int64_t value_count_bytes = kValueCountBytes);

  const std::vector<FoldedPart>& parts() const { return parts_; }

  /// Folds the old events of rows that have everything there is (MakeWindowRows). kExhausted when
  /// the counted values of an entity take more than allowed.
  Result<std::shared_ptr<arrow::RecordBatch>> Fold(
      const std::shared_ptr<arrow::RecordBatch>& rows) const;

  /// Merges rows with new events (MakeWindowRows) into stored ones (all fields of the table were
  /// read), row by row, as MergeWindowRows does, and folds. A new event that is older than folded
  /// ones is folded too, in its place in the order. kExhausted as Fold, kDataLoss when what is
  /// stored is damaged.
  Result<std::shared_ptr<arrow::RecordBatch>> Merge(const OnlineValues& stored,
                                                    const arrow::RecordBatch& added) const;

 private:
  class Run;
  Result<std::shared_ptr<arrow::RecordBatch>> MergeFolded(const OnlineValues& stored,
                                                          const arrow::RecordBatch& added) const;

  OnlineTable table_;
  WindowReach reach_;  ///< of a view without folded events
  bool folds_ = false;
  int64_t keep_ = 0;  ///< younger events stay raw: finite windows and slide intervals reach so far
  int64_t value_count_bytes_ = 0;
  std::vector<FoldedPart> parts_;
  WindowTiling tiling_;
};

}  // namespace gnomon::feature
