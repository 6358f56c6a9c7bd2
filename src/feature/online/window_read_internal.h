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
#include "feature/online/online_store.h"
#include "feature/online/window_folding.h"
#include "pit/window.h"

namespace gnomon::feature::internal {

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
  Result<Values> Evaluate(const Context& context, const OnlineValues& stored, int64_t as_of) const;

 private:
  class FoldedValues;

  WindowReader() = default;
  Status AddFolded(const OnlineValues& stored, const pit::Events& events, int64_t as_of,
                   Values* values) const;

  std::string view_;
  std::vector<int> fields_;  ///< event times, then the columns of the aggregates
  std::vector<pit::AggregateSpec> specs_;
  std::vector<pit::AggregateSpec> direct_specs_;  ///< those that the stored events alone decide
  std::vector<size_t> direct_;                    ///< their places in specs_
  std::vector<std::shared_ptr<arrow::DataType>> types_;  ///< of the features
  size_t num_columns_ = 0;  ///< of the aggregates; the folded ones' columns follow in fields_
  std::vector<std::optional<FoldedPart>> parts_;  ///< by aggregate: a lifetime window's
};

}  // namespace gnomon::feature::internal
