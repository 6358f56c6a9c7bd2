#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/context.h"
#include "base/error.h"
#include "feature/definition/definition.h"
#include "feature/engine/failed_rows.h"
#include "feature/engine/materialization.h"
#include "feature/engine/row_partitions.h"
#include "feature/engine/shared_sources.h"
#include "feature/engine/view_blocks.h"
#include "feature/online/entity_key.h"
#include "feature/online/online_store.h"
#include "feature/online/window_folding.h"
#include "table/key_index.h"

namespace gnomon::feature {

/// The columns that a window view aggregates, each once.
std::vector<std::string> AggregatedColumns(const FeatureView& view);
/// What of a window view's source can matter to reads from `end` on (microseconds).
SourceRange RangeUntil(const FeatureView& view, int64_t end);

/// Makes the online rows of a window view. The events of its windows are cut up by key, in memory
/// or spilled (RowPartitions); then one partition after the other is put into the order of its keys
/// and folded. How many partitions there are, and so the order of the keys, depends on the source
/// alone.
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
  struct KeyedEvents;

  WindowMaterialization(const Context& context, const OnlineTable& table, ViewSource source,
                        EntityKeyEncoder encoder, WindowFolding folding)
      : context_(context),
        table_(table),
        source_(std::move(source)),
        encoder_(std::move(encoder)),
        folding_(std::move(folding)) {}

  Status BeginEvents(const std::vector<int>& values);
  Status AddEvents(const ViewBatch& batch);
  Result<KeyedEvents> OrderByKey(const arrow::RecordBatch& events) const;
  Result<std::shared_ptr<arrow::RecordBatch>> RawEvents(const arrow::RecordBatch& events,
                                                        const std::vector<int64_t>& order) const;
  Status AddRows(const arrow::RecordBatch& events, const KeyedEvents& keyed,
                 OnlineBlock* block) const;
  Result<KeyedEvents> FindWritable(const arrow::RecordBatch& events, const KeyedEvents& keyed,
                                   FailedRows* failed) const;
  arrow::ArrayVector KeysOf(const arrow::RecordBatch& events) const;
  std::string PlaceOfKeys() const;
  Result<OnlineBlock> MakeBlock(const arrow::RecordBatch& events, MemoryReservation memory) const;

  const Context context_;
  const OnlineTable table_;
  const ViewSource source_;
  const EntityKeyEncoder encoder_;
  const WindowFolding folding_;
  std::vector<std::string> columns_;  ///< that are aggregated
  std::vector<ValueType> types_;      ///< of them
  std::optional<ViewPass> pass_;
  std::optional<table::KeyIndex> hash_;    ///< of keys
  std::unique_ptr<RowPartitions> events_;  ///< keys, event times, created times, values
  std::atomic<int64_t> null_keys_{0};
  int32_t next_partition_ = 0;
};

}  // namespace gnomon::feature
