#include <algorithm>
#include <atomic>
#include <utility>

#include <arrow/array.h>
#include <arrow/chunked_array.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "base/memory_reservation.h"
#include "base/parallel.h"
#include "base/text.h"
#include "feature/engine/derived_columns.h"
#include "feature/engine/view_source.h"
#include "table/column.h"

/// The two ways to read a view's source: past one, and the rows that one knows.
namespace gnomon::feature {
namespace {

constexpr int64_t kMicro = 1000;  ///< nanoseconds
constexpr int64_t kBatchRows = int64_t{64} * 1024;
/// What a thread that reads holds: pages, decoded batches.
constexpr int64_t kReadingBytes = int64_t{12} << 20;

/// The columns that a scan reads, and where in a batch each stands.
class ScanColumns {
 public:
  ScanColumns(const ViewSource& source, const ViewScan& scan) : source_(source) {
    time_ = Add(source.time());
    if (source.created() >= 0) created_ = Add(source.created());
    for (const int key : source.keys()) keys_.push_back(Add(key));
    for (const int value : scan.values) values_.push_back(Add(value));
    for (const int column : source.filter_columns()) Add(column);
  }

  const std::vector<int>& places() const { return places_; }

  ViewBatch Take(const arrow::RecordBatch& batch) const {
    ViewBatch taken;
    taken.num_rows = batch.num_rows();
    taken.times = batch.column(time_);
    if (created_ >= 0) taken.created = batch.column(created_);
    for (const int key : keys_) taken.keys.push_back(batch.column(key));
    for (const int value : values_) taken.values.push_back(batch.column(value));
    return taken;
  }

 private:
  int Add(int column) {
    const auto found = std::ranges::find(places_, column);
    const auto place = static_cast<int>(found - places_.begin());
    if (found == places_.end()) places_.push_back(column);
    return place;
  }

  const ViewSource& source_;
  std::vector<int> places_;
  int time_ = -1;
  int created_ = -1;
  std::vector<int> keys_;
  std::vector<int> values_;
};

class Scanner {
 public:
  Scanner(const Context& context, const ViewSource& source, const ViewScan& scan,
          const std::function<Status(ViewBatch)>& visit)
      : context_(context), source_(source), scan_(scan), visit_(visit), columns_(source, scan) {}

  Status Run(ViewScanStats* stats) {
    MemoryReservation reading(context_.memory);
    if (context_.memory != nullptr && context_.memory->limit() > 0) {
      GNOMON_RETURN_NOT_OK(
          reading.Grow(std::min(context_.memory->limit() / 6, kReadingBytes * NumThreads())));
    }
    Prune();
    const auto count = static_cast<int64_t>(partitions_.size());
    std::atomic<int64_t> next{0};
    GNOMON_RETURN_NOT_OK(
        ParallelFor(context_, std::min<int64_t>(count, NumThreads()), [&](int64_t /*worker*/) {
          for (int64_t i = next++; i < count; i = next++)
            GNOMON_RETURN_NOT_OK(ScanPartition(partitions_[static_cast<size_t>(i)]));
          return Status::OK();
        }));
    stats->rows_read = rows_read_;
    stats->rows = rows_;
    stats->null_times = null_times_;
    return Status::OK();
  }

 private:
  void Prune() {
    const table::TimeRange range{
        .min = scan_.first ? pit::FloorToUnit(*scan_.first, kMicro) : INT64_MIN,
        .max = scan_.last ? pit::CeilToUnit(*scan_.last, kMicro) : INT64_MAX};
    const bool bounded = scan_.first || scan_.last;
    for (int64_t partition = 0; partition < source_.table()->num_partitions(); ++partition) {
      if (!bounded || !source_.table()->LiesOutside(partition, source_.time(), range))
        partitions_.push_back(partition);
    }
  }

  Status ScanPartition(int64_t partition) {
    GNOMON_ASSIGN_OR_RETURN(
        const auto stream,
        source_.table()->Scan(context_, partition, columns_.places(), kBatchRows));
    for (int64_t row = 0;;) {
      GNOMON_RETURN_NOT_OK(context_.Check());
      GNOMON_ASSIGN_OR_RETURN(const auto read, stream->Next());
      if (read == nullptr) return Status::OK();
      ViewBatch batch = columns_.Take(*read);
      batch.partition = partition;
      batch.first_row = row;
      row += read->num_rows();
      if (row > int64_t{1} << 32) {
        return Error(ErrorKind::kUnsupported, "more than 2^32 rows in one part of ",
                     source_.table()->name());
      }
      rows_read_ += read->num_rows();
      null_times_ += batch.times->null_count();
      GNOMON_RETURN_NOT_OK(KeepWanted(*read, &batch));
      rows_ += batch.num_rows;
      if (batch.num_rows > 0) GNOMON_RETURN_NOT_OK(visit_(std::move(batch)));
    }
  }

  Status KeepWanted(const arrow::RecordBatch& read, ViewBatch* batch) const {
    std::vector<uint8_t> wanted(static_cast<size_t>(read.num_rows()), 1);
    if (source_.filter() != nullptr) {
      const auto chosen = source_.filter()->Select(read);
      if (!chosen.ok()) {
        return WithRowMoved(chosen.status(),
                            FirstRowOf(*source_.table(), batch->partition) + batch->first_row);
      }
      std::ranges::fill(wanted, uint8_t{0});
      for (const int64_t row : *chosen) wanted[static_cast<size_t>(row)] = 1;
    }
    GNOMON_RETURN_NOT_OK(LookAtTimes(*batch, &wanted));
    GNOMON_RETURN_NOT_OK(LookAtCreated(*batch, &wanted));
    std::vector<int64_t> kept;
    for (size_t i = 0; i < wanted.size(); ++i) {
      if (wanted[i] != 0) kept.push_back(static_cast<int64_t>(i));
    }
    return kept.size() == wanted.size() ? Status::OK() : batch->Keep(kept);
  }

  Status LookAtTimes(const ViewBatch& batch, std::vector<uint8_t>* wanted) const {
    const bool has_nulls = batch.times->null_count() > 0;
    if (!has_nulls && !scan_.first && !scan_.last) return Status::OK();
    GNOMON_ASSIGN_OR_RETURN(const auto times, table::RawTimes(*batch.times));
    const int64_t unit = source_.time_unit();
    for (size_t i = 0; i < times.size(); ++i) {
      const pit::Nanos time = pit::ToNanos(times[i], unit);
      if ((scan_.first && time < *scan_.first) || (scan_.last && time > *scan_.last) ||
          (has_nulls && batch.times->IsNull(static_cast<int64_t>(i))))
        (*wanted)[i] = 0;
    }
    return Status::OK();
  }

  Status LookAtCreated(const ViewBatch& batch, std::vector<uint8_t>* wanted) const {
    if (!scan_.created_before || batch.created == nullptr) return Status::OK();
    GNOMON_ASSIGN_OR_RETURN(const auto created, table::RawTimes(*batch.created));
    const pit::Nanos before = pit::ToNanos(*scan_.created_before, kMicro);
    for (size_t i = 0; i < created.size(); ++i) {
      if (batch.created->IsValid(static_cast<int64_t>(i)) &&
          pit::ToNanos(created[i], source_.created_unit()) > before)
        (*wanted)[i] = 0;
    }
    return Status::OK();
  }

  const Context& context_;
  const ViewSource& source_;
  const ViewScan& scan_;
  const std::function<Status(ViewBatch)>& visit_;
  const ScanColumns columns_;
  std::vector<int64_t> partitions_;
  std::atomic<int64_t> rows_read_{0};
  std::atomic<int64_t> rows_{0};
  std::atomic<int64_t> null_times_{0};
};

/// The rows that are wanted of one partition.
struct GatheredPart {
  int64_t partition;
  std::vector<int64_t> rows;
};

std::vector<GatheredPart> PartsOf(std::span<const int64_t> numbers) {
  std::vector<GatheredPart> parts;
  for (const int64_t number : numbers) {
    const int64_t partition = number >> 32;
    if (parts.empty() || parts.back().partition != partition) parts.push_back({partition, {}});
    parts.back().rows.push_back(number & 0xffff'ffff);
  }
  return parts;
}

}  // namespace

arrow::ArrayVector ViewBatch::EventColumns() const {
  arrow::ArrayVector columns = keys;
  columns.push_back(times);
  if (created != nullptr) columns.push_back(created);
  columns.insert(columns.end(), values.begin(), values.end());
  return columns;
}

ViewScan ScanOf(const SourceRange& range) {
  ViewScan scan;
  if (range.min) scan.first = pit::ToNanos(*range.min, kMicro);
  if (range.max) scan.last = pit::ToNanos(*range.max, kMicro);
  scan.created_before = range.created_before;
  return scan;
}

Status ViewBatch::Keep(const std::vector<int64_t>& kept) {
  const auto keep = [&](std::shared_ptr<arrow::Array>* column) -> Status {
    GNOMON_ASSIGN_OR_RETURN(*column, table::Gather(arrow::ChunkedArray(*column), kept));
    return Status::OK();
  };
  GNOMON_RETURN_NOT_OK(keep(&times));
  if (created != nullptr) GNOMON_RETURN_NOT_OK(keep(&created));
  for (auto& key : keys) GNOMON_RETURN_NOT_OK(keep(&key));
  for (auto& column : values) GNOMON_RETURN_NOT_OK(keep(&column));
  std::vector<int64_t> before = std::move(rows);
  rows = kept;
  for (int64_t& row : rows) row = before.empty() ? row : before[static_cast<size_t>(row)];
  num_rows = static_cast<int64_t>(kept.size());
  return Status::OK();
}

Status ScanView(const Context& context, const ViewSource& source, const ViewScan& scan,
                const std::function<Status(ViewBatch)>& visit, ViewScanStats* stats) {
  return Scanner(context, source, scan, visit).Run(stats);
}

Result<arrow::ArrayVector> GatherViewRows(const Context& context, const ViewSource& source,
                                          const std::vector<int>& columns,
                                          std::span<const int64_t> numbers) {
  const table::PartitionedTable& table = *source.table();
  const std::vector<GatheredPart> parts = PartsOf(numbers);
  struct Task {
    size_t part;
    std::vector<size_t> columns;
  };
  std::vector<Task> tasks;
  for (size_t part = 0; part < parts.size(); ++part) {
    const bool apart = table.reads_columns_apart(parts[part].partition);
    for (size_t column = 0; column < columns.size(); ++column) {
      if (apart || column == 0) tasks.push_back({part, {}});
      tasks.back().columns.push_back(column);
    }
  }
  std::vector<arrow::ArrayVector> pieces(columns.size(), arrow::ArrayVector(parts.size()));
  GNOMON_RETURN_NOT_OK(
      ParallelFor(context, static_cast<int64_t>(tasks.size()), [&](int64_t i) -> Status {
        const Task& task = tasks[static_cast<size_t>(i)];
        const GatheredPart& part = parts[task.part];
        std::vector<int> places;
        for (const size_t column : task.columns) places.push_back(columns[column]);
        GNOMON_ASSIGN_OR_RETURN(auto values,
                                table.Gather(context, part.partition, places, part.rows));
        for (size_t place = 0; place < values.size(); ++place)
          pieces[task.columns[place]][task.part] = std::move(values[place]);
        return Status::OK();
      }));
  arrow::ArrayVector gathered;
  for (size_t column = 0; column < columns.size(); ++column) {
    GNOMON_ASSIGN_OR_RETURN(auto whole, table::SingleChunk(arrow::ChunkedArray(
                                            std::move(pieces[column]),
                                            table.schema()->field(columns[column])->type())));
    gathered.push_back(std::move(whole));
  }
  return gathered;
}

}  // namespace gnomon::feature
