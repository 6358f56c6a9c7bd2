#include "feature/engine/online_writing.h"

#include <algorithm>

#include "feature/engine/bounded_commits.h"

namespace gnomon::feature {

Result<int64_t> WriteOnline(const Context& context, OnlineStore& online, const OnlineTable& table,
                            int64_t end, int64_t skip_rows, const NextOnlineBlock& next,
                            const MaterializationOptions& options, FailedRows* failed,
                            ProgressPhase* phase) {
  BoundedCommits commits(context, online, table, options);
  GNOMON_RETURN_NOT_OK(commits.Begin());
  if (options.failure != nullptr) options.failure->began_to_write = true;
  const auto write = [&](const OnlineRows& rows) -> Status {
    if (failed->count() == 0) {
      const Status written = commits.Write(rows);
      if (!IsOfOneRow(written)) return written;
    }
    commits.Abandon();
    return FindUnwritable(context, online, table, rows, failed);
  };
  const Status written =
      WriteBlocks(context, next, end, skip_rows,
                  std::min(kOnlineBatchRows, options.rows_per_commit), write, failed, phase);
  if (options.failure != nullptr) options.failure->failed_rows = failed->count();
  if (failed->count() > 0) return commits.rows();
  GNOMON_RETURN_NOT_OK(written);
  GNOMON_RETURN_NOT_OK(commits.Finish());
  return commits.rows();
}

}  // namespace gnomon::feature
