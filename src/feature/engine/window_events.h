#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/context.h"
#include "base/error.h"
#include "feature/definition/definition.h"
#include "feature/engine/failed_rows.h"
#include "feature/engine/online_blocks.h"
#include "feature/engine/row_partitions.h"
#include "feature/online/entity_key.h"
#include "feature/online/online_store.h"
#include "feature/online/window_folding.h"
#include "table/key_index.h"

namespace gnomon::feature {

/// The columns that a window view aggregates, each once.
std::vector<std::string> AggregatedColumns(const FeatureView& view);

/// Columns of a window view's events: keys, event times, created times where there are some, then
/// AggregatedColumns.
struct EventShape {
  std::shared_ptr<arrow::Schema> schema;
  size_t num_keys = 0;
  bool has_created = false;
};

/// Makes the online rows of a window view from its events. These are cut up by key, in memory or
/// spilled (RowPartitions); then one partition after the other is put into the order of its keys
/// and folded.
class WindowEvents {
 public:
  /// `view` outlives it. The order of the rows depends on the events and `num_partitions` alone.
  static Result<std::unique_ptr<WindowEvents>> Make(const Context& context, OnlineTable table,
                                                    const FeatureView& view,
                                                    EntityKeyEncoder encoder, EventShape shape,
                                                    int32_t num_partitions,
                                                    int64_t value_count_bytes);

  /// `position` orders batches, in whatever order they come. Event times are not null; events with
  /// a null key are counted and left out. Thread-safe.
  Status Add(int64_t position, arrow::ArrayVector columns);
  /// No more events come.
  Status Finish() { return events_->Finish(); }
  int64_t null_keys() const { return null_keys_; }
  int64_t spilled_bytes() const { return events_->spilled_bytes(); }
  /// After Finish: the next rows, nothing at the end.
  Result<std::optional<OnlineBlock>> NextBlock();

 private:
  struct KeyedEvents;

  WindowEvents(const Context& context, OnlineTable table, const FeatureView& view,
               EntityKeyEncoder encoder, EventShape shape, int64_t value_count_bytes);
  size_t num_keys() const { return shape_.num_keys; }
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
  const FeatureView& view_;
  const EntityKeyEncoder encoder_;
  const WindowFolding folding_;
  const EventShape shape_;
  const int64_t time_unit_;                 ///< nanoseconds
  const int64_t created_unit_;              ///< nanoseconds; 0: no created times
  const std::vector<std::string> columns_;  ///< that are aggregated
  std::vector<ValueType> types_;            ///< of them
  std::optional<table::KeyIndex> hash_;     ///< of keys
  std::unique_ptr<RowPartitions> events_;
  std::atomic<int64_t> null_keys_{0};
  int32_t next_partition_ = 0;
};

}  // namespace gnomon::feature
