#include <algorithm>
#include <deque>
#include <map>
#include <utility>

#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "base/mutex.h"
#include "table/partitioned_table.h"

/// PartitionedTable::Shared.
namespace gnomon::table {

namespace {

/// One reading of a partition and those who take its batches. Thread-safe.
class SharedReading {
 public:
  SharedReading(const Context& context, std::shared_ptr<const PartitionedTable> table,
                int64_t partition, int64_t batch_rows)
      : context_(context),
        table_(std::move(table)),
        partition_(partition),
        batch_rows_(batch_rows) {}

  /// The number of the new reader; -1: too late, reading has begun.
  int64_t Join(const std::vector<int>& columns) {
    const MutexLock lock(mutex_);
    if (begun_) return -1;
    for (const int column : columns) {
      if (std::ranges::find(columns_, column) == columns_.end()) columns_.push_back(column);
    }
    next_.push_back(0);
    return static_cast<int64_t>(next_.size()) - 1;
  }

  void Leave(int64_t reader) {
    const MutexLock lock(mutex_);
    next_[static_cast<size_t>(reader)] = kGone;
    DropRead();
  }

  Result<std::shared_ptr<arrow::RecordBatch>> Next(int64_t reader,
                                                   const std::vector<int>& columns) {
    const MutexLock lock(mutex_);
    int64_t& next = next_[static_cast<size_t>(reader)];
    if (next == first_ + static_cast<int64_t>(batches_.size())) GNOMON_RETURN_NOT_OK(ReadOne());
    const std::shared_ptr<arrow::RecordBatch> batch = batches_[static_cast<size_t>(next - first_)];
    if (batch == nullptr) return batch;
    ++next;
    DropRead();
    std::vector<int> places;
    for (const int column : columns)
      places.push_back(static_cast<int>(std::ranges::find(columns_, column) - columns_.begin()));
    return batch->SelectColumns(places);
  }

 private:
  static constexpr int64_t kGone = INT64_MAX;

  Status ReadOne() GNOMON_REQUIRES(mutex_) {
    if (!begun_) {
      begun_ = true;
      GNOMON_ASSIGN_OR_RETURN(stream_, table_->Scan(context_, partition_, columns_, batch_rows_));
    }
    if (stream_ == nullptr) return Error(ErrorKind::kInternal, "a shared scan has failed before");
    GNOMON_ASSIGN_OR_RETURN(auto batch, stream_->Next());
    batches_.push_back(std::move(batch));
    return Status::OK();
  }

  /// The end of the partition, a null, is kept for all.
  void DropRead() GNOMON_REQUIRES(mutex_) {
    const int64_t oldest = *std::ranges::min_element(next_);
    for (; first_ < oldest && !batches_.empty() && batches_.front() != nullptr; ++first_)
      batches_.pop_front();
  }

  const Context context_;
  const std::shared_ptr<const PartitionedTable> table_;
  const int64_t partition_;
  const int64_t batch_rows_;
  Mutex mutex_;
  bool begun_ GNOMON_GUARDED_BY(mutex_) = false;
  std::vector<int> columns_ GNOMON_GUARDED_BY(mutex_);   // of all readers
  std::vector<int64_t> next_ GNOMON_GUARDED_BY(mutex_);  // batch of each reader
  std::unique_ptr<PartitionStream> stream_ GNOMON_GUARDED_BY(mutex_);
  std::deque<std::shared_ptr<arrow::RecordBatch>> batches_ GNOMON_GUARDED_BY(mutex_);
  int64_t first_ GNOMON_GUARDED_BY(mutex_) = 0;  // number of the first of batches_
};

class SharedStream : public PartitionStream {
 public:
  SharedStream(std::shared_ptr<SharedReading> reading, int64_t reader, std::vector<int> columns)
      : reading_(std::move(reading)), reader_(reader), columns_(std::move(columns)) {}
  ~SharedStream() override { reading_->Leave(reader_); }
  SharedStream(const SharedStream&) = delete;
  SharedStream& operator=(const SharedStream&) = delete;

  Result<std::shared_ptr<arrow::RecordBatch>> Next() override {
    return reading_->Next(reader_, columns_);
  }

 private:
  std::shared_ptr<SharedReading> reading_;
  int64_t reader_;
  std::vector<int> columns_;
};

class SharedTable : public PartitionedTable {
 public:
  explicit SharedTable(std::shared_ptr<const PartitionedTable> table) : table_(std::move(table)) {}

  const std::string& name() const override { return table_->name(); }
  const std::shared_ptr<arrow::Schema>& schema() const override { return table_->schema(); }
  int64_t num_partitions() const override { return table_->num_partitions(); }
  int64_t num_rows(int64_t partition) const override { return table_->num_rows(partition); }
  int64_t NumBytes(int64_t partition, const std::vector<int>& columns) const override {
    return table_->NumBytes(partition, columns);
  }
  bool reads_columns_apart(int64_t partition) const override {
    return table_->reads_columns_apart(partition);
  }
  bool LiesOutside(int64_t partition, int time_column, const TimeRange& range) const override {
    return table_->LiesOutside(partition, time_column, range);
  }
  Result<arrow::ArrayVector> Gather(const Context& context, int64_t partition,
                                    const std::vector<int>& columns,
                                    std::span<const int64_t> rows) const override {
    return table_->Gather(context, partition, columns, rows);
  }

  Result<std::unique_ptr<PartitionStream>> Scan(const Context& context, int64_t partition,
                                                const std::vector<int>& columns,
                                                int64_t batch_rows) const override {
    const MutexLock lock(mutex_);
    std::weak_ptr<SharedReading>& known = readings_[partition];
    std::shared_ptr<SharedReading> reading = known.lock();
    int64_t reader = reading == nullptr ? -1 : reading->Join(columns);
    if (reader < 0) {
      reading = std::make_shared<SharedReading>(context, table_, partition, batch_rows);
      known = reading;
      reader = reading->Join(columns);
    }
    return std::make_unique<SharedStream>(std::move(reading), reader, columns);
  }

 private:
  const std::shared_ptr<const PartitionedTable> table_;
  mutable Mutex mutex_;
  mutable std::map<int64_t, std::weak_ptr<SharedReading>> readings_ GNOMON_GUARDED_BY(mutex_);
};

}  // namespace

std::shared_ptr<PartitionedTable> PartitionedTable::Shared(
    std::shared_ptr<const PartitionedTable> table) {
  return std::make_shared<SharedTable>(std::move(table));
}

}  // namespace gnomon::table
