#include "feature/engine/bounded_commits.h"

#include "base/fault.h"

namespace gnomon::feature {

Status BoundedCommits::Begin() { return online_.BeginWrite(context_, table_).Value(&writer_); }

Status BoundedCommits::Write(const OnlineRows& rows) {
  if (open_rows_ >= options_.rows_per_commit) {
    GNOMON_RETURN_NOT_OK(Commit());
    if (options_.after_commit) GNOMON_RETURN_NOT_OK(options_.after_commit(rows_));
    GNOMON_RETURN_NOT_OK(Begin());
  }
  GNOMON_RETURN_NOT_OK(writer_->Write(context_, rows));
  open_rows_ += static_cast<int64_t>(rows.keys.size());
  rows_ += static_cast<int64_t>(rows.keys.size());
  return Status::OK();
}

Status BoundedCommits::Finish() { return Commit(); }

Status BoundedCommits::Commit() {
  GNOMON_RETURN_NOT_OK(FaultPoint("materialize.before_commit", context_.stop));
  GNOMON_RETURN_NOT_OK(writer_->Commit(context_));
  writer_.reset();
  open_rows_ = 0;
  return FaultPoint("materialize.after_commit", context_.stop);
}

}  // namespace gnomon::feature
