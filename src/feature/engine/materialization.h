#pragma once

#include <cstdint>
#include <string>

#include "base/context.h"
#include "base/error.h"
#include "feature/definition/definition.h"
#include "feature/offline/offline_store.h"
#include "feature/online/online_store.h"
#include "feature/online/window_folding.h"

namespace gnomon::feature {

struct MaterializationResult {
  int64_t rows = 0;          ///< entity rows written
  int64_t source_rows = 0;   ///< source rows in the interval
  int64_t skipped_rows = 0;  ///< source rows with a null join key or event timestamp
};

/// Writes the newest row per key with start <= event time <= end (microseconds) of a plain view,
/// regardless of its TTL, or the raw rows of (end - longest window, end] per key of a window view,
/// whatever start is; of lifetime windows what WindowFolding makes of all rows until end, with
/// `value_count_bytes` for its counted values. Everything becomes visible in one commit; a failure
/// at any point leaves the store as it was, and a repeated run gives the same rows. The rows of
/// [start, end] are kept in the view's sink first, when it has one.
Result<MaterializationResult> MaterializeView(const Context& context,
                                              const Definitions& definitions,
                                              const std::string& project, const FeatureView& view,
                                              const OfflineStore& offline, OnlineStore& online,
                                              int64_t start, int64_t end,
                                              int64_t value_count_bytes = kValueCountBytes);

}  // namespace gnomon::feature
