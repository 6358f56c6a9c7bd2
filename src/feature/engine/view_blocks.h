#pragma once

#include <cstdint>
#include <optional>

#include "base/error.h"
#include "feature/engine/materialization.h"
#include "feature/engine/online_blocks.h"
#include "feature/engine/view_source.h"

namespace gnomon::feature {

/// The online rows of one view on their way from its source: a pass over it, then the rows, block
/// by block. Not thread-safe, but blocks may be made on another thread than the one that made this.
class ViewBlocks {
 public:
  virtual ~ViewBlocks() = default;

  /// To be run first, beside other passes over the source or alone. Until then nothing is kept.
  virtual ViewPass& pass() = 0;
  /// After the pass, once; counts rows.
  virtual Status FinishPass(MaterializationResult* result) = 0;

  /// Of all blocks; 0: not known.
  virtual int64_t num_rows() const = 0;
  /// Leaves out the first rows, before the first block. Returns how many the blocks hold still.
  virtual int64_t Skip(int64_t rows) = 0;
  virtual Result<std::optional<OnlineBlock>> NextBlock() = 0;
};

}  // namespace gnomon::feature
