#pragma once

#include <algorithm>
#include <cstdint>

#include "base/context.h"
#include "base/error.h"
#include "feature/definition/definition.h"
#include "feature/engine/materialization.h"
#include "feature/engine/newest_rows.h"
#include "feature/engine/online_blocks.h"
#include "feature/engine/view_source.h"
#include "feature/online/entity_key.h"

namespace gnomon::feature {

/// The encoder of the view's entity keys, whose values come in the order of JoinKeys.
Result<EntityKeyEncoder> EntityKeysOf(const Definitions& definitions, const FeatureView& view);

/// Makes the online rows of a plain view. Two passes over the source: the first reads keys and
/// times only and keeps one row number for each key, the second gathers the features of these rows,
/// a block after the other, in input order. Memory: O(distinct keys), and a block. Not thread-safe,
/// but blocks may be made on another thread than the one that made this.
class LatestMaterialization {
 public:
  /// The first pass: rows with start <= event time <= end (microseconds).
  static Result<std::unique_ptr<LatestMaterialization>> Make(
      const Context& context, const Definitions& definitions, const FeatureView& view,
      const OfflineStore& store, int64_t start, int64_t end, MaterializationResult* result);

  int64_t num_rows() const { return static_cast<int64_t>(newest_->rows().size()); }
  /// Passes over the first rows, at most all. Call it before the first block.
  void Skip(int64_t rows) { next_row_ = static_cast<size_t>(std::min(rows, num_rows())); }
  Result<std::optional<OnlineBlock>> NextBlock();

 private:
  LatestMaterialization(const Context& context, ViewSource source, EntityKeyEncoder encoder)
      : context_(context), source_(std::move(source)), encoder_(std::move(encoder)) {}
  int64_t BlockRows() const;
  Status AddFeatures(std::span<const int64_t> numbers, OnlineBlock* block) const;
  Status AddKeys(std::span<const int64_t> numbers, OnlineBlock* block) const;
  int64_t RowInTable(int64_t number) const;

  const Context context_;
  const ViewSource source_;
  const EntityKeyEncoder encoder_;
  std::vector<int> features_;  ///< places in the table
  std::unique_ptr<NewestRows> newest_;
  int64_t row_bytes_ = 0;  ///< of a row in a block, while it is made
  size_t next_row_ = 0;
};

}  // namespace gnomon::feature
