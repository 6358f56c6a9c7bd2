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
#include "feature/engine/online_blocks.h"
#include "feature/engine/row_partitions.h"
#include "feature/engine/view_source.h"
#include "feature/online/entity_key.h"
#include "feature/online/online_store.h"
#include "feature/online/window_folding.h"

namespace gnomon::feature {

/// Makes the online rows of a window view. The events of its windows are cut up by key, in memory
/// or spilled (RowPartitions); then one partition after the other is put into the order of its keys
/// and folded. How many partitions there are, and so the order of the keys, depends on the source
/// alone. Not thread-safe, but blocks may be made on another thread than the one that made this.
class WindowMaterialization {
 public:
  /// Reads the events: those of the longest window before `end` (microseconds).
  static Result<std::unique_ptr<WindowMaterialization>> Make(
      const Context& context, const Definitions& definitions, const OnlineTable& table,
      const FeatureView& view, const OfflineStore& store, int64_t end, int64_t value_count_bytes,
      MaterializationResult* result);

  Result<std::optional<OnlineBlock>> NextBlock();

 private:
  struct KeyedEvents;

  WindowMaterialization(const Context& context, const OnlineTable& table, ViewSource source,
                        EntityKeyEncoder encoder, WindowFolding folding)
      : context_(context),
        table_(table),
        source_(std::move(source)),
        encoder_(std::move(encoder)),
        folding_(std::move(folding)) {}

  Status ReadEvents(int64_t end, MaterializationResult* result);
  Result<KeyedEvents> OrderByKey(const arrow::RecordBatch& events) const;
  Result<std::shared_ptr<arrow::RecordBatch>> RawEvents(const arrow::RecordBatch& events,
                                                        const std::vector<int64_t>& order) const;
  Result<OnlineBlock> MakeBlock(const arrow::RecordBatch& events, MemoryReservation memory) const;

  const Context context_;
  const OnlineTable table_;
  const ViewSource source_;
  const EntityKeyEncoder encoder_;
  const WindowFolding folding_;
  std::vector<std::string> columns_;       ///< that are aggregated
  std::vector<ValueType> types_;           ///< of them
  std::unique_ptr<RowPartitions> events_;  ///< keys, event times, created times, values
  int32_t next_partition_ = 0;
};

}  // namespace gnomon::feature
