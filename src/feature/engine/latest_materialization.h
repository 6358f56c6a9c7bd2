#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/context.h"
#include "base/error.h"
#include "feature/definition/definition.h"
#include "feature/engine/materialization.h"
#include "feature/engine/newest_rows.h"
#include "feature/engine/shared_sources.h"
#include "feature/engine/view_blocks.h"
#include "feature/online/entity_key.h"

namespace gnomon::feature {

/// The encoder of the view's entity keys, whose values come in the order of JoinKeys.
Result<EntityKeyEncoder> EntityKeysOf(const Definitions& definitions, const FeatureView& view);

/// What is read of a plain view beside keys and times: its features.
std::vector<std::string> LatestFeatures(const FeatureView& view);

/// Makes the online rows of a plain view. Two passes over the source: the first reads keys and
/// times only and keeps one row number for each key, the second gathers the features of these rows,
/// a block after the other, in input order. Memory: O(distinct keys), and a block.
class LatestMaterialization : public ViewBlocks {
 public:
  /// Of the rows with start <= event time <= end (microseconds). `sources`: where the view's is
  /// open already.
  static Result<std::unique_ptr<ViewBlocks>> Open(
      const Context& context, const Definitions& definitions, const FeatureView& view,
      const OfflineStore& store, const SharedSources& sources, int64_t start, int64_t end);

  ViewPass& pass() override { return *pass_; }
  Status FinishPass(MaterializationResult* result) override;
  int64_t num_rows() const override { return static_cast<int64_t>(newest_->rows().size()); }
  int64_t Skip(int64_t rows) override {
    next_row_ = static_cast<size_t>(std::min(rows, num_rows()));
    return 0;
  }
  Result<std::optional<OnlineBlock>> NextBlock() override;

 private:
  LatestMaterialization(const Context& context, ViewSource source, EntityKeyEncoder encoder)
      : context_(context), source_(std::move(source)), encoder_(std::move(encoder)) {}
  int64_t BlockRows() const;
  Status FillWith(std::span<const NewestRow> wanted, OnlineBlock* block) const;
  /// Where a person finds a row.
  std::string PlaceOf(int64_t number) const;

  const Context context_;
  const ViewSource source_;
  const EntityKeyEncoder encoder_;
  std::vector<int> features_;  ///< places in the table
  std::optional<ViewPass> pass_;
  std::unique_ptr<NewestRows> newest_;
  int64_t row_bytes_ = 0;  ///< of a row in a block, while it is made
  size_t next_row_ = 0;
};

}  // namespace gnomon::feature
