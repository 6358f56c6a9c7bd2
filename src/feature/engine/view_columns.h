#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/error.h"
#include "feature/engine/retrieval.h"
#include "feature/engine/source_rows.h"

namespace gnomon::feature {

/// The errors of entity rows that need no row: no timestamp or several, join keys or request data
/// that are missing, a column with the name of a feature.
Status CheckEntityRows(const FeaturePlan& plan, const arrow::Schema& schema);

using ViewArrays = std::vector<std::shared_ptr<arrow::Array>>;

/// What a view's planned features need to be read, and from when to when.
std::vector<std::string> ColumnsToRead(const PlannedView& planned);
/// The longest window of the planned features of a window view; absent: one of them is a lifetime.
std::optional<int64_t> LongestWindow(const PlannedView& planned);
/// Times of the entity rows in microseconds.
SourceRange RangeToRead(const PlannedView& planned, int64_t min_micros, int64_t max_micros,
                        const RetrievalOptions& options);

}  // namespace gnomon::feature
