#include "feature/engine/online_blocks.h"

#include <algorithm>
#include <future>
#include <string_view>
#include <utility>

#include <arrow/record_batch.h>

#include "base/fault.h"

namespace gnomon::feature {
namespace {

Status WriteBlock(const Context& context, const OnlineBlock& block, int64_t as_of,
                  int64_t skip_rows, int64_t batch_rows,
                  const std::function<Status(const OnlineRows&)>& write, ProgressPhase* phase) {
  phase->Advance(skip_rows);
  for (int64_t begin = skip_rows; begin < block.num_rows();) {
    GNOMON_RETURN_NOT_OK(context.Check());
    // Batches end where they would without rows that are skipped.
    const int64_t count = std::min(batch_rows - begin % batch_rows, block.num_rows() - begin);
    const auto from = static_cast<size_t>(begin);
    const auto length = static_cast<size_t>(count);
    OnlineRows rows;
    size_t start = from == 0 ? 0 : block.key_ends[from - 1];
    for (size_t i = from; i < from + length; ++i) {
      rows.keys.push_back(
          std::string_view(block.key_bytes).substr(start, block.key_ends[i] - start));
      start = block.key_ends[i];
    }
    rows.event_times = std::span(block.event_times).subspan(from, length);
    rows.created_times = std::span(block.created_times).subspan(from, length);
    rows.values = block.values->Slice(begin, count);
    rows.as_of = as_of;
    GNOMON_RETURN_NOT_OK(write(rows));
    phase->Advance(count);
    begin += count;
    GNOMON_RETURN_NOT_OK(FaultPoint("materialize.after_batch", context.stop));
  }
  return Status::OK();
}

}  // namespace

Status WriteBlocks(const Context& context, const NextOnlineBlock& next, int64_t as_of,
                   int64_t skip_rows, int64_t batch_rows,
                   const std::function<Status(const OnlineRows&)>& write, FailedRows* failed,
                   ProgressPhase* phase) {
  GNOMON_ASSIGN_OR_RETURN(auto block, next());
  while (block && !failed->full()) {
    // The writer stays on this thread; a future waits for its thread when it goes out of scope.
    auto following = std::async(std::launch::async, next);
    failed->Merge(block->failed);
    const int64_t skipped = std::min(skip_rows, block->num_rows());
    GNOMON_RETURN_NOT_OK(WriteBlock(context, *block, as_of, skipped, batch_rows, write, phase));
    skip_rows -= skipped;
    block.reset();
    GNOMON_ASSIGN_OR_RETURN(block, following.get());
  }
  return Status::OK();
}

}  // namespace gnomon::feature
