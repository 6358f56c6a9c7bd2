#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/error.h"

namespace gnomon::table {

/// The Fingerprint (column.h) of a table whose rows come batch by batch. Memory: 64 KiB, and 64
/// bytes for each column and 64 Ki rows. Different columns may be added to by different threads.
class RunningFingerprint {
 public:
  explicit RunningFingerprint(const arrow::Schema& schema);
  RunningFingerprint(RunningFingerprint&&) noexcept;
  RunningFingerprint& operator=(RunningFingerprint&&) noexcept;
  ~RunningFingerprint();

  /// The next rows. kUnsupported for a column of a type that has no canonical form.
  Status Add(const arrow::RecordBatch& batch);
  /// The next values of one column.
  Status AddTo(int column, const arrow::Array& values);
  /// Once, at the end. REQUIRES: each column got `num_rows` values.
  std::string Finish(int64_t num_rows);

 private:
  struct Column;
  std::string schema_;
  std::vector<Column> columns_;
};

}  // namespace gnomon::table
