#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/context.h"
#include "base/error.h"
#include "base/memory_reservation.h"
#include "base/progress.h"
#include "feature/engine/failed_rows.h"
#include "feature/online/online_store.h"

namespace gnomon::feature {

/// Rows of an online store that go to a writer together, in one batch: a block of rows is cut into
/// these whatever the memory limit is.
inline constexpr int64_t kOnlineBatchRows = 16 * 1024;

/// Rows for an online store, one for each key.
struct OnlineBlock {
  std::string key_bytes;         ///< one after the other
  std::vector<size_t> key_ends;  ///< in key_bytes
  std::vector<int64_t> event_times;
  std::vector<int64_t> created_times;
  std::shared_ptr<arrow::RecordBatch> values;
  FailedRows failed;  ///< left out
  MemoryReservation memory;

  int64_t num_rows() const { return static_cast<int64_t>(key_ends.size()); }
};

/// The next block; nothing at the end.
using NextOnlineBlock = std::function<Result<std::optional<OnlineBlock>>()>;

/// Gives all blocks to `write`, in batches of at most `batch_rows` and in order, but for the first
/// `skip_rows` rows.
/// While one is written the next one is made, on a thread of its own. `as_of` is OnlineRows'.
/// `failed` gets the blocks' failed rows before `write` gets the rest of them; when it is full that
/// is the end. Passes the fault point materialize.after_batch.
Status WriteBlocks(const Context& context, const NextOnlineBlock& next, int64_t as_of,
                   int64_t skip_rows, int64_t batch_rows,
                   const std::function<Status(const OnlineRows&)>& write, FailedRows* failed,
                   ProgressPhase* phase);

}  // namespace gnomon::feature
