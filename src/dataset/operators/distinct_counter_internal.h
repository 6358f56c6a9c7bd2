#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "dataset/operators/key_map_internal.h"
#include "dataset/operators/spill_internal.h"

namespace gnomon::dataset::internal {

/// Counts distinct values per group. A value that memory has no room for goes to a file, where the
/// same value of the same group always meets itself in one of sixteen partitions; these are counted
/// one after the other, in turn the same way.
class DistinctCounter {
 public:
  DistinctCounter(const Environment& environment, OperatorStats* stats, int level = 0);

  Status Add(int32_t group, std::string_view value);
  /// Adds to counts[group].
  Status Finish(std::vector<int64_t>* counts);

 private:
  Status PutAside(int32_t group, std::string_view value, uint64_t hash);
  Status FlushAside();

  const Environment& environment_;
  OperatorStats* const stats_;
  const int level_;
  MemoryReservation reservation_;
  int64_t granted_ = 0;  ///< of the reservation, not yet used
  KeyMap values_;        ///< group and value
  std::vector<int64_t> counts_;
  bool full_ = false;
  std::string key_;

  std::unique_ptr<PartitionWriter> aside_;
  std::vector<int64_t> aside_groups_;
  std::vector<std::string> aside_values_;
  std::vector<int32_t> aside_partitions_;
};

}  // namespace gnomon::dataset::internal
