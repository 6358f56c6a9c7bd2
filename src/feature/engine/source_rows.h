#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/context.h"
#include "base/error.h"
#include "base/memory_reservation.h"
#include "feature/definition/definition.h"
#include "feature/engine/event_times.h"
#include "feature/offline/offline_store.h"

namespace gnomon::feature {

/// Microseconds, both inclusive: which rows of a source are of interest.
struct SourceRange {
  std::optional<int64_t> min;
  std::optional<int64_t> max;
  std::optional<int64_t> created_before;  ///< rows created after this do not exist
};

/// What reading took.
struct SourceReads {
  int64_t rows = 0;
  int64_t scans = 0;
};

/// The rows of one view after `transformations` and `filter`, in input order and as a whole: for
/// answers of that size (retrieval without entity rows) and for the views above a view.
struct SourceRows {
  std::vector<std::shared_ptr<arrow::Array>> keys;  ///< the view's join keys
  std::shared_ptr<arrow::Array> time_column;
  std::shared_ptr<arrow::Array> created_column;  ///< null: the source has none
  EventTimes times;
  std::vector<std::shared_ptr<arrow::Array>> columns;  ///< those asked for, in order
  int64_t num_rows = 0;
  std::shared_ptr<MemoryReservation> memory;  ///< of all of these
};

/// Reads the rows of a view that lie in the range. `columns`: source columns or transformed ones.
/// Their memory is reserved from the context's budget: kExhausted when it refuses.
Result<SourceRows> ReadSourceRows(const Context& context, const Definitions& definitions,
                                  const FeatureView& view, const OfflineStore& store,
                                  const std::vector<std::string>& columns, const SourceRange& range,
                                  SourceReads* reads);

/// The same rows in batches, which are those of the source: nothing else decides where one ends.
/// They are read at once, and spilled where the budget has no room for them.
class SourceRowStream {
 public:
  static Result<std::unique_ptr<SourceRowStream>> Read(
      const Context& context, const Definitions& definitions, const FeatureView& view,
      const OfflineStore& store, const std::vector<std::string>& columns, const SourceRange& range,
      SourceReads* reads);
  virtual ~SourceRowStream() = default;
  /// Nanoseconds, of the event times in the source.
  virtual int64_t time_unit() const = 0;
  /// Absent after the last.
  virtual Result<std::optional<SourceRows>> Next() = 0;
  virtual int64_t spilled_bytes() const = 0;
};

/// The same of several views, in their order; those that share a source are read in one pass. No
/// columns beside keys and times.
Result<std::vector<std::unique_ptr<SourceRowStream>>> ReadSourceRows(
    const Context& context, const Definitions& definitions,
    const std::vector<const FeatureView*>& views, const OfflineStore& store,
    const SourceRange& range, SourceReads* reads);

}  // namespace gnomon::feature
