#include "feature/engine/source_rows.h"

#include <map>
#include <utility>

#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "base/text.h"
#include "feature/engine/row_partitions.h"
#include "feature/engine/shared_sources.h"
#include "feature/engine/view_source.h"

namespace gnomon::feature {

namespace {

/// The rows of one view, from before the pass over its source until they are one batch.
class RowsOfView : public SourceRowStream {
 public:
  static Result<std::unique_ptr<RowsOfView>> Open(
      const Context& context, const Definitions& definitions, const FeatureView& view,
      const OfflineStore& store, const SharedSources& sources,
      const std::vector<std::string>& columns, const SourceRange& range, SourceReads* reads) {
    GNOMON_ASSIGN_OR_RETURN(ViewSource source,
                            ViewSource::Open(context, definitions, view, store, columns, range,
                                             reads, sources.TableOf(view)));
    ViewScan scan = ScanOf(range);
    GNOMON_ASSIGN_OR_RETURN(scan.values, source.Columns(columns));
    return std::unique_ptr<RowsOfView>(new RowsOfView(context, std::move(source), std::move(scan)));
  }

  ViewPass& pass() { return pass_; }

  /// After the pass, once.
  Result<SourceRows> Take() {
    GNOMON_RETURN_NOT_OK(rows_.Finish());
    SourceRows read;
    read.memory = std::make_shared<MemoryReservation>(context_.memory);
    auto taken = rows_.Take(0, read.memory.get());
    if (!taken.ok()) return source_.WithoutMemory(taken.status());
    GNOMON_RETURN_NOT_OK(Name(**taken, &read));
    return read;
  }

  /// After the pass, instead of Take.
  Status Finish() { return source_.WithoutMemory(rows_.Finish()); }
  int64_t time_unit() const override { return source_.time_unit(); }
  int64_t spilled_bytes() const override { return rows_.spilled_bytes(); }

  Result<std::optional<SourceRows>> Next() override {
    if (next_ == rows_.num_batches()) return std::nullopt;
    SourceRows read;
    read.memory = std::make_shared<MemoryReservation>(context_.memory);
    const auto batch = rows_.TakeBatch(next_++, read.memory.get());
    GNOMON_RETURN_NOT_OK(Name(*batch, &read));
    return read;
  }

 private:
  RowsOfView(const Context& context, ViewSource source, ViewScan scan)
      : context_(context),
        source_(std::move(source)),
        rows_(context, source_.EventSchema(scan.values), 1, std::string()),
        pass_(context_, source_, std::move(scan),
              [this](const ViewBatch& batch) { return Add(batch); }) {}

  Status Name(const arrow::RecordBatch& taken, SourceRows* read) const {
    const arrow::ArrayVector& arrays = taken.columns();
    read->num_rows = taken.num_rows();
    auto next = arrays.begin();
    for (size_t i = 0; i < source_.keys().size(); ++i) read->keys.push_back(*next++);
    read->time_column = *next++;
    if (source_.created() >= 0) read->created_column = *next++;
    read->columns.assign(next, arrays.end());
    GNOMON_ASSIGN_OR_RETURN(read->times,
                            EventTimesOf(*read->time_column, read->created_column.get()));
    return Status::OK();
  }

  Status Add(const ViewBatch& batch) {
    const std::vector<int32_t> all(static_cast<size_t>(batch.num_rows), 0);
    return rows_.Add(NumberOfRow(batch.partition, batch.first_row), batch.EventColumns(), all);
  }

  const Context& context_;
  const ViewSource source_;
  RowPartitions rows_;
  ViewPass pass_;
  int64_t next_ = 0;
};

/// Opened, and the pass run.
Result<std::unique_ptr<RowsOfView>> RowsOfOneView(const Context& context,
                                                  const Definitions& definitions,
                                                  const FeatureView& view,
                                                  const OfflineStore& store,
                                                  const std::vector<std::string>& columns,
                                                  const SourceRange& range, SourceReads* reads) {
  GNOMON_ASSIGN_OR_RETURN(
      auto rows, RowsOfView::Open(context, definitions, view, store, {}, columns, range, reads));
  GNOMON_RETURN_NOT_OK(RunPasses(context, {&rows->pass()}));
  if (!view.is_derived()) *reads = {reads->rows + rows->pass().stats().rows_read, reads->scans + 1};
  return rows;
}

}  // namespace

Result<std::unique_ptr<SourceRowStream>> SourceRowStream::Read(
    const Context& context, const Definitions& definitions, const FeatureView& view,
    const OfflineStore& store, const std::vector<std::string>& columns, const SourceRange& range,
    SourceReads* reads) {
  GNOMON_ASSIGN_OR_RETURN(auto rows,
                          RowsOfOneView(context, definitions, view, store, columns, range, reads));
  GNOMON_RETURN_NOT_OK(rows->Finish());
  return rows;
}

Result<SourceRows> ReadSourceRows(const Context& context, const Definitions& definitions,
                                  const FeatureView& view, const OfflineStore& store,
                                  const std::vector<std::string>& columns, const SourceRange& range,
                                  SourceReads* reads) {
  GNOMON_ASSIGN_OR_RETURN(const auto rows,
                          RowsOfOneView(context, definitions, view, store, columns, range, reads));
  return rows->Take();
}

Result<std::vector<std::unique_ptr<SourceRowStream>>> ReadSourceRows(
    const Context& context, const Definitions& definitions,
    const std::vector<const FeatureView*>& views, const OfflineStore& store,
    const SourceRange& range, SourceReads* reads) {
  std::vector<SourceUse> uses;
  for (const FeatureView* view : views) uses.push_back({view, {}, range});
  GNOMON_ASSIGN_OR_RETURN(const SharedSources sources,
                          SharedSources::Open(context, definitions, store, uses));
  std::vector<std::unique_ptr<RowsOfView>> shared(views.size());
  std::map<int, std::vector<ViewPass*>> groups;
  for (size_t i = 0; i < views.size(); ++i) {
    const int group = sources.GroupOf(*views[i]);
    if (group < 0) continue;
    GNOMON_ASSIGN_OR_RETURN(shared[i], RowsOfView::Open(context, definitions, *views[i], store,
                                                        sources, {}, range, reads));
    groups[group].push_back(&shared[i]->pass());
  }
  ReadRows rows_read;
  for (const auto& [group, passes] : groups) {
    GNOMON_RETURN_NOT_OK(RunPasses(context, passes));
    for (const ViewPass* pass : passes)
      rows_read.Add(pass->source().view(), pass->stats().rows_read);
    ++reads->scans;
  }
  reads->rows += rows_read.total();
  std::vector<std::unique_ptr<SourceRowStream>> streams;
  for (size_t i = 0; i < views.size(); ++i) {
    GNOMON_RETURN_NOT_OK(context.Check());
    if (shared[i] == nullptr) {
      GNOMON_ASSIGN_OR_RETURN(
          shared[i], RowsOfOneView(context, definitions, *views[i], store, {}, range, reads));
    }
    GNOMON_RETURN_NOT_OK(shared[i]->Finish());
    streams.push_back(std::move(shared[i]));
  }
  return streams;
}

}  // namespace gnomon::feature
