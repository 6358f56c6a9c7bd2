#include <algorithm>
#include <map>
#include <utility>

#include <arrow/array.h>
#include <arrow/array/concatenate.h>
#include <arrow/chunked_array.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <arrow/type.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/memory_reservation.h"
#include "base/progress.h"
#include "base/text.h"
#include "dataset/asof/asof_labels.h"
#include "feature/engine/derived_columns.h"
#include "feature/engine/plain_views.h"
#include "feature/engine/retrieval.h"
#include "feature/engine/rows_read_once.h"
#include "feature/engine/shared_sources.h"
#include "feature/engine/stage_rows.h"
#include "feature/engine/view_columns.h"
#include "feature/engine/window_retrieval.h"
#include "table/column.h"
#include "table/row_bytes.h"

/// A retrieval as a stream: entity rows are made ready (times and keys), sources are read past
/// them, window views are evaluated part by part, then the rows leave block by block.
namespace gnomon::feature {
namespace {

constexpr int64_t kBlockBytes = int64_t{1} << 20;
constexpr int64_t kFewestBlockRows = 1024;
constexpr int64_t kMostBlockRows = int64_t{64} * 1024;

/// Adds the seconds of its life to a step of the statistics.
class StepTimer {
 public:
  StepTimer(std::string name, RetrievalStats* stats) : name_(std::move(name)), stats_(stats) {}
  ~StepTimer() {
    const double seconds = MonotonicSeconds() - start_;
    const auto step =
        std::ranges::find(stats_->seconds, name_, &std::pair<std::string, double>::first);
    if (step != stats_->seconds.end()) step->second += seconds;
    if (step == stats_->seconds.end()) stats_->seconds.emplace_back(std::move(name_), seconds);
  }
  StepTimer(const StepTimer&) = delete;
  StepTimer& operator=(const StepTimer&) = delete;

 private:
  std::string name_;
  RetrievalStats* stats_;
  double start_ = MonotonicSeconds();
};

/// What is too much says what to do about it.
Status Hinted(const Status& status) {
  if (status.ok() || KindOf(status) != ErrorKind::kExhausted || !HintOf(status).empty())
    return status;
  return WithHint(status, "raise --memory-limit (memory_limit in feature_store.yaml)");
}

class StreamedRows : public HistoricalRows {
 public:
  StreamedRows(const Context& context, const FeaturePlan& plan, const OfflineStore& store,
               std::shared_ptr<const table::PartitionedTable> entity_rows, RetrievalOptions options,
               RetrievalStats stats)
      : context_(context),
        plan_(plan),
        store_(store),
        entity_rows_(std::move(entity_rows)),
        options_(std::move(options)),
        stats_(std::move(stats)),
        block_memory_(context.memory) {}

  /// Everything but the blocks.
  Status Open() { return Hinted(OpenAll()); }

  const std::shared_ptr<arrow::Schema>& schema() const override { return schema_; }
  Result<std::shared_ptr<arrow::RecordBatch>> Next() override {
    auto block = NextBlock();
    return block.ok() ? block : Hinted(block.status());
  }
  const RetrievalStats& stats() const override { return stats_; }

 private:
  Status OpenAll();
  Status ReserveBlocks();
  Result<std::shared_ptr<arrow::RecordBatch>> NextBlock();
  void MakeSchema();
  Status ReadLabels();
  Status OpenShared();
  Result<std::unique_ptr<WindowRetrieval>> OpenWindow(const PlannedView& planned) const;
  Status MatchPlain();
  Status ReadSharedWindows();
  Status EvaluateWindow(const PlannedView& planned);

  Result<std::shared_ptr<arrow::RecordBatch>> JoinedBlock();
  Status KeepRest();
  Result<std::shared_ptr<arrow::RecordBatch>> Assemble(const arrow::RecordBatch& joined);
  Result<std::shared_ptr<arrow::Array>> RequestColumn(const Field& field,
                                                      const arrow::RecordBatch& joined) const;

  const Context context_;
  const FeaturePlan& plan_;
  const OfflineStore& store_;
  std::shared_ptr<const table::PartitionedTable> entity_rows_;
  const RetrievalOptions options_;
  RetrievalStats stats_;
  std::shared_ptr<arrow::Schema> schema_;
  int64_t block_rows_ = 0;
  std::shared_ptr<dataset::AsOfLabels> labels_;
  SharedSources shared_;
  std::map<const PlannedView*, std::unique_ptr<WindowRetrieval>> windows_;
  std::unique_ptr<PlainViews> plain_;
  std::map<const PlannedView*, std::unique_ptr<LabelValues>> values_;  ///< of window views
  ReadRows rows_;

  MemoryReservation block_memory_;
  std::vector<std::shared_ptr<arrow::RecordBatch>> pending_;  ///< joined rows of the next block
  int64_t pending_rows_ = 0;
  int64_t block_ = 0;
};

void StreamedRows::MakeSchema() {
  arrow::FieldVector fields = entity_rows_->schema()->fields();
  for (const PlannedOutput& output : plan_.outputs)
    fields.push_back(arrow::field(output.name, output.dtype.ToArrow()));
  schema_ = arrow::schema(std::move(fields));
  block_rows_ =
      std::clamp(kBlockBytes / table::GuessRowBytes(*schema_), kFewestBlockRows, kMostBlockRows);
}

/// Text does not say how many rows it has, and is slow to read.
bool IsText(const table::PartitionedTable& table) {
  return table.num_partitions() > 0 && table.num_rows(0) < 0;
}

Status StreamedRows::ReadLabels() {
  StepTimer timer("entity rows", &stats_);
  if (IsText(*entity_rows_)) {
    GNOMON_ASSIGN_OR_RETURN(entity_rows_, ReadOnce(context_, *entity_rows_));
  }
  GNOMON_ASSIGN_OR_RETURN(const std::string time, EventTimestampColumn(*entity_rows_->schema()));
  std::vector<std::vector<std::string>> key_sets;
  for (const PlannedView& planned : plan_.views) key_sets.push_back(planned.entity_columns);
  auto labels = dataset::AsOfLabels::Read(context_, entity_rows_, time, key_sets, options_.join);
  if (!labels.ok() && KindOf(labels.status()) == ErrorKind::kExhausted)
    return Hinted(WithContext(labels.status(), "times and keys of the entity rows"));
  GNOMON_ASSIGN_OR_RETURN(labels_, std::move(labels));
  stats_.entity_rows = labels_->num_rows();
  stats_.null_key_rows = labels_->null_rows();
  stats_.spilled_bytes += labels_->spilled_bytes();
  if (labels_->null_rows() > 0) {
    LogWarning("feature",
               Concat("entity rows with a null join key or timestamp get null features: ",
                      labels_->null_rows()));
  }
  return Status::OK();
}

/// Window views of shared sources are opened before the first pass; others, which hold the rows of
/// the views below them, when it is their turn.
Status StreamedRows::OpenShared() {
  const auto times = labels_->range().value_or(table::TimeRange{.min = 0, .max = 0});
  std::vector<SourceUse> uses;
  for (const PlannedView& planned : plan_.views) {
    uses.push_back({planned.view, ColumnsToRead(planned),
                    RangeToRead(planned, times.min, times.max, options_)});
  }
  GNOMON_ASSIGN_OR_RETURN(shared_, SharedSources::Open(context_, *plan_.definitions, store_, uses));
  for (const PlannedView& planned : plan_.views) {
    if (!planned.view->is_window() || shared_.GroupOf(*planned.view) < 0) continue;
    GNOMON_ASSIGN_OR_RETURN(windows_[&planned], OpenWindow(planned));
  }
  return Status::OK();
}

Result<std::unique_ptr<WindowRetrieval>> StreamedRows::OpenWindow(
    const PlannedView& planned) const {
  return WindowRetrieval::Open(context_, plan_, planned, *labels_, store_, shared_, options_);
}

Status StreamedRows::MatchPlain() {
  StepTimer timer("plain views", &stats_);
  std::vector<const PlannedView*> plain;
  for (const PlannedView& planned : plan_.views) {
    if (!planned.view->is_window()) plain.push_back(&planned);
  }
  std::vector<WindowRetrieval*> windows;
  for (const auto& [planned, window] : windows_) windows.push_back(window.get());
  GNOMON_ASSIGN_OR_RETURN(plain_, PlainViews::Open(context_, plan_, std::move(plain), entity_rows_,
                                                   labels_, store_, shared_, windows, options_));
  return plain_->Match();
}

/// Those that the join has not read: source by source, the views of each side by side.
Status StreamedRows::ReadSharedWindows() {
  std::map<int, std::vector<ViewPass*>> groups;
  for (const auto& [planned, window] : windows_) {
    if (!window->pass().has_begun())
      groups[shared_.GroupOf(*planned->view)].push_back(&window->pass());
  }
  if (groups.empty()) return Status::OK();
  StepTimer timer("window views' events", &stats_);
  for (const auto& [group, passes] : groups) {
    GNOMON_RETURN_NOT_OK(passes.front()->source().WithoutMemory(RunPasses(context_, passes)));
    ++stats_.scans;
  }
  return Status::OK();
}

Status StreamedRows::EvaluateWindow(const PlannedView& planned) {
  StepTimer timer(Concat("view ", planned.alias), &stats_);
  ProgressPhase phase(context_.progress, Concat("join ", planned.alias), labels_->num_rows());
  std::unique_ptr<WindowRetrieval> windows = std::move(windows_[&planned]);
  if (windows == nullptr) {
    GNOMON_ASSIGN_OR_RETURN(windows, OpenWindow(planned));
    ViewPass& pass = windows->pass();
    GNOMON_RETURN_NOT_OK(pass.source().WithoutMemory(RunPasses(context_, {&pass})));
    stats_.scans += planned.view->is_derived() ? windows->reads().scans : 1;
  }
  if (planned.view->is_derived()) {
    stats_.source_rows += windows->reads().rows;
  } else {
    rows_.Add(*planned.view, windows->pass().stats().rows_read);
  }
  GNOMON_ASSIGN_OR_RETURN(values_[&planned], windows->Evaluate(block_rows_, &stats_));
  phase.Advance(labels_->num_rows());
  return Status::OK();
}

/// Two: one is put together, the one before it is written. Of a small limit a part: they are small.
Status StreamedRows::ReserveBlocks() {
  const int64_t bytes =
      2 * std::min(block_rows_, labels_->num_rows()) * table::GuessRowBytes(*schema_);
  const bool limited = context_.memory != nullptr && context_.memory->limit() > 0;
  return block_memory_.Grow(limited ? std::min(bytes, context_.memory->limit() / 32) : bytes);
}

Status StreamedRows::OpenAll() {
  MakeSchema();
  GNOMON_RETURN_NOT_OK(CheckEntityRows(plan_, *entity_rows_->schema()));
  GNOMON_RETURN_NOT_OK(ReadLabels());
  GNOMON_RETURN_NOT_OK(ReserveBlocks());
  GNOMON_RETURN_NOT_OK(OpenShared());
  GNOMON_RETURN_NOT_OK(MatchPlain());
  GNOMON_RETURN_NOT_OK(ReadSharedWindows());
  for (const PlannedView& planned : plan_.views) {
    GNOMON_RETURN_NOT_OK(context_.Check());
    if (planned.view->is_window()) GNOMON_RETURN_NOT_OK(EvaluateWindow(planned));
  }
  plain_->AddStats(&rows_, &stats_);
  stats_.source_rows += rows_.total();
  return Status::OK();
}

/// What is left of a batch would hold all of it while the next one is made.
Status StreamedRows::KeepRest() {
  std::shared_ptr<arrow::RecordBatch>& last = pending_.back();
  arrow::ArrayVector columns;
  for (const auto& column : last->columns()) {
    GNOMON_ASSIGN_OR_RETURN(auto copy, arrow::Concatenate({column}));
    columns.push_back(std::move(copy));
  }
  last = arrow::RecordBatch::Make(last->schema(), last->num_rows(), std::move(columns));
  return Status::OK();
}

/// The next `block_rows_` joined rows, fewer at the end; null after it.
Result<std::shared_ptr<arrow::RecordBatch>> StreamedRows::JoinedBlock() {
  while (pending_rows_ < block_rows_) {
    if (!pending_.empty()) GNOMON_RETURN_NOT_OK(KeepRest());
    GNOMON_ASSIGN_OR_RETURN(auto batch, plain_->Next());
    if (batch == nullptr) break;
    if (batch->num_rows() == 0) continue;
    pending_rows_ += batch->num_rows();
    pending_.push_back(std::move(batch));
  }
  if (pending_.empty()) return nullptr;
  const int64_t count = std::min(block_rows_, pending_rows_);
  const std::shared_ptr<arrow::RecordBatch> last = pending_.back();
  const int64_t rest = pending_rows_ - count;
  pending_.back() = last->Slice(0, last->num_rows() - rest);
  std::vector<std::shared_ptr<arrow::RecordBatch>> pieces = std::exchange(pending_, {});
  if (rest > 0) pending_.push_back(last->Slice(last->num_rows() - rest));
  pending_rows_ = rest;
  if (pieces.size() == 1) return pieces.front();
  arrow::ArrayVector columns;
  for (int i = 0; i < last->num_columns(); ++i) {
    arrow::ArrayVector arrays;
    for (const auto& piece : pieces) arrays.push_back(piece->column(i));
    GNOMON_ASSIGN_OR_RETURN(auto whole, table::SingleChunk(arrow::ChunkedArray(std::move(arrays))));
    columns.push_back(std::move(whole));
  }
  return arrow::RecordBatch::Make(last->schema(), count, std::move(columns));
}

/// Request data of on-demand views, of the declared type.
Result<std::shared_ptr<arrow::Array>> StreamedRows::RequestColumn(
    const Field& field, const arrow::RecordBatch& joined) const {
  const int place = entity_rows_->schema()->GetFieldIndex(field.name);
  auto cast = table::CastLossless(joined.column(place), field.dtype.ToArrow());
  if (!cast.ok()) return WithContext(cast.status(), Concat("request data ", Quoted(field.name)));
  return cast;
}

Result<std::shared_ptr<arrow::RecordBatch>> StreamedRows::Assemble(
    const arrow::RecordBatch& joined) {
  MemoryReservation memory(context_.memory);
  PlanInputs inputs;
  inputs.num_rows = joined.num_rows();
  for (const PlannedView& planned : plan_.views) {
    if (planned.view->is_window()) {
      GNOMON_ASSIGN_OR_RETURN(inputs.views.emplace_back(),
                              values_.at(&planned)->Take(block_, &memory));
    } else {
      GNOMON_ASSIGN_OR_RETURN(inputs.views.emplace_back(), plain_->FeaturesOf(planned, joined));
    }
  }
  for (const Field& field : plan_.request_fields) {
    GNOMON_ASSIGN_OR_RETURN(inputs.request.emplace_back(), RequestColumn(field, joined));
  }
  StepTimer timer("on-demand expressions", &stats_);
  auto outputs = EvaluateOutputs(plan_, inputs);
  if (!outputs.ok()) return WithRowMoved(outputs.status(), block_ * block_rows_);
  arrow::ArrayVector columns = joined.columns();
  columns.resize(static_cast<size_t>(entity_rows_->schema()->num_fields()));
  columns.insert(columns.end(), outputs->begin(), outputs->end());
  return arrow::RecordBatch::Make(schema_, joined.num_rows(), std::move(columns));
}

Result<std::shared_ptr<arrow::RecordBatch>> StreamedRows::NextBlock() {
  GNOMON_RETURN_NOT_OK(context_.Check());
  std::shared_ptr<arrow::RecordBatch> joined;
  {
    StepTimer timer("gather", &stats_);
    GNOMON_ASSIGN_OR_RETURN(joined, JoinedBlock());
  }
  if (joined == nullptr) return nullptr;
  GNOMON_ASSIGN_OR_RETURN(auto rows, Assemble(*joined));
  ++block_;
  return rows;
}

}  // namespace

Result<std::unique_ptr<HistoricalRows>> OpenHistorical(
    const Context& context, const FeaturePlan& plan, const OfflineStore& store,
    std::shared_ptr<const table::PartitionedTable> entity_rows, const RetrievalOptions& options) {
  RetrievalStats stats;
  if (options.in_processes) {
    auto rows = OpenInProcesses(context, plan, store, *entity_rows, options);
    if (rows.ok() || KindOf(rows.status()) != ErrorKind::kUnsupported) return rows;
    stats.joins.emplace_back("stages",
                             Concat("none, all in this process: ", rows.status().message()));
  }
  auto rows = std::make_unique<StreamedRows>(context, plan, store, std::move(entity_rows), options,
                                             std::move(stats));
  GNOMON_RETURN_NOT_OK(rows->Open());
  return rows;
}

}  // namespace gnomon::feature
