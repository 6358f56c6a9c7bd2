#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/context.h"
#include "base/error.h"

namespace gnomon::runtime {

/// Where the rows of a job end up, exactly once. An attempt has two ends:
///
/// On a worker the stage function prepares a place of the attempt's own that nobody reads, writes
/// its rows there, makes them durable, and returns a token by which the driver finds them
/// (TaskOutput::commit_token). Several attempts of one partition, even with the same number (a
/// message that came twice), may be written at once: the place must be unique to the execution. An
/// attempt that fails removes what it wrote.
///
/// On the driver a Sink of the same description commits one token of each partition and aborts the
/// others, also after a restart. Called on the thread of RunJob.
class Sink {
 public:
  virtual ~Sink() = default;

  /// Makes an attempt visible, whole or not at all. Idempotent: a driver that died after it cannot
  /// know, and commits again.
  virtual Status Commit(const Context& context, std::string_view token) = 0;
  /// Removes an attempt that was not committed. Idempotent.
  virtual Status Abort(const Context& context, std::string_view token) = 0;

  /// Called once when the job has ended, well or not: removes what executions that never reported
  /// left behind, except the attempts of `pending`, which a resumed job will commit.
  virtual Status Clean(const Context& context, std::span<const std::string> pending) = 0;
};

}  // namespace gnomon::runtime
