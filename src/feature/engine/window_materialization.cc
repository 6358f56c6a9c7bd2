#include "feature/engine/window_materialization.h"

#include <algorithm>
#include <utility>

#include <arrow/type.h>

#include "feature/engine/latest_materialization.h"
#include "pit/time_unit.h"

namespace gnomon::feature {
namespace {

constexpr int64_t kMicro = 1000;  ///< nanoseconds
constexpr int64_t kPartitionBytes = int64_t{1} << 20;
constexpr int64_t kMostPartitions = 1024;
/// Guessed width of a text or list.
constexpr int64_t kVariableWidth = 32;

/// So many that one has about kPartitionBytes.
int32_t NumPartitions(const ViewSource& source, const arrow::Schema& schema) {
  int64_t row_bytes = 0;
  for (const auto& field : schema.fields()) {
    const int width = field->type()->byte_width();
    row_bytes += width > 0 ? width : kVariableWidth;
  }
  int64_t bytes = 0;
  for (int64_t i = 0; i < source.table()->num_partitions(); ++i) {
    const int64_t rows = source.table()->num_rows(i);
    if (rows < 0) return kPartitionsOfUnknownSize;
    bytes += rows * row_bytes;
  }
  return static_cast<int32_t>(std::min(kMostPartitions, bytes / kPartitionBytes + 1));
}

}  // namespace

SourceRange RangeUntil(const FeatureView& view, int64_t end) {
  SourceRange range{.min = {}, .max = end, .created_before = {}};
  const auto window = view.LongestWindow();
  int64_t oldest = 0;
  if (window && !__builtin_sub_overflow(end, *window, &oldest)) range.min = oldest;
  return range;
}

pit::Nanos EndOfWindows(int64_t end) { return pit::ToNanos(end, kMicro); }

std::optional<pit::Nanos> BeginOfWindows(const FeatureView& view, int64_t end) {
  const auto window = view.LongestWindow();
  if (!window) return std::nullopt;
  return EndOfWindows(end) - pit::ToNanos(*window, kMicro) + 1;
}

Result<std::unique_ptr<ViewBlocks>> WindowMaterialization::Open(
    const Context& context, const Definitions& definitions, const OnlineTable& table,
    const FeatureView& view, const OfflineStore& store, const SharedSources& sources, int64_t end,
    int64_t value_count_bytes) {
  const std::vector<std::string> columns = AggregatedColumns(view);
  SourceReads reads;
  GNOMON_ASSIGN_OR_RETURN(ViewSource source,
                          ViewSource::Open(context, definitions, view, store, columns,
                                           RangeUntil(view, end), &reads, sources.TableOf(view)));
  GNOMON_ASSIGN_OR_RETURN(EntityKeyEncoder encoder, EntityKeysOf(definitions, view));
  std::unique_ptr<WindowMaterialization> made(new WindowMaterialization(
      context, table, std::move(source), std::move(encoder), value_count_bytes));
  GNOMON_ASSIGN_OR_RETURN(const auto values, made->source_.Columns(columns));
  ViewScan scan{.values = values, .first = BeginOfWindows(view, end), .last = EndOfWindows(end)};
  WindowMaterialization* const self = made.get();
  made->pass_.emplace(
      made->context_, made->source_, std::move(scan),
      [self](const ViewBatch& batch) {
        return self->source_.WithoutMemory(self->events_->Add(
            NumberOfRow(batch.partition, batch.first_row), batch.EventColumns()));
      },
      [self, values] { return self->BeginEvents(values); });
  return made;
}

Status WindowMaterialization::BeginEvents(const std::vector<int>& values) {
  events_.reset();
  EventShape shape{.schema = source_.EventSchema(values),
                   .num_keys = source_.keys().size(),
                   .has_created = source_.created() >= 0};
  const int32_t num_partitions = NumPartitions(source_, *shape.schema);
  return WindowEvents::Make(context_, table_, source_.view(), encoder_, std::move(shape),
                            num_partitions, value_count_bytes_)
      .Value(&events_);
}

Status WindowMaterialization::FinishPass(MaterializationResult* result) {
  const ViewScanStats stats = pass_->stats();
  result->source_rows = stats.rows;
  result->skipped_rows = stats.null_times + events_->null_keys();
  GNOMON_RETURN_NOT_OK(source_.WithoutMemory(events_->Finish()));
  result->spilled_bytes = events_->spilled_bytes();
  return Status::OK();
}

Result<std::optional<OnlineBlock>> WindowMaterialization::NextBlock() {
  auto block = events_->NextBlock();
  if (!block.ok()) return source_.WithoutMemory(block.status());
  return block;
}

}  // namespace gnomon::feature
