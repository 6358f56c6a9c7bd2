#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/context.h"
#include "base/error.h"
#include "dataset/plan.h"
#include "feature/definition/definition.h"
#include "feature/engine/database_rows.h"
#include "feature/engine/retrieval.h"
#include "feature/offline/offline_store.h"
#include "feature/plan/feature_plan.h"

namespace gnomon::feature {

/// A view whose rows are asked for by time, and how its join keys are called and typed there.
struct KeyedView {
  const FeatureView* view = nullptr;
  std::vector<std::string> join_keys;  ///< in its rows
  std::vector<std::string> names;      ///< as many
  std::vector<std::shared_ptr<arrow::DataType>> types;
};

/// The rows of views as plans.
class ViewPlanner {
 public:
  /// All outlive the planner, `store` the plans.
  ViewPlanner(const Context& context, const Definitions& definitions, const OfflineStore& store,
              std::optional<int64_t> created_before, DatabaseReads* databases)
      : context_(context),
        definitions_(definitions),
        store_(store),
        created_before_(created_before),
        databases_(databases) {}

  /// The rows of a view after its transformations and its filter, in input order: its join keys,
  /// times and at least `columns`. Rows that no time between `min` and `max` (microseconds; absent:
  /// unbounded) can see may be missing. Rows that were created too late may still be there.
  Result<dataset::Plan> RowsOf(const FeatureView& view, const std::vector<std::string>& columns,
                               std::optional<int64_t> min, std::optional<int64_t> max) const;

  /// The rows of files that have no time, as `time` and nothing else; null where none can come.
  /// (What a database gives of a range has times, and so have rows of views.)
  Result<dataset::Plan> RowsWithoutTime(const FeatureView& view) const;

  /// The distinct keys and times of all rows of the views, without nulls, by time and then first
  /// appearance: columns `names` of the first view, then event_timestamp in the finest unit of the
  /// views. `min` and `max` (microseconds) are exact here.
  Result<dataset::Plan> DistinctRows(const std::vector<KeyedView>& views,
                                     std::optional<int64_t> min, std::optional<int64_t> max) const;

  /// All rows of a plain view between `min` and `max`, exactly: keys as named, event_timestamp, and
  /// the features under `feature_names`.
  Result<dataset::Plan> RowsInRange(const KeyedView& view,
                                    const std::vector<const Field*>& features,
                                    const std::vector<std::string>& feature_names, int64_t min,
                                    int64_t max) const;

 private:
  /// Bounds in microseconds, and what the times are brought to.
  struct Range {
    std::optional<int64_t> min;
    std::optional<int64_t> max;
    arrow::TimeUnit::type unit = arrow::TimeUnit::MICRO;
  };

  Result<dataset::Plan> Scan(const FeatureView& view, const DataSource& source,
                             const std::vector<std::string>& columns,
                             const std::optional<table::TimeRange>& times) const;
  Result<dataset::Plan> ScanFiles(const FeatureView& view, const DataSource& source,
                                  const ScanOptions& options) const;
  Result<dataset::Plan> KeysAndTimes(const KeyedView& view, dataset::ProjectSpec features,
                                     dataset::Plan rows, const Range& range, bool null_keys) const;
  Result<dataset::Plan> ParentRows(const FeatureView& view,
                                   const std::vector<std::string>& columns) const;
  Result<dataset::Plan> PlainParentRows(const FeatureView& parent,
                                        const std::vector<std::string>& features) const;
  Result<dataset::Plan> JoinedParentRows(const FeatureView& view,
                                         const std::vector<std::string>& columns) const;

  const Context& context_;
  const Definitions& definitions_;
  const OfflineStore& store_;
  const std::optional<int64_t> created_before_;
  DatabaseReads* const databases_;
};

/// `labels` with the planned features of each view behind their columns, named by `names`: view,
/// then feature. `time` is the labels' time column, whose values lie between `min` and `max`.
Result<dataset::Plan> AddViewColumns(const Context& context, const FeaturePlan& plan,
                                     const OfflineStore& store, dataset::Plan labels,
                                     const std::string& time, std::optional<int64_t> min,
                                     std::optional<int64_t> max,
                                     const std::vector<std::vector<std::string>>& names,
                                     const RetrievalOptions& options, DatabaseReads* databases);

}  // namespace gnomon::feature
