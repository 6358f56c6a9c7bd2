#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <arrow/type_fwd.h>

#include "base/error.h"

namespace gnomon::feature::internal {

/// What kFolded says of a row.
struct Folded {
  int64_t kept = 0;    ///< so many of the row's first events stand for folded ones and are in the
                       ///< partial states already
  int64_t oldest = 0;  ///< time of the oldest folded event
  int64_t newest = 0;  ///< (time, created) of the newest: every later event is raw
  int64_t newest_created = 0;
};

/// The columns kFolded, kPartialNames and kPartials of some stored rows.
class FoldedRows {
 public:
  FoldedRows(const std::shared_ptr<arrow::Array>& folded,
             const std::shared_ptr<arrow::Array>& names,
             const std::shared_ptr<arrow::Array>& partials);

  /// Absent: nothing of the row is folded. `num_events`: how many it has. kDataLoss when damaged.
  Result<std::optional<Folded>> At(int64_t row, int64_t num_events) const;
  /// A part's state (empty for kinds that keep rows); absent: it was not asked for when the row was
  /// folded.
  std::optional<std::string_view> Find(int64_t row, std::string_view name) const;

 private:
  std::shared_ptr<arrow::ListArray> folded_;
  std::shared_ptr<arrow::ListArray> names_;
  std::shared_ptr<arrow::ListArray> partials_;
};

}  // namespace gnomon::feature::internal
