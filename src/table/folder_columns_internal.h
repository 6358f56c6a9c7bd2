#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/error.h"
#include "table/folder_columns.h"

namespace gnomon::table::internal {

/// What the folders of a table's files say. Immutable.
class FolderColumns {
 public:
  FolderColumns() = default;
  /// Of the files of `path`, in their order; `first` is the first one's schema.
  static Result<FolderColumns> Find(const std::string& path, const std::vector<std::string>& files,
                                    const arrow::Schema& first);

  const arrow::FieldVector& fields() const { return fields_; }
  /// The columns of the files with those of the folders behind them.
  std::shared_ptr<arrow::Schema> AddTo(const std::shared_ptr<arrow::Schema>& files) const;
  bool Has(const std::string& name) const { return PlaceOf(name) >= 0; }
  /// A column of the table from what file `file` gave (null when it lacks it; `path` is its name),
  /// or from its folders.
  Result<std::shared_ptr<arrow::Array>> Adapt(size_t file,
                                              const std::shared_ptr<arrow::Array>& column,
                                              int64_t num_rows, const arrow::Field& field,
                                              const std::string& path) const;

 private:
  int PlaceOf(const std::string& name) const;

  arrow::FieldVector fields_;
  std::vector<std::vector<std::optional<std::string>>> values_;  ///< by file, then field
};

}  // namespace gnomon::table::internal
