#pragma once

#include <memory>
#include <string>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/context.h"
#include "base/error.h"
#include "feature/definition/definition.h"
#include "feature/engine/source_rows.h"
#include "feature/offline/offline_store.h"

namespace gnomon::feature {

struct ParentRows {
  std::shared_ptr<arrow::Table> table;
  std::shared_ptr<MemoryReservation> memory;  ///< of the table
};

/// The rows that a view over views reads: those of its one plain source view, in input order, or
/// the distinct (keys, time) of all its source views' rows with the features as of that time, in
/// order of time. Columns: the join keys, those of `columns` that are features of the source views,
/// event_timestamp and, where SourceOf says so, created_timestamp. `range` bounds what is read;
/// rows outside may come. Which rows there are does not depend on `columns`. kExhausted when the
/// budget has no room for them.
Result<ParentRows> ReadParentRows(const Context& context, const FeatureView& view,
                                  const std::vector<std::string>& columns, const SourceRange& range,
                                  const Definitions& definitions, const OfflineStore& store,
                                  SourceReads* reads);

}  // namespace gnomon::feature
