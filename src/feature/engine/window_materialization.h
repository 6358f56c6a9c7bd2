#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/context.h"
#include "base/error.h"
#include "feature/definition/definition.h"
#include "feature/engine/materialization.h"
#include "feature/engine/shared_sources.h"
#include "feature/engine/view_blocks.h"
#include "feature/engine/window_events.h"
#include "feature/online/entity_key.h"
#include "feature/online/online_store.h"
#include "pit/time_unit.h"

namespace gnomon::feature {

/// What of a window view's source can matter to reads from `end` on (microseconds).
SourceRange RangeUntil(const FeatureView& view, int64_t end);
/// The events of them, exactly: from the first one (absent: from the beginning) to the last.
std::optional<pit::Nanos> BeginOfWindows(const FeatureView& view, int64_t end);
pit::Nanos EndOfWindows(int64_t end);
/// WindowEvents' partitions where it is not known how much comes.
inline constexpr int32_t kPartitionsOfUnknownSize = 64;

/// Makes the online rows of a window view: a pass over its source, then WindowEvents. How many
/// partitions these have, and so the order of the keys, depends on the source alone.
class WindowMaterialization : public ViewBlocks {
 public:
  /// Of the events of the longest window before `end` (microseconds). `sources`: where the view's
  /// is open already.
  static Result<std::unique_ptr<ViewBlocks>> Open(const Context& context,
                                                  const Definitions& definitions,
                                                  const OnlineTable& table, const FeatureView& view,
                                                  const OfflineStore& store,
                                                  const SharedSources& sources, int64_t end,
                                                  int64_t value_count_bytes);

  ViewPass& pass() override { return *pass_; }
  Status FinishPass(MaterializationResult* result) override;
  int64_t num_rows() const override { return 0; }
  int64_t Skip(int64_t rows) override { return rows; }
  Result<std::optional<OnlineBlock>> NextBlock() override;

 private:
  WindowMaterialization(const Context& context, const OnlineTable& table, ViewSource source,
                        EntityKeyEncoder encoder, int64_t value_count_bytes)
      : context_(context),
        table_(table),
        source_(std::move(source)),
        encoder_(std::move(encoder)),
        value_count_bytes_(value_count_bytes) {}
  Status BeginEvents(const std::vector<int>& values);

  const Context context_;
  const OnlineTable table_;
  const ViewSource source_;
  const EntityKeyEncoder encoder_;
  const int64_t value_count_bytes_;
  std::optional<ViewPass> pass_;
  std::unique_ptr<WindowEvents> events_;
};

}  // namespace gnomon::feature
