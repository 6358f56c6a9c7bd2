#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/mutex.h"
#include "runtime/file_descriptor.h"

namespace gnomon::runtime {

/// What a journal says about one attempt of one partition.
struct JournalCommit {
  std::string stage;
  int32_t partition = 0;
  int32_t attempt = 0;
  std::string token;
  /// Of a chosen attempt (TaskOutput::report); absent in journals of format version 1.
  std::optional<std::string> report = {};

  bool operator==(const JournalCommit&) const = default;
};

/// What a job's journal holds.
struct JournalContents {
  std::string job;          ///< its name
  std::string fingerprint;  ///< of its plan
  /// Chosen attempts, at most one per (stage, partition), in the order of choice, with their
  /// tokens.
  std::vector<JournalCommit> prepared;
  /// Those of them (without tokens) whose commit is known to have happened.
  std::vector<JournalCommit> committed;
  bool finished = false;
};

/// The append-only memory of a job: which attempt of a partition was chosen, and which were
/// committed. Each record is on the disk before the call returns. Format:
/// docs/formats/journal.md. Thread-safe; one process at a time (flock).
class Journal {
 public:
  /// Opens or makes the journal of a job. A torn last record (a crash while it was written) is cut
  /// off. kConflict when another process has it open, or when it belongs to a plan with another
  /// `fingerprint`; kDataLoss when it is damaged elsewhere; kUnsupported when a newer build wrote
  /// it.
  static Result<std::unique_ptr<Journal>> Open(const std::string& path, const std::string& job,
                                               const std::string& fingerprint);
  /// Reads without opening it for writing; a torn last record is passed over.
  static Result<JournalContents> Read(const std::string& path);

  /// What it held when it was opened.
  const JournalContents& contents() const { return contents_; }
  /// True when opening cut off a torn record.
  bool was_torn() const { return was_torn_; }

  /// Chooses an attempt, before its commit begins. kInternal when the partition has another one.
  Status AppendPrepared(const JournalCommit& commit);
  Status AppendCommitted(const JournalCommit& commit);
  Status AppendFinished();

 private:
  Journal(FileDescriptor file, std::string path) : file_(std::move(file)), path_(std::move(path)) {}
  Status Append(const std::string& payload);

  FileDescriptor file_;
  const std::string path_;
  JournalContents contents_;  // constant after opening
  bool was_torn_ = false;
  uint32_t version_ = 0;  // of the format; constant after opening
  Mutex mutex_;
  int64_t size_ GNOMON_GUARDED_BY(mutex_) = 0;
  bool broken_ GNOMON_GUARDED_BY(mutex_) = false;
  std::set<std::pair<std::string, int32_t>> chosen_ GNOMON_GUARDED_BY(mutex_);
};

}  // namespace gnomon::runtime
