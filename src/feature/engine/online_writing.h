#pragma once

#include <cstdint>

#include "base/context.h"
#include "base/error.h"
#include "base/progress.h"
#include "feature/engine/failed_rows.h"
#include "feature/engine/materialization.h"
#include "feature/engine/online_blocks.h"
#include "feature/online/online_store.h"

namespace gnomon::feature {

/// Writes blocks in commits (BoundedCommits), but for the first `skip_rows` rows; returns how many
/// rows there are now, with options.committed_rows. After a row that cannot be written, which goes
/// to `failed`, nothing more is: the others are only tried. `end`: the materialization's.
Result<int64_t> WriteOnline(const Context& context, OnlineStore& online, const OnlineTable& table,
                            int64_t end, int64_t skip_rows, const NextOnlineBlock& next,
                            const MaterializationOptions& options, FailedRows* failed,
                            ProgressPhase* phase);

}  // namespace gnomon::feature
