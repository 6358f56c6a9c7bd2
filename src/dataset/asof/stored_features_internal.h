#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include <arrow/type_fwd.h>

#include "base/context.h"
#include "base/error.h"
#include "dataset/asof/matching_internal.h"

namespace gnomon::dataset::internal {

/// The features of all labels' winning rows of one right table, in an unnamed file. For a late
/// gather that would otherwise, for want of memory, read the table again for every small block of
/// labels: here labels are taken in the order of their winning rows, so that every page is read
/// about once, and blocks of labels then pick their values out of the mapped file.
class StoredFeatures {
 public:
  /// `winners` of all labels become places in the file. `run_rows`: labels that are gathered
  /// together, for which the caller has reserved memory.
  static Result<StoredFeatures> Gather(const Context& context, const BoundFeatures& features,
                                       int64_t run_rows, const std::string& spill_folder,
                                       std::span<int64_t> winners);

  /// The features of some labels, in order. `places` are what became of their winners.
  Result<arrow::ArrayVector> Take(const Context& context, std::span<const int64_t> places) const;

  int64_t num_runs() const { return num_runs_; }
  int64_t bytes() const { return bytes_; }

 private:
  std::shared_ptr<arrow::Table> rows_;  ///< mapped; null: no label won a row
  std::shared_ptr<arrow::Schema> schema_;
  int64_t num_runs_ = 0;
  int64_t bytes_ = 0;
};

}  // namespace gnomon::dataset::internal
