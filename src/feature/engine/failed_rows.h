#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/context.h"
#include "base/error.h"
#include "feature/definition/definition.h"
#include "feature/online/online_store.h"

namespace gnomon::feature {

/// The entity rows of a view that cannot be written: how many, and the first ones for the error.
/// Not thread-safe.
class FailedRows {
 public:
  /// Counting ends here: the error then says "at least".
  static constexpr int64_t kMostCounted = 1000;

  /// `row`: as a person finds it, "driver_id = 7".
  void Add(const std::string& row, const Status& why);
  void Merge(const FailedRows& other);
  /// As another process has counted them.
  static FailedRows Of(int64_t count, std::vector<std::string> examples, Status first);

  int64_t count() const { return count_; }
  const std::vector<std::string>& examples() const { return examples_; }
  /// Of the first row; OK without rows.
  const Status& first() const { return first_; }
  bool full() const { return count_ >= kMostCounted; }
  /// "3 rows cannot be written: driver_id = 7: why; ...", of the first one's kind and with its
  /// hint. OK without rows.
  Status ToStatus() const;

 private:
  static constexpr size_t kExamples = 3;
  int64_t count_ = 0;
  std::vector<std::string> examples_;
  Status first_;
};

/// Is it the error of one row, which LocationOf names, so that others may still be well?
bool IsOfOneRow(const Status& status);

/// Why values of a source's column do not become the view's type, by row of `column`; `why` has a
/// status for each row, one that is an error already stays.
Status FindUncastable(const FeatureView& view, const std::string& name,
                      const std::shared_ptr<arrow::Array>& column, const ValueType& type,
                      std::vector<Status>* why);

/// Adds the rows that the store refuses, up to FailedRows::kMostCounted. They are given to writers
/// that never commit. REQUIRES: this thread has no write to the store open.
Status FindUnwritable(const Context& context, OnlineStore& online, const OnlineTable& table,
                      const OnlineRows& rows, FailedRows* failed);

}  // namespace gnomon::feature
