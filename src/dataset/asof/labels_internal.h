#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/context.h"
#include "base/error.h"
#include "dataset/asof/left_rows_internal.h"
#include "dataset/asof/memory_internal.h"
#include "table/key_index.h"
#include "table/partitioned_table.h"

namespace gnomon::dataset::internal {

/// The left table's times, and dense key ids for each set of key columns, encoded once for all
/// right tables that use it. Immutable after Read.
class Labels {
 public:
  struct KeySet {
    std::vector<int> columns;  ///< of the left table; empty: every label has the key 0
    std::shared_ptr<table::KeyIndex> index;
    SpillableArray<int32_t> ids;  ///< negative: a null in the key, or no time
    int64_t num_keys = 0;
    MemoryReservation memory;
  };

  /// Reads the columns `on` and those of `key_sets`, and all others where `rows` keeps them.
  static Result<Labels> Read(const Context& context, const table::PartitionedTable& left, int on,
                             const std::vector<std::vector<int>>& key_sets,
                             const std::string& spill_folder, LeftRows* rows);

  int64_t num_rows() const { return num_rows_; }
  int64_t unit_nanos() const { return unit_nanos_; }
  std::span<const int64_t> times() const { return times_.values(); }
  /// Microseconds, rounded outwards, of the labels that have a time; absent when none has.
  const std::optional<table::TimeRange>& range() const { return range_; }
  const KeySet& KeysOf(const std::vector<int>& columns) const { return *key_sets_.at(columns); }
  /// Labels without a time or with a null in one of the key sets.
  int64_t null_rows() const { return null_rows_; }
  int64_t num_keys() const;
  int64_t spilled_bytes() const;

 private:
  class Reader;

  int64_t num_rows_ = 0;
  int64_t unit_nanos_ = 1000;
  SpillableArray<int64_t> times_;
  std::optional<table::TimeRange> range_;
  std::map<std::vector<int>, std::unique_ptr<KeySet>> key_sets_;
  int64_t null_rows_ = 0;
};

}  // namespace gnomon::dataset::internal
