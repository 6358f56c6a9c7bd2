#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/error.h"

namespace gnomon::dataset {

/// Somebody who wants rows of a right table for another purpose than the join: what it opens is
/// opened and read side by side with the matching, so that what shares the reading of a partition
/// (PartitionedTable::Shared) has it read once.
class CompanionScan {
 public:
  /// The reading of one partition, by one thread.
  class Reading {
   public:
    virtual ~Reading() = default;
    /// Takes the next batch; false at the end.
    virtual Result<bool> Next() = 0;
  };
  virtual ~CompanionScan() = default;

  /// Those that are to be read, ascending.
  virtual const std::vector<int64_t>& partitions() const = 0;
  /// A pass begins. It may begin once more before its end: all that was read until then is void.
  virtual Status Begin() = 0;
  /// Thread-safe: several partitions are read at the same time.
  virtual Result<std::unique_ptr<Reading>> Open(int64_t partition) = 0;
};

}  // namespace gnomon::dataset
