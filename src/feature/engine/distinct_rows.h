#pragma once

#include <cstdint>
#include <memory>

#include <arrow/type_fwd.h>

#include "base/context.h"
#include "base/error.h"
#include "base/memory_reservation.h"
#include "feature/engine/source_rows.h"
#include "feature/offline/offline_store.h"
#include "feature/plan/feature_plan.h"

namespace gnomon::feature {

/// Rows of a view as entity rows: its keys, of the entities' types under their names in the plan,
/// then event_timestamp in UTC: nanoseconds when `nanos`, else microseconds.
Result<std::shared_ptr<arrow::RecordBatch>> KeysAndTimes(const PlannedView& planned,
                                                         const SourceRows& rows, bool nanos);

/// Entity rows that are made and not given.
struct DistinctRows {
  /// Keys, then event_timestamp. What memory did not hold lies in a mapped unnamed file.
  std::shared_ptr<arrow::Table> table;
  MemoryReservation memory;  ///< of what it does hold
  SourceReads reads;
  int64_t spilled_bytes = 0;
};

/// The distinct (keys, time) of all rows of the plan's views in the range, in order of time, then
/// of first appearance: view after view, rows in input order. Rows with a null key are left out.
/// Views that share a source are read in one pass; rows, groups and the result are spilled where
/// the budget has no room. kUser when the views have different join keys.
Result<DistinctRows> DistinctEntityRows(const Context& context, const FeaturePlan& plan,
                                        const OfflineStore& store, const SourceRange& range);

}  // namespace gnomon::feature
