#include <algorithm>
#include <map>
#include <utility>

#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <arrow/type.h>
#include <parquet/arrow/reader.h>
#include <parquet/exception.h>
#include <parquet/file_reader.h>
#include <parquet/metadata.h>
#include <parquet/page_index.h>

#include "base/parallel.h"
#include "table/parquet_pruned_internal.h"

namespace gnomon::table::internal {

namespace {

/// A row group is read in part when this share of its rows, at least, can be left out: below it the
/// headers cost more than the pages.
constexpr int64_t kLeastShare = 16;

/// A leaf of which some pages are read.
struct KeptPages {
  ColumnPages column;
  std::vector<DataPage> pages;
};
using KeptLeaves = std::map<int, KeptPages>;

/// A row group whose leaves have the kept pages only.
class KeptGroup : public parquet::RowGroupReader::Contents {
 public:
  KeptGroup(std::shared_ptr<ParquetReader> reader,
            std::shared_ptr<arrow::io::RandomAccessFile> file,
            std::shared_ptr<const KeptLeaves> leaves, int group)
      : reader_(std::move(reader)),
        file_(std::move(file)),
        leaves_(std::move(leaves)),
        group_(group),
        whole_(reader_->parquet_reader()->RowGroup(group)),
        properties_(parquet::default_reader_properties()) {}

  std::unique_ptr<parquet::PageReader> GetColumnPageReader(int leaf) override {
    const auto kept = leaves_->find(leaf);
    if (kept == leaves_->end()) return whole_->GetColumnPageReader(leaf);
    return ReadPages(*reader_->parquet_reader(), file_, group_, leaf, kept->second.column,
                     kept->second.pages);
  }
  const parquet::RowGroupMetaData* metadata() const override { return whole_->metadata(); }
  const parquet::ReaderProperties* properties() const override { return &properties_; }

 private:
  std::shared_ptr<ParquetReader> reader_;
  std::shared_ptr<arrow::io::RandomAccessFile> file_;
  std::shared_ptr<const KeptLeaves> leaves_;
  const int group_;
  std::shared_ptr<parquet::RowGroupReader> whole_;
  const parquet::ReaderProperties properties_;
};

/// A file of which one row group is read, in part.
class KeptFile : public parquet::ParquetFileReader::Contents {
 public:
  KeptFile(const OpenedParquet& opened, std::shared_ptr<const KeptLeaves> leaves)
      : reader_(opened.reader), file_(opened.file), leaves_(std::move(leaves)) {}

  void Close() override {}
  std::shared_ptr<parquet::RowGroupReader> GetRowGroup(int group) override {
    return std::make_shared<parquet::RowGroupReader>(
        std::make_unique<KeptGroup>(reader_, file_, leaves_, group));
  }
  std::shared_ptr<parquet::FileMetaData> metadata() const override {
    return reader_->parquet_reader()->metadata();
  }
  std::shared_ptr<parquet::PageIndexReader> GetPageIndexReader() override { return nullptr; }
  parquet::BloomFilterReader& GetBloomFilterReader() override {
    return reader_->parquet_reader()->GetBloomFilterReader();
  }

 private:
  std::shared_ptr<ParquetReader> reader_;
  std::shared_ptr<arrow::io::RandomAccessFile> file_;
  std::shared_ptr<const KeptLeaves> leaves_;
};

/// Neighbours become one.
RowRanges RowsOf(const std::vector<DataPage>& pages) {
  RowRanges rows;
  for (const DataPage& page : pages) {
    if (!rows.empty() && rows.back().end == page.rows.begin) {
      rows.back().end = page.rows.end;
    } else {
      rows.push_back(page.rows);
    }
  }
  return rows;
}

/// The rows of the pages that `may_hold` does not refuse; all rows when the file does not say.
template <typename MayHold>
Result<RowRanges> RowsThat(const OpenedParquet& opened, int group, int column,
                           const RowRanges& rows, MayHold&& may_hold) {
  const std::vector<int> leaves = LeavesOf(*opened.reader, column);
  if (leaves.size() != 1) return rows;
  const auto pages =
      PagesOf(opened.reader->parquet_reader(), opened.file, group, leaves[0], /*statistics=*/true);
  if (!pages) return rows;
  std::vector<DataPage> kept;
  for (const DataPage& page : pages->Holding(rows)) {
    if (page.all_null) continue;
    bool may = true;
    if (page.statistics != nullptr) {
      GNOMON_ASSIGN_OR_RETURN(may, may_hold(*page.statistics));
    }
    if (may) kept.push_back(page);
  }
  return Intersect(rows, RowsOf(kept));
}

}  // namespace

Result<RowRanges> WantedRows(const OpenedParquet& opened, int group, const ScanRequest& request) {
  const auto row_group = opened.reader->parquet_reader()->metadata()->RowGroup(group);
  if (row_group->num_rows() == 0) return RowRanges();
  const RowRanges all = {{0, row_group->num_rows()}};
  RowRanges rows = all;
  if (request.time_range && request.time_column >= 0) {
    const std::vector<int> leaves = LeavesOf(*opened.reader, request.time_column);
    const bool inside =
        leaves.size() == 1 && LiesInside(*row_group, leaves[0], *request.time_range);
    if (!inside) {
      GNOMON_ASSIGN_OR_RETURN(rows, RowsThat(opened, group, request.time_column, rows,
                                             [&](const parquet::Statistics& page) -> Result<bool> {
                                               return !LiesOutside(page, *request.time_range);
                                             }));
    }
  }
  for (const auto& [column, probe] : request.probes) {
    if (rows.empty()) break;
    GNOMON_ASSIGN_OR_RETURN(
        rows,
        RowsThat(opened, group, column, rows, [&](const parquet::Statistics& page) -> Result<bool> {
          GNOMON_ASSIGN_OR_RETURN(const bool refused, IsRefused(page, probe));
          return !refused;
        }));
  }
  const int64_t left_out = row_group->num_rows() - CountRows(rows);
  return left_out * kLeastShare < row_group->num_rows() ? all : rows;
}

/// Decodes the kept pages of one column in step with the wanted rows.
class GroupScan::Column {
 public:
  Column(std::string path, std::string name, std::unique_ptr<arrow::RecordBatchReader> decoder,
         RowRanges kept)
      : path_(std::move(path)),
        name_(std::move(name)),
        decoder_(std::move(decoder)),
        kept_(std::move(kept)) {}

  /// Decodes up to the row, which is kept and not before the one of the call before.
  Status MoveTo(int64_t row) {
    while (kept_[range_].end <= row) {
      before_ += kept_[range_].end - kept_[range_].begin;
      ++range_;
    }
    const int64_t place = before_ + row - kept_[range_].begin;
    while (array_ == nullptr || begin_ + array_->length() <= place) {
      if (array_ != nullptr) begin_ += array_->length();
      std::shared_ptr<arrow::RecordBatch> batch;
      GNOMON_RETURN_NOT_OK(decoder_->ReadNext(&batch));
      if (batch == nullptr || batch->num_rows() == 0) return TooFewRows(path_, name_);
      array_ = batch->column(0);
    }
    offset_ = place - begin_;
    return Status::OK();
  }
  /// Decoded rows from there on.
  int64_t num_ready() const { return array_->length() - offset_; }
  std::shared_ptr<arrow::Array> Take(int64_t count) const { return array_->Slice(offset_, count); }

 private:
  const std::string path_;
  const std::string name_;
  std::unique_ptr<arrow::RecordBatchReader> decoder_;
  const RowRanges kept_;  ///< the rows that the decoder gives
  size_t range_ = 0;
  int64_t before_ = 0;  ///< kept rows of the ranges before
  std::shared_ptr<arrow::Array> array_;
  int64_t begin_ = 0;  ///< kept rows before array_
  int64_t offset_ = 0;
};

GroupScan::GroupScan(GroupSource source) : source_(std::move(source)) {}
GroupScan::~GroupScan() = default;

Result<std::unique_ptr<GroupScan>> GroupScan::Open(GroupSource source, const ScanRequest& request,
                                                   int group, ReadStats* stats) {
  auto scan = std::unique_ptr<GroupScan>(new GroupScan(std::move(source)));
  scan->batch_rows_ = request.batch_rows;
  GNOMON_ASSIGN_OR_RETURN(scan->wanted_, WantedRows(scan->source_.opened, group, request));
  if (scan->wanted_.empty()) return scan;
  scan->row_ = scan->wanted_[0].begin;
  GNOMON_RETURN_NOT_OK(scan->OpenColumns(request, group));
  stats->pages += scan->counts_.pages;
  stats->pages_pruned += scan->counts_.pruned;
  return scan;
}

Status GroupScan::OpenColumns(const ScanRequest& request, int group) {
  const OpenedParquet& opened = source_.opened;
  const RowRange all = {0,
                        opened.reader->parquet_reader()->metadata()->RowGroup(group)->num_rows()};
  const bool whole = CountRows(wanted_) == all.end;
  const auto kept = std::make_shared<KeptLeaves>();
  std::vector<RowRanges> rows(request.columns.size(), RowRanges{all});
  for (size_t i = 0; i < request.columns.size() && !whole; ++i) {
    const std::vector<int> leaves = LeavesOf(*opened.reader, request.columns[i]);
    if (leaves.size() != 1) continue;
    auto pages = PagesOf(opened.reader->parquet_reader(), opened.file, group, leaves[0],
                         /*statistics=*/false);
    if (!pages) continue;
    std::vector<DataPage> holding = pages->Holding(wanted_);
    counts_.pages += std::ssize(pages->pages);
    counts_.pruned += std::ssize(pages->pages) - std::ssize(holding);
    rows[i] = RowsOf(holding);
    kept->insert_or_assign(leaves[0], KeptPages{std::move(*pages), std::move(holding)});
  }
  auto file = std::make_unique<parquet::ParquetFileReader>();
  file->Open(std::make_unique<KeptFile>(opened, kept));
  parquet::ArrowReaderProperties properties = opened.reader->properties();
  properties.set_batch_size(request.batch_rows);
  GNOMON_ASSIGN_OR_RETURN(
      reader_, ParquetReader::Make(arrow::default_memory_pool(), std::move(file), properties));
  for (size_t i = 0; i < request.columns.size(); ++i) {
    GNOMON_ASSIGN_OR_RETURN(auto decoder, reader_->GetRecordBatchReader(
                                              {group}, LeavesOf(*reader_, request.columns[i])));
    columns_.push_back(std::make_unique<Column>(source_.path,
                                                source_.schema->field(static_cast<int>(i))->name(),
                                                std::move(decoder), std::move(rows[i])));
  }
  return Status::OK();
}

Result<std::shared_ptr<arrow::RecordBatch>> GroupScan::Next() {
  if (range_ == wanted_.size()) {
    GNOMON_RETURN_NOT_OK(source_.version.RequireNotWritten(source_.path));
    return nullptr;
  }
  GNOMON_RETURN_NOT_OK(ParallelFor(source_.context, std::ssize(columns_), [&](int64_t i) {
    return GuardedRead(source_.path,
                       [&] { return columns_[static_cast<size_t>(i)]->MoveTo(row_); });
  }));
  int64_t count = std::min(batch_rows_, wanted_[range_].end - row_);
  for (const auto& column : columns_) count = std::min(count, column->num_ready());
  arrow::ArrayVector arrays;
  for (const auto& column : columns_) arrays.push_back(column->Take(count));
  first_row_ = row_;
  row_ += count;
  if (row_ == wanted_[range_].end && ++range_ < wanted_.size()) row_ = wanted_[range_].begin;
  return arrow::RecordBatch::Make(source_.schema, count, std::move(arrays));
}

Result<std::shared_ptr<arrow::RecordBatch>> PrunedStream::Next() {
  while (true) {
    if (scan_ == nullptr) {
      if (next_ == groups_.size()) return nullptr;
      GNOMON_ASSIGN_OR_RETURN(scan_, open_(groups_[next_++]));
    }
    GNOMON_ASSIGN_OR_RETURN(auto batch, scan_->Next());
    if (batch != nullptr) return batch;
    scan_.reset();
  }
}

Result<std::shared_ptr<arrow::Table>> ReadRows(
    const Context& context, const std::shared_ptr<arrow::Schema>& schema,
    const std::vector<int>& groups,
    const std::function<Result<std::unique_ptr<GroupScan>>(int group, ReadStats*)>& open,
    ReadStats* stats) {
  std::vector<arrow::RecordBatchVector> batches(groups.size());
  std::vector<ReadStats> of_group(groups.size());
  GNOMON_RETURN_NOT_OK(ParallelFor(context, std::ssize(groups), [&](int64_t i) -> Status {
    const auto place = static_cast<size_t>(i);
    GNOMON_ASSIGN_OR_RETURN(const auto scan, open(groups[place], &of_group[place]));
    while (true) {
      GNOMON_ASSIGN_OR_RETURN(auto batch, scan->Next());
      if (batch == nullptr) return Status::OK();
      batches[place].push_back(std::move(batch));
    }
  }));
  arrow::RecordBatchVector all;
  for (size_t i = 0; i < groups.size(); ++i) {
    all.insert(all.end(), batches[i].begin(), batches[i].end());
    stats->pages += of_group[i].pages;
    stats->pages_pruned += of_group[i].pages_pruned;
  }
  return arrow::Table::FromRecordBatches(schema, all);
}

}  // namespace gnomon::table::internal
