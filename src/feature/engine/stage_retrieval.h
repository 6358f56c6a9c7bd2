#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include <arrow/type_fwd.h>

#include "base/context.h"
#include "base/error.h"
#include "base/memory_reservation.h"
#include "feature/engine/retrieval.h"
#include "feature/offline/offline_store.h"
#include "feature/plan/feature_plan.h"
#include "runtime/backend.h"

namespace gnomon::feature {

/// RetrieveHistorical as stages of a backend: the plan of LowerRetrieval, cut at its shuffles. The
/// table has the same bits. kUnsupported for what LowerRetrieval cannot say. The backend's workers
/// know the stages of plans and the definitions' plug-ins. Rows beyond half of the budget lie in a
/// mapped unnamed file; the others are counted in `memory`, when it is given.
Result<std::shared_ptr<arrow::Table>> RetrieveByStages(
    const Context& context, runtime::Backend& backend, const FeaturePlan& plan,
    const OfflineStore& store, const std::shared_ptr<arrow::Table>& entity_rows,
    const RetrievalOptions& options, RetrievalStats* stats, MemoryReservation* memory = nullptr);

/// RetrieveByStages in worker processes of this machine that live as long as the call
/// (options.join.max_workers of them), which load the definitions' plug-ins. kUnsupported, before
/// any process is started, for whatever LowerRetrieval refuses: RetrieveHistorical then does it, or
/// says what is wrong.
Result<std::shared_ptr<arrow::Table>> RetrieveInProcesses(
    const Context& context, const FeaturePlan& plan, const OfflineStore& store,
    const std::shared_ptr<arrow::Table>& entity_rows, const RetrievalOptions& options,
    RetrievalStats* stats, MemoryReservation* memory = nullptr);

/// The same without entity rows: the plan of LowerRange, the rows of OpenRange.
Result<std::shared_ptr<arrow::Table>> RetrieveRangeByStages(
    const Context& context, runtime::Backend& backend, const FeaturePlan& plan,
    const OfflineStore& store, int64_t start, int64_t end, const RetrievalOptions& options,
    RetrievalStats* stats, MemoryReservation* memory = nullptr);
Result<std::shared_ptr<arrow::Table>> RetrieveRangeInProcesses(
    const Context& context, const FeaturePlan& plan, const OfflineStore& store, int64_t start,
    int64_t end, const RetrievalOptions& options, RetrievalStats* stats,
    MemoryReservation* memory = nullptr);

/// The stages in words, or why there are none.
std::string ExplainStages(const Context& context, const FeaturePlan& plan,
                          const OfflineStore& store, const RetrievalOptions& options);
std::string ExplainRangeStages(const Context& context, const FeaturePlan& plan,
                               const OfflineStore& store, int64_t start, int64_t end,
                               const RetrievalOptions& options);

}  // namespace gnomon::feature
