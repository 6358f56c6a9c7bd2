#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/context.h"
#include "base/error.h"
#include "feature/online/online_store.h"
#include "feature/plan/feature_plan.h"

namespace gnomon::feature {

/// Feast's FieldStatus.
enum class FieldStatus : uint8_t {
  kInvalid = 0,
  kPresent = 1,
  kNullValue = 2,
  kNotFound = 3,
  kOutsideMaxAge = 4
};
const char* NameOf(
    FieldStatus status);  ///< INVALID, PRESENT, NULL_VALUE, NOT_FOUND, OUTSIDE_MAX_AGE

/// Columns by output, each with one value, status and event time per entity row.
struct OnlineColumn {
  std::string name;
  std::shared_ptr<arrow::Array> values;
  std::vector<FieldStatus> statuses;
  std::vector<int64_t> event_times;  ///< microseconds; 0 where there is none
};

struct OnlineResponse {
  std::vector<OnlineColumn> features;  ///< in request order
  int64_t num_rows = 0;
  int64_t null_keys = 0;  ///< entity rows with a null key
};

/// The schema under which a view is stored online: features of a plain view; for a window view the
/// event times
/// (`__event_timestamps`, list<int64> microseconds), created times (`__created_timestamps`, null
/// lists when the source has none) and one list per aggregated column (named as the column, of
/// Aggregation::column_type), rows in ascending (time, created, input) order; with lifetime windows
/// what stands for the events that are not kept (window_folding.h).
Result<OnlineTable> OnlineTableOf(const std::string& project, const FeatureView& view);

struct OnlineReaderOptions {
  /// Values older than their view's TTL are given with PRESENT, as Feast does; else they are null
  /// with OUTSIDE_MAX_AGE.
  bool serve_expired = false;
};

/// A plan that is ready to run against a store: keys encoders, table schemas and fields are
/// resolved once per feature list or service, then every read is one round trip. Immutable,
/// thread-safe.
class OnlineReader {
 public:
  static Result<std::shared_ptr<const OnlineReader>> Make(const std::string& project,
                                                          FeaturePlan plan,
                                                          const OnlineReaderOptions& options = {});

  const FeaturePlan& plan() const { return plan_; }

  /// `entities` holds the plan's entity fields and request fields (found by name; more columns are
  /// fine; a missing one is kUser and named). Values are as of `as_of` (microseconds): an expired
  /// value is null with OUTSIDE_MAX_AGE, a row newer than `as_of` does not exist, windows are
  /// evaluated at `as_of`, bit for bit as offline. An entity that the store does not have gives
  /// nulls with NOT_FOUND (counts of a window view are 0, as offline). A stored null is PRESENT, as
  /// in Feast. kUser when an `as_of` lies so far back that folded events of a lifetime window would
  /// have to be told apart; kConflict when a lifetime aggregate is newer than what is stored.
  /// On-demand features are PRESENT with the newest time of their inputs.
  Result<OnlineResponse> Read(const Context& context, OnlineStore& store,
                              const arrow::RecordBatch& entities, int64_t as_of) const;

 private:
  OnlineReader() = default;
  struct Resolved;
  FeaturePlan plan_;
  std::shared_ptr<const Resolved> resolved_;
};

}  // namespace gnomon::feature
