#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/context.h"
#include "base/error.h"
#include "feature/definition/definition.h"
#include "feature/engine/shared_sources.h"
#include "feature/offline/offline_store.h"
#include "feature/online/online_store.h"
#include "feature/online/window_folding.h"

namespace gnomon::feature {

class ViewBlocks;

/// What is known of a materialization that has failed.
struct MaterializationFailure {
  int64_t failed_rows = 0;      ///< entity rows that cannot be written
  bool began_to_write = false;  ///< the online store was there, for a while
};

struct MaterializationOptions {
  /// For the counted values of lifetime windows.
  int64_t value_count_bytes = kValueCountBytes;
  /// After so many rows (whole batches) what is written is committed: bounds the transaction and
  /// what a stopped run has to write again.
  int64_t rows_per_commit = 1'000'000;
  /// Rows at the beginning that an earlier run has committed. They come in an order that depends on
  /// view, interval and source alone, so they are the same when the source is.
  int64_t committed_rows = 0;
  /// Called after every commit but the last, with the number of all rows that are committed.
  std::function<Status(int64_t rows)> after_commit = {};
  /// Filled in when the run fails; may be null.
  MaterializationFailure* failure = nullptr;
};

struct MaterializationResult {
  int64_t rows = 0;          ///< entity rows, with those that were committed before
  int64_t source_rows = 0;   ///< source rows in the interval
  int64_t skipped_rows = 0;  ///< source rows with a null join key or event timestamp
  int64_t spilled_bytes = 0;
  int64_t scans =
      0;  ///< of its source for this view, but for the rows' features; 0: with another's
};

/// Writes the newest row per key with start <= event time <= end (microseconds) of a plain view,
/// regardless of its TTL, or the raw rows of (end - longest window, end] per key of a window view,
/// whatever start is; of lifetime windows what WindowFolding makes of all rows until end. Rows
/// become visible in commits of `rows_per_commit`, whole entities each. A failure leaves the store
/// as it was at the last commit, and a repeated run gives the same rows. After a row that cannot be
/// written nothing more is; the others are still looked at, and the error counts such rows. The
/// rows of [start, end] are kept in the view's sink first, when it has one.
Result<MaterializationResult> MaterializeView(const Context& context,
                                              const Definitions& definitions,
                                              const std::string& project, const FeatureView& view,
                                              const OfflineStore& offline, OnlineStore& online,
                                              int64_t start, int64_t end,
                                              const MaterializationOptions& options = {});

/// Keeps the rows of the interval in the view's sink, as one part that a repeated run replaces. The
/// rows of a window view are its aggregates at the times of its events. REQUIRES: it has a sink.
Status WriteSink(const Context& context, const Definitions& definitions, const FeatureView& view,
                 const OfflineStore& offline, int64_t start, int64_t end);

/// A view and the interval, as above.
struct ViewInterval {
  const FeatureView* view = nullptr;
  int64_t start = 0;
  int64_t end = 0;
};

/// Several views of one source, which is read once for all of them: when the first of them is
/// written. Where that fails, for want of memory or whatever is wrong with one of them, each is
/// read alone when it is its turn; so are those that are left when there is not the memory to write
/// one while they are kept. What is written of a view is the same either way.
class SharedMaterialization {
 public:
  /// Everything given outlives this.
  SharedMaterialization(const Context& context, const Definitions& definitions,
                        const std::string& project, std::vector<ViewInterval> views,
                        const OfflineStore& offline, int64_t value_count_bytes);
  ~SharedMaterialization();
  SharedMaterialization(const SharedMaterialization&) = delete;
  SharedMaterialization& operator=(const SharedMaterialization&) = delete;

  /// MaterializeView for views[place]; after a failure once more, but for the sink that has its
  /// rows.
  Result<MaterializationResult> Write(size_t place, OnlineStore& online,
                                      const MaterializationOptions& options);

 private:
  Status ReadTogether();
  Status TryReadTogether();
  void LeaveHalf();
  bool LeaveAll();
  Result<MaterializationResult> WriteOne(size_t place, OnlineStore& online,
                                         const MaterializationOptions& options);
  Result<std::unique_ptr<ViewBlocks>> Open(const ViewInterval& view) const;

  const Context& context_;
  const Definitions& definitions_;
  const std::string project_;
  const OfflineStore& offline_;
  const int64_t value_count_bytes_;
  std::vector<ViewInterval> views_;
  SharedSources sources_;
  std::vector<std::unique_ptr<ViewBlocks>> blocks_;  ///< by view; null: not read yet, or done
  std::vector<bool> sunk_;                           ///< by view: its sink has the rows
  bool tried_together_ = false;
  int64_t scans_ = 0;  ///< not yet counted in a result
};

}  // namespace gnomon::feature
