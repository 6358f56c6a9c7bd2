#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "feature/store/feature_store.h"
#include "table/partitioned_table.h"

namespace gnomon::feature {

/// Where the entity rows come from, when the job runs.
struct EntityRowsSource {
  std::function<Result<std::shared_ptr<const table::PartitionedTable>>(const Context&)> open;
  std::string file;  ///< for errors; empty for a table
};

/// A job over entity rows. `offline` must outlive it.
std::unique_ptr<RetrievalJob> MakeEntityRowsJob(FeaturePlan plan, const OfflineStore& offline,
                                                EntityRowsSource source,
                                                const RetrievalOptions& options);

/// A job without entity rows; `end` absent means the context's clock when it runs.
std::unique_ptr<RetrievalJob> MakeRangeJob(FeaturePlan plan, const OfflineStore& offline,
                                           int64_t start, std::optional<int64_t> end,
                                           const RetrievalOptions& options);

}  // namespace gnomon::feature
