#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/context.h"
#include "base/error.h"
#include "dataset/asof/asof_strategy.h"
#include "table/key_index.h"
#include "table/partitioned_table.h"

namespace gnomon::dataset {

namespace internal {
class Labels;
class LeftRows;
}  // namespace internal

/// The left table of a join made ready: the times of its rows (labels), and dense ids for each set
/// of key columns, encoded once for all who match rows against them. Times and ids are spilled when
/// the memory budget refuses them; the distinct keys have to fit. Values do not change once read.
class AsOfLabels {
 public:
  struct Keys {
    std::span<const int32_t> ids;            ///< negative: a null in the key, or no time
    const table::KeyIndex* index = nullptr;  ///< null for the empty set: every label has the id 0
    int64_t num_keys = 0;                    ///< distinct
  };

  /// Reads the time column `on` and the columns of `key_sets`; the other columns only where the
  /// table is small and its rows are kept for the join's output. kNotFound (with the nearest name)
  /// for a missing column, kUser for a type that is no time or no key. The context's memory budget
  /// outlives the result.
  static Result<std::shared_ptr<AsOfLabels>> Read(
      const Context& context, std::shared_ptr<const table::PartitionedTable> left,
      const std::string& on, const std::vector<std::vector<std::string>>& key_sets,
      const AsOfSettings& settings = {});
  ~AsOfLabels();
  AsOfLabels(const AsOfLabels&) = delete;
  AsOfLabels& operator=(const AsOfLabels&) = delete;

  int64_t num_rows() const;
  int64_t unit_nanos() const;
  std::span<const int64_t> times() const;
  /// Microseconds, rounded outwards, of the labels that have a time; absent when none has.
  const std::optional<table::TimeRange>& range() const;
  /// Labels without a time or with a null in one of the key sets.
  int64_t null_rows() const;
  int64_t spilled_bytes() const;
  /// Of one of the key sets.
  Keys KeysOf(const std::vector<std::string>& columns) const;

  const internal::Labels& labels() const { return *labels_; }
  /// For one join: its rows are read once.
  internal::LeftRows& rows() { return *rows_; }

 private:
  explicit AsOfLabels(std::shared_ptr<const table::PartitionedTable> left);

  std::shared_ptr<const table::PartitionedTable> left_;
  std::unique_ptr<internal::Labels> labels_;
  std::unique_ptr<internal::LeftRows> rows_;
};

}  // namespace gnomon::dataset
