#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/context.h"
#include "base/error.h"
#include "feature/definition/definition.h"
#include "feature/engine/source_rows.h"
#include "feature/offline/offline_store.h"
#include "table/partitioned_table.h"

namespace gnomon::feature {

/// What one view of several reads of its source.
struct SourceUse {
  const FeatureView* view = nullptr;
  std::vector<std::string> columns;  ///< as for ViewSource::Open
  SourceRange range;
};

/// Sources that several views read, each opened once for all of them, with all their columns and
/// times: passes over a shared table that run side by side read it once. Views over views have no
/// source.
class SharedSources {
 public:
  SharedSources() = default;
  static Result<SharedSources> Open(const Context& context, const Definitions& definitions,
                                    const OfflineStore& store, const std::vector<SourceUse>& uses);

  /// Null for a view that reads its source alone, which opens it itself.
  std::shared_ptr<const table::PartitionedTable> TableOf(const FeatureView& view) const;
  /// The number of the view's source among the shared ones; -1: it is none.
  int GroupOf(const FeatureView& view) const;

 private:
  struct Shared {
    int group = -1;
    std::shared_ptr<const table::PartitionedTable> table;
  };
  std::map<std::string, Shared> by_source_;
};

/// How many rows were read of each source: those that several views read in one pass count once.
class ReadRows {
 public:
  void Add(const FeatureView& view, int64_t rows) {
    int64_t& of_source = by_source_[view.source];
    of_source = std::max(of_source, rows);
  }
  int64_t total() const {
    int64_t sum = 0;
    for (const auto& [source, rows] : by_source_) sum += rows;
    return sum;
  }

 private:
  std::map<std::string, int64_t> by_source_;
};

}  // namespace gnomon::feature
