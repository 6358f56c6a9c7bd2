#pragma once

#include <memory>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/context.h"
#include "base/error.h"
#include "dataset/asof/asof_labels.h"
#include "feature/engine/label_values.h"
#include "feature/engine/retrieval.h"
#include "feature/engine/shared_sources.h"
#include "feature/engine/view_columns.h"
#include "feature/engine/view_source.h"
#include "feature/offline/offline_store.h"

namespace gnomon::feature {

/// A window view of a retrieval: the planned features for every label, of their declared types. The
/// source streams past the labels: events that no label's window can hold are dropped, the others
/// are kept in memory, or cut up by key, spilled and evaluated part by part when the memory budget
/// has no room for them; and so are the labels and what is found for them. No limit changes a bit
/// of the result.
class WindowRetrieval {
 public:
  /// Opens the view's source, or takes it from `sources`; everything given outlives the result.
  static Result<std::unique_ptr<WindowRetrieval>> Open(
      const Context& context, const FeaturePlan& plan, const PlannedView& planned,
      const dataset::AsOfLabels& labels, const OfflineStore& store, const SharedSources& sources,
      const RetrievalOptions& options);
  virtual ~WindowRetrieval() = default;

  /// Reads the events, beside other passes over the source or alone.
  virtual ViewPass& pass() = 0;
  /// What was read of the views below a view over views.
  virtual const SourceReads& reads() const = 0;
  /// After the pass, once: the features, in blocks of `block_rows` labels. They do not need this
  /// any more.
  virtual Result<std::unique_ptr<LabelValues>> Evaluate(int64_t block_rows,
                                                        RetrievalStats* stats) = 0;
};

}  // namespace gnomon::feature
