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

/// Batch by batch; all streams are open before one of them is read, so that what they share is read
/// once.
Status ReadPartition(const Context& context, const std::vector<ViewPass*>& passes,
                     int64_t partition) {
  std::vector<std::unique_ptr<dataset::CompanionScan::Reading>> readings;
  for (ViewPass* pass : passes) {
    if (!std::ranges::binary_search(pass->partitions(), partition)) continue;
    GNOMON_ASSIGN_OR_RETURN(auto reading, pass->Open(partition));
    readings.push_back(std::move(reading));
  }
  while (!readings.empty()) {
    for (auto& reading : readings) {
      GNOMON_RETURN_NOT_OK(context.Check());
      GNOMON_ASSIGN_OR_RETURN(const bool more, reading->Next());
      if (!more) reading.reset();
    }
    std::erase(readings, nullptr);
  }
  return Status::OK();
}

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

/// The columns that a pass reads, and where in a batch each stands.
struct ViewPass::Columns {
  Columns(const ViewSource& source, const ViewScan& scan) {
    time = Add(source.time());
    if (source.created() >= 0) created = Add(source.created());
    for (const int key : source.keys()) keys.push_back(Add(key));
    for (const int value : scan.values) values.push_back(Add(value));
    for (const int column : source.filter_columns()) Add(column);
  }

  ViewBatch Take(const arrow::RecordBatch& batch) const {
    ViewBatch taken;
    taken.num_rows = batch.num_rows();
    taken.times = batch.column(time);
    if (created >= 0) taken.created = batch.column(created);
    for (const int key : keys) taken.keys.push_back(batch.column(key));
    for (const int value : values) taken.values.push_back(batch.column(value));
    return taken;
  }

  int Add(int column) {
    const auto found = std::ranges::find(places, column);
    const auto place = static_cast<int>(found - places.begin());
    if (found == places.end()) places.push_back(column);
    return place;
  }

  std::vector<int> places;  ///< in the table
  int time = -1;
  int created = -1;
  std::vector<int> keys;
  std::vector<int> values;
};

class ViewPass::PartitionReading : public dataset::CompanionScan::Reading {
 public:
  PartitionReading(ViewPass* pass, int64_t partition,
                   std::unique_ptr<table::PartitionStream> stream)
      : pass_(*pass), partition_(partition), stream_(std::move(stream)) {}

  Result<bool> Next() override {
    GNOMON_ASSIGN_OR_RETURN(const auto read, stream_->Next());
    if (read == nullptr) return false;
    ViewBatch batch = pass_.columns_->Take(*read);
    batch.partition = partition_;
    batch.first_row = row_;
    row_ += read->num_rows();
    if (row_ > int64_t{1} << 32) {
      return Error(ErrorKind::kUnsupported, "more than 2^32 rows in one part of ",
                   pass_.source_.table()->name());
    }
    pass_.rows_read_ += read->num_rows();
    pass_.null_times_ += batch.times->null_count();
    GNOMON_RETURN_NOT_OK(KeepWanted(*read, &batch));
    pass_.rows_ += batch.num_rows;
    if (batch.num_rows > 0) GNOMON_RETURN_NOT_OK(pass_.visit_(std::move(batch)));
    return true;
  }

 private:
  Status KeepWanted(const arrow::RecordBatch& read, ViewBatch* batch) const {
    const ViewSource& source = pass_.source_;
    std::vector<uint8_t> wanted(static_cast<size_t>(read.num_rows()), 1);
    if (source.filter() != nullptr) {
      const auto chosen = source.filter()->Select(read);
      if (!chosen.ok()) {
        return WithRowMoved(chosen.status(),
                            FirstRowOf(*source.table(), batch->partition) + batch->first_row);
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
    const ViewScan& scan = pass_.scan_;
    const bool has_nulls = batch.times->null_count() > 0;
    if (!has_nulls && !scan.first && !scan.last) return Status::OK();
    GNOMON_ASSIGN_OR_RETURN(const auto times, table::RawTimes(*batch.times));
    const int64_t unit = pass_.source_.time_unit();
    for (size_t i = 0; i < times.size(); ++i) {
      const pit::Nanos time = pit::ToNanos(times[i], unit);
      if ((scan.first && time < *scan.first) || (scan.last && time > *scan.last) ||
          (has_nulls && batch.times->IsNull(static_cast<int64_t>(i))))
        (*wanted)[i] = 0;
    }
    return Status::OK();
  }

  Status LookAtCreated(const ViewBatch& batch, std::vector<uint8_t>* wanted) const {
    if (!pass_.scan_.created_before || batch.created == nullptr) return Status::OK();
    GNOMON_ASSIGN_OR_RETURN(const auto created, table::RawTimes(*batch.created));
    const pit::Nanos before = pit::ToNanos(*pass_.scan_.created_before, kMicro);
    for (size_t i = 0; i < created.size(); ++i) {
      if (batch.created->IsValid(static_cast<int64_t>(i)) &&
          pit::ToNanos(created[i], pass_.source_.created_unit()) > before)
        (*wanted)[i] = 0;
    }
    return Status::OK();
  }

  ViewPass& pass_;
  const int64_t partition_;
  std::unique_ptr<table::PartitionStream> stream_;
  int64_t row_ = 0;
};

ViewPass::ViewPass(const Context& context, const ViewSource& source, ViewScan scan,
                   std::function<Status(ViewBatch)> visit, std::function<Status()> begin)
    : context_(context),
      source_(source),
      scan_(std::move(scan)),
      visit_(std::move(visit)),
      begin_(std::move(begin)),
      columns_(std::make_unique<const Columns>(source_, scan_)) {
  Prune();
}

ViewPass::~ViewPass() = default;

void ViewPass::Prune() {
  const table::TimeRange range{
      .min = scan_.first ? pit::FloorToUnit(*scan_.first, kMicro) : INT64_MIN,
      .max = scan_.last ? pit::CeilToUnit(*scan_.last, kMicro) : INT64_MAX};
  const bool bounded = scan_.first || scan_.last;
  for (int64_t partition = 0; partition < source_.table()->num_partitions(); ++partition) {
    if (!bounded || !source_.table()->LiesOutside(partition, source_.time(), range))
      partitions_.push_back(partition);
  }
}

Status ViewPass::Begin() {
  has_begun_ = true;
  rows_read_ = 0;
  rows_ = 0;
  null_times_ = 0;
  return begin_ ? begin_() : Status::OK();
}

Result<std::unique_ptr<dataset::CompanionScan::Reading>> ViewPass::Open(int64_t partition) {
  GNOMON_ASSIGN_OR_RETURN(auto stream,
                          source_.table()->Scan(context_, partition, columns_->places, kBatchRows));
  return std::make_unique<PartitionReading>(this, partition, std::move(stream));
}

ViewScanStats ViewPass::stats() const {
  return {.rows_read = rows_read_, .rows = rows_, .null_times = null_times_};
}

Status RunPasses(const Context& context, const std::vector<ViewPass*>& passes) {
  MemoryReservation reading(context.memory);
  if (context.memory != nullptr && context.memory->limit() > 0) {
    GNOMON_RETURN_NOT_OK(
        reading.Grow(std::min(context.memory->limit() / 6, kReadingBytes * NumThreads())));
  }
  std::vector<int64_t> partitions;
  for (ViewPass* pass : passes) {
    GNOMON_RETURN_NOT_OK(pass->Begin());
    partitions.insert(partitions.end(), pass->partitions().begin(), pass->partitions().end());
  }
  std::ranges::sort(partitions);
  const auto again = std::ranges::unique(partitions);
  partitions.erase(again.begin(), again.end());
  const auto count = static_cast<int64_t>(partitions.size());
  std::atomic<int64_t> next{0};
  const auto read = [&](int64_t /*worker*/) {
    for (int64_t i = next++; i < count; i = next++)
      GNOMON_RETURN_NOT_OK(ReadPartition(context, passes, partitions[static_cast<size_t>(i)]));
    return Status::OK();
  };
  return ParallelFor(context, std::min<int64_t>(count, NumThreads()), read);
}

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
