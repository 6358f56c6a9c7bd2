#pragma once

#include <cstdint>
#include <memory>
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
/// Times of the entity rows in microseconds.
SourceRange RangeToRead(const PlannedView& planned, int64_t min_micros, int64_t max_micros,
                        const RetrievalOptions& options);

}  // namespace gnomon::feature
