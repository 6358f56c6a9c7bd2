#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/context.h"
#include "base/error.h"
#include "feature/definition/definition.h"
#include "feature/offline/offline_store.h"
#include "feature/online/online_store.h"
#include "feature/online/window_folding.h"

namespace gnomon::feature {

struct MaterializationOptions {
  /// For the counted values of lifetime windows.
  int64_t value_count_bytes = kValueCountBytes;
  /// After so many rows (whole batches) what is written is committed: bounds the transaction and
  /// what a stopped run has to write again.
  int64_t rows_per_commit = 250'000;
  /// Rows at the beginning that an earlier run has committed. They come in an order that depends on
  /// view, interval and source alone, so they are the same when the source is.
  int64_t committed_rows = 0;
  /// Called after every commit but the last, with the number of all rows that are committed.
  std::function<Status(int64_t rows)> after_commit = {};
};

struct MaterializationResult {
  int64_t rows = 0;          ///< entity rows, with those that were committed before
  int64_t source_rows = 0;   ///< source rows in the interval
  int64_t skipped_rows = 0;  ///< source rows with a null join key or event timestamp
  int64_t spilled_bytes = 0;
};

/// Writes the newest row per key with start <= event time <= end (microseconds) of a plain view,
/// regardless of its TTL, or the raw rows of (end - longest window, end] per key of a window view,
/// whatever start is; of lifetime windows what WindowFolding makes of all rows until end. Rows
/// become visible in commits of `rows_per_commit`, whole entities each. A failure leaves the store
/// as it was at the last commit, and a repeated run gives the same rows. The rows of [start, end]
/// are kept in the view's sink first, when it has one.
Result<MaterializationResult> MaterializeView(const Context& context,
                                              const Definitions& definitions,
                                              const std::string& project, const FeatureView& view,
                                              const OfflineStore& offline, OnlineStore& online,
                                              int64_t start, int64_t end,
                                              const MaterializationOptions& options = {});

}  // namespace gnomon::feature
