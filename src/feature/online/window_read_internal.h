#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/context.h"
#include "base/error.h"
#include "feature/definition/definition.h"
#include "feature/online/folded_rows_internal.h"
#include "feature/online/online_store.h"
#include "feature/online/window_folding.h"
#include "feature/online/window_tiles.h"
#include "pit/window.h"

namespace gnomon::feature::internal {

class TiledRows;

/// What TiledRows has of the rows of a read.
struct TakenRows {
  std::vector<bool> rows;  ///< which of them it took
  size_t count = 0;        ///< so many
  std::vector<bool> found;
  std::vector<int64_t> event_times;
  std::vector<std::shared_ptr<arrow::Array>> columns;  ///< by feature, null where tiles cannot tell
                                                       ///< it; of other rows an empty window's
};

/// Evaluates features of a window view from its stored rows, as of any time. Immutable,
/// thread-safe.
class WindowReader {
 public:
  static Result<WindowReader> Make(const OnlineTable& table, const FeatureView& view,
                                   std::span<const Field* const> features);

  /// What to read of the table.
  const std::vector<int>& fields() const { return fields_; }

  struct Values {
    std::vector<std::shared_ptr<arrow::Array>> columns;  ///< one per feature
    std::vector<bool> found;           ///< is any event at or before as_of stored?
    std::vector<int64_t> event_times;  ///< the newest such, 0 where there is none
  };
  /// kUser when `as_of` is older than folded events that a feature would have to leave out,
  /// kConflict when a lifetime aggregate was defined after its events were folded.
  /// `tiled` (or null) has seen the rows while they were read.
  Result<Values> Evaluate(const Context& context, const OnlineValues& stored, int64_t as_of,
                          TiledRows* tiled = nullptr) const;

 private:
  friend class TiledRows;
  class FoldedValues;

  /// Aggregates that the stored events alone decide.
  struct DirectSpecs {
    std::vector<size_t> places;  ///< in specs_
    std::vector<pit::AggregateSpec> specs;
  };
  /// A part of the stored tiles.
  struct TiledPart {
    size_t column = 0;  ///< of the aggregates
    pit::TilePart part = pit::TilePart::kSums;
    std::string name;
    std::string interval_name;  ///< where tiles end between intervals
  };

  WindowReader() = default;
  void PlanTiles(const OnlineTable& table);
  Status CheckTime(const Folded& folded, int64_t as_of) const;
  /// Of the rows that were decoded.
  Status EvaluateDecoded(const Context& context, const OnlineValues& stored, int64_t as_of,
                         const DirectSpecs& direct, Values* values) const;
  Status PutTaken(TakenRows taken, bool all, Values* values) const;
  Status AddFolded(const OnlineValues& stored, const pit::Events& events, int64_t as_of,
                   Values* values) const;

  std::string view_;
  std::vector<int> fields_;  ///< event times, then the columns of the aggregates
  std::vector<pit::AggregateSpec> specs_;
  DirectSpecs direct_;
  DirectSpecs untiled_;                                  ///< those of them that tiles cannot tell
  std::vector<std::shared_ptr<arrow::DataType>> types_;  ///< of the features
  size_t num_columns_ = 0;  ///< of the aggregates; the folded ones' columns follow in fields_
  std::vector<std::optional<FoldedPart>> parts_;  ///< by aggregate: a lifetime window's
  bool folds_ = false;
  std::vector<std::shared_ptr<arrow::DataType>> column_types_;  ///< of the aggregates' columns
  std::vector<std::shared_ptr<arrow::DataType>> tiled_;  ///< by aggregate: pit::ResultType of those
                                                         ///< that tiles can tell, else null
  std::vector<size_t> tiled_order_;                      ///< these, from the shortest window on
  std::vector<int> packed_fields_;                       ///< fields_ and kTiles
  std::vector<TiledPart> tile_parts_;                    ///< what they need
};

}  // namespace gnomon::feature::internal
