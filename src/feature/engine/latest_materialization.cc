#include "feature/engine/latest_materialization.h"

#include <algorithm>
#include <utility>

#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <arrow/util/byte_size.h>

#include "base/memory.h"
#include "base/text.h"
#include "feature/engine/derived_columns.h"
#include "feature/engine/latest_rows.h"
#include "table/row_bytes.h"

namespace gnomon::feature {
namespace {

constexpr int64_t kMostBlockRows = 8 * kOnlineBatchRows;
/// Guessed width of an encoded key.
constexpr int64_t kKeyWidth = table::kGuessedValueBytes;

}  // namespace

Result<EntityKeyEncoder> EntityKeysOf(const Definitions& definitions, const FeatureView& view) {
  GNOMON_ASSIGN_OR_RETURN(auto join_keys, JoinKeys(definitions, view));
  std::vector<ValueType> types;
  for (const std::string& name : view.entities)
    types.push_back(definitions.FindEntity(name)->value_type);
  return EntityKeyEncoder::Make(std::move(join_keys), std::move(types));
}

std::vector<std::string> LatestFeatures(const FeatureView& view) {
  std::vector<std::string> names;
  for (const Field& field : view.schema) names.push_back(field.name);
  return names;
}

Result<std::unique_ptr<ViewBlocks>> LatestMaterialization::Open(
    const Context& context, const Definitions& definitions, const FeatureView& view,
    const OfflineStore& store, const SharedSources& sources, int64_t start, int64_t end) {
  const std::vector<std::string> names = LatestFeatures(view);
  const SourceRange range{.min = start, .max = end, .created_before = {}};
  SourceReads reads;
  GNOMON_ASSIGN_OR_RETURN(ViewSource source,
                          ViewSource::Open(context, definitions, view, store, names, range, &reads,
                                           sources.TableOf(view)));
  GNOMON_ASSIGN_OR_RETURN(EntityKeyEncoder encoder, EntityKeysOf(definitions, view));
  std::unique_ptr<LatestMaterialization> made(
      new LatestMaterialization(context, std::move(source), std::move(encoder)));
  GNOMON_ASSIGN_OR_RETURN(made->features_, made->source_.Columns(names));
  made->row_bytes_ = kKeyWidth;
  for (const int column : made->features_)
    made->row_bytes_ +=
        2 * table::GuessValueBytes(*made->source_.table()->schema()->field(column)->type());
  LatestMaterialization* const self = made.get();
  made->pass_.emplace(
      made->context_, made->source_, ScanOf(range),
      [self](const ViewBatch& batch) { return self->newest_->Add(batch); },
      [self] {
        self->newest_.reset();
        return NewestRows::Make(self->context_, self->source_).Value(&self->newest_);
      });
  return made;
}

Status LatestMaterialization::FinishPass(MaterializationResult* result) {
  newest_->Finish();
  const ViewScanStats stats = pass_->stats();
  result->source_rows = stats.rows;
  result->skipped_rows = stats.null_times + newest_->null_keys();
  return Status::OK();
}

/// Whole batches, so that the memory limit does not change what is written together.
int64_t LatestMaterialization::BlockRows() const {
  if (context_.memory == nullptr || context_.memory->limit() == 0) return kMostBlockRows;
  const int64_t available = context_.memory->limit() - context_.memory->used();
  const int64_t fitting = available / (4 * row_bytes_) / kOnlineBatchRows * kOnlineBatchRows;
  return std::clamp(fitting, kOnlineBatchRows, kMostBlockRows);
}

Result<std::optional<OnlineBlock>> LatestMaterialization::NextBlock() {
  const std::vector<NewestRow>& rows = newest_->rows();
  if (next_row_ == rows.size()) return std::nullopt;
  const size_t count = std::min(static_cast<size_t>(BlockRows()), rows.size() - next_row_);
  OnlineBlock block;
  block.memory = MemoryReservation(context_.memory);
  GNOMON_RETURN_NOT_OK(block.memory.Grow(static_cast<int64_t>(count) * row_bytes_));
  const auto wanted = std::span(rows).subspan(next_row_, count);
  next_row_ += count;
  GNOMON_RETURN_NOT_OK(FillWith(wanted, &block));
  const int64_t bytes = arrow::util::TotalBufferSize(*block.values) +
                        static_cast<int64_t>(block.key_bytes.capacity()) +
                        static_cast<int64_t>(count) * kKeyWidth;
  GNOMON_RETURN_NOT_OK(block.memory.Grow(std::max<int64_t>(0, bytes - block.memory.bytes())));
  block.memory.Shrink(block.memory.bytes() - bytes);
  return block;
}

Status LatestMaterialization::FillWith(std::span<const NewestRow> wanted,
                                       OnlineBlock* block) const {
  std::vector<int64_t> numbers;
  LatestRows rows;
  for (const NewestRow& row : wanted) {
    numbers.push_back(row.number);
    rows.event_times.push_back(EventMicros(row.time, source_.time_unit()));
    rows.created_times.push_back(
        source_.created() < 0 ? row.created : CreatedMicros(row.created, source_.created_unit()));
  }
  GNOMON_ASSIGN_OR_RETURN(rows.keys, GatherViewRows(context_, source_, source_.keys(), numbers));
  GNOMON_ASSIGN_OR_RETURN(rows.features, GatherViewRows(context_, source_, features_, numbers));
  const auto place_of = [&](int64_t row) { return PlaceOf(numbers[static_cast<size_t>(row)]); };
  return FillBlock(source_.view(), encoder_, rows, place_of, block);
}

std::string LatestMaterialization::PlaceOf(int64_t number) const {
  const int64_t row = FirstRowOf(*source_.table(), number >> 32) + (number & 0xffff'ffff);
  return Concat("row ", row, " of data source ", Quoted(source_.source().name));
}

}  // namespace gnomon::feature
