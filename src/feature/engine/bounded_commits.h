#pragma once

#include <cstdint>
#include <memory>

#include "base/context.h"
#include "base/error.h"
#include "feature/engine/materialization.h"
#include "feature/online/online_store.h"

namespace gnomon::feature {

/// Writes rows to an online table in several commits. Passes the fault points
/// materialize.before_commit and materialize.after_commit at each. Not thread-safe; the store's
/// writer stays on the caller's thread. Borrows its arguments.
class BoundedCommits {
 public:
  BoundedCommits(const Context& context, OnlineStore& online, const OnlineTable& table,
                 const MaterializationOptions& options)
      : context_(context),
        online_(online),
        table_(table),
        options_(options),
        rows_(options.committed_rows) {}

  Status Begin();
  /// Commits first when enough is written.
  Status Write(const OnlineRows& rows);
  /// The last commit.
  Status Finish();
  /// Forgets what is not committed; nothing can be written then.
  void Abandon() { writer_.reset(); }

  /// Written by now, with those of an earlier run.
  int64_t rows() const { return rows_; }

 private:
  Status Commit();

  const Context& context_;
  OnlineStore& online_;
  const OnlineTable& table_;
  const MaterializationOptions& options_;
  std::unique_ptr<OnlineWriter> writer_;
  int64_t rows_;
  int64_t open_rows_ = 0;  ///< not yet committed
};

}  // namespace gnomon::feature
