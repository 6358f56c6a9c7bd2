#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/error.h"
#include "feature/online/online_store.h"

/// The stored rows of a window view: per entity the raw events of its longest window as parallel
/// lists, in ascending (time, created, input) order. An online read aggregates them as of its own
/// time with the code that offline labels use, so both give the same bits. Of lifetime windows the
/// old events are folded: window_folding.h.
namespace gnomon::feature {

inline constexpr std::string_view kEventTimes = "__event_timestamps";
inline constexpr std::string_view kCreatedTimes = "__created_timestamps";

/// The longest window looks back so far from the newest event; absent: lifetime, nothing is ever
/// dropped.
using WindowReach = std::optional<int64_t>;

/// Makes one stored row per group. `rows` has the columns of the table, each as plain values:
/// kEventTimes (int64 microseconds, no nulls), kCreatedTimes (int64 microseconds; null or INT64_MIN
/// where there is none; the column may be missing) and the value columns. Group g is the rows
/// [group_offsets[g], group_offsets[g + 1]), in any time order. Groups keep their events whatever
/// their age: the caller has selected them.
Result<std::shared_ptr<arrow::RecordBatch>> MakeWindowRows(const OnlineTable& table,
                                                           const arrow::RecordBatch& rows,
                                                           std::span<const int64_t> group_offsets);

/// Merges new rows (of MakeWindowRows) into stored ones (all fields of the table were read), row by
/// row. Equal (time, created) pairs: stored before new. Events at or before newest - reach are
/// dropped. The columns of what is folded are null: WindowFolding::Merge is for rows with any.
Result<std::shared_ptr<arrow::RecordBatch>> MergeWindowRows(const OnlineTable& table,
                                                            WindowReach reach,
                                                            const OnlineValues& stored,
                                                            const arrow::RecordBatch& added);

/// Event and created time of each row's newest event: what OnlineRows wants. An empty row has 0 and
/// INT64_MIN.
struct WindowRowTimes {
  std::vector<int64_t> event_times;
  std::vector<int64_t> created_times;
};
WindowRowTimes NewestTimes(const arrow::RecordBatch& window_rows);

}  // namespace gnomon::feature
