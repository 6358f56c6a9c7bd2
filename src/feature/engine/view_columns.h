#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/context.h"
#include "base/error.h"
#include "feature/engine/retrieval.h"
#include "feature/engine/source_rows.h"
#include "table/key_index.h"

namespace gnomon::feature {

/// Entity rows made ready: their times, and dense ids for each set of key columns that some view
/// uses, encoded once.
class Labels {
 public:
  static Result<Labels> Make(const Context& context, const FeaturePlan& plan,
                             const arrow::Table& entity_rows);

  int64_t num_rows() const { return num_rows_; }
  int64_t unit_nanos() const { return unit_nanos_; }
  /// In unit_nanos; rows without a time have the id kNull everywhere.
  const std::vector<int64_t>& times() const { return times_; }
  /// Microseconds, rounded outwards; of the rows that have a time. Equal when there are none.
  int64_t min_micros() const { return min_micros_; }
  int64_t max_micros() const { return max_micros_; }
  /// Rows whose key is null in at least one view, or that have no time.
  int64_t null_key_rows() const { return null_key_rows_; }

  struct Keys {
    std::vector<int32_t> ids;
    std::shared_ptr<table::KeyIndex> index;  ///< null for a view without entities
  };
  const Keys& KeysOf(const PlannedView& view) const { return keys_.at(view.entity_columns); }

 private:
  int64_t num_rows_ = 0;
  int64_t unit_nanos_ = 1000;
  std::vector<int64_t> times_;
  int64_t min_micros_ = 0;
  int64_t max_micros_ = 0;
  int64_t null_key_rows_ = 0;
  std::map<std::vector<std::string>, Keys> keys_;
};

/// The errors of entity rows that need no row: no timestamp or several, join keys or request data
/// that are missing, a column with the name of a feature.
Status CheckEntityRows(const FeaturePlan& plan, const arrow::Schema& schema);

using ViewArrays = std::vector<std::shared_ptr<arrow::Array>>;

/// What a view's planned features need to be read, and from when to when.
std::vector<std::string> ColumnsToRead(const PlannedView& planned);
SourceRange RangeToRead(const PlannedView& planned, int64_t min_micros, int64_t max_micros,
                        const RetrievalOptions& options);

}  // namespace gnomon::feature
