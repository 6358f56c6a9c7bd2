#include <algorithm>

#include "dataset/asof/key_partitions_internal.h"

namespace gnomon::dataset::internal {

namespace {

/// Rows that a writer collects before it hands them over: for all partitions, and for one.
constexpr int64_t kPendingRows = 1 << 19;
constexpr int64_t kMostChunkRows = 4096;
constexpr int64_t kLeastChunkRows = 64;

/// Calls visit(vector) for each column that the chunk has.
template <typename Rows, typename Visit>
Status ForEachColumn(Rows& rows, bool has_created, Visit&& visit) {
  GNOMON_RETURN_NOT_OK(visit(rows.ids));
  GNOMON_RETURN_NOT_OK(visit(rows.times));
  GNOMON_RETURN_NOT_OK(visit(rows.numbers));
  return has_created ? visit(rows.created) : Status::OK();
}

template <typename T>
int64_t BytesOf(const std::vector<T>& values) {
  return static_cast<int64_t>(values.size() * sizeof(T));
}

}  // namespace

KeyPartitions::KeyPartitions(const Context& context, int64_t num_keys, int64_t num_partitions,
                             bool has_created, std::string spill_folder)
    : context_(context),
      num_keys_(std::max<int64_t>(1, num_keys)),
      num_partitions_(num_partitions),
      has_created_(has_created),
      spill_folder_(std::move(spill_folder)),
      chunks_(static_cast<size_t>(num_partitions)) {
  for (int64_t i = 0; i < num_partitions; ++i) memory_.emplace_back(context.memory);
}

KeyPartitions::Writer::Writer(KeyPartitions* partitions)
    : partitions_(partitions),
      chunk_rows_(static_cast<size_t>(std::clamp(kPendingRows / partitions->num_partitions(),
                                                 kLeastChunkRows, kMostChunkRows))),
      pending_(static_cast<size_t>(partitions->num_partitions())) {}

Status KeyPartitions::Writer::Add(const MatchRows& rows) {
  for (size_t i = 0; i < rows.size(); ++i) {
    if (rows.ids[i] < 0) continue;
    const int64_t partition = partitions_->PartitionOfKey(rows.ids[i]);
    MatchRows& pending = pending_[static_cast<size_t>(partition)];
    pending.ids.push_back(rows.ids[i]);
    pending.times.push_back(rows.times[i]);
    pending.numbers.push_back(rows.numbers.empty() ? rows.first + static_cast<int64_t>(i)
                                                   : rows.numbers[i]);
    if (partitions_->has_created_) pending.created.push_back(rows.created[i]);
    if (pending.size() == chunk_rows_)
      GNOMON_RETURN_NOT_OK(partitions_->Append(partition, &pending));
  }
  return Status::OK();
}

Status KeyPartitions::Writer::Flush() {
  for (size_t partition = 0; partition < pending_.size(); ++partition) {
    if (pending_[partition].size() > 0)
      GNOMON_RETURN_NOT_OK(
          partitions_->Append(static_cast<int64_t>(partition), &pending_[partition]));
  }
  return Status::OK();
}

int64_t KeyPartitions::PartitionOfKey(int32_t id) const {
  return int64_t{id} * num_partitions_ / num_keys_;
}

int64_t KeyPartitions::FirstKey(int64_t partition) const {
  return (partition * num_keys_ + num_partitions_ - 1) / num_partitions_;
}

int64_t KeyPartitions::RowBytes() const { return has_created_ ? 28 : 20; }

int64_t KeyPartitions::num_rows(int64_t partition) const {
  int64_t rows = 0;
  for (const Chunk& chunk : chunks_[static_cast<size_t>(partition)])
    rows += static_cast<int64_t>(chunk.num_rows);
  return rows;
}

Status KeyPartitions::Append(int64_t partition, MatchRows* rows) {
  const MutexLock lock(mutex_);
  const auto place = static_cast<size_t>(partition);
  Chunk chunk;
  chunk.num_rows = rows->size();
  if (TryGrowSpare(context_, static_cast<int64_t>(rows->size()) * RowBytes(), &memory_[place])) {
    chunk.rows = std::move(*rows);
  } else {
    if (!file_.is_open()) {
      GNOMON_ASSIGN_OR_RETURN(file_, UnnamedFile::Create(spill_folder_));
    }
    chunk.offset = file_.size();
    GNOMON_RETURN_NOT_OK(ForEachColumn(*rows, has_created_, [&](const auto& values) {
      return file_.Append(values.data(), BytesOf(values));
    }));
  }
  *rows = MatchRows();
  chunks_[place].push_back(std::move(chunk));
  return Status::OK();
}

Status KeyPartitions::ForEachChunk(int64_t partition,
                                   const std::function<Status(const MatchRows&)>& visit) const {
  for (const Chunk& chunk : chunks_[static_cast<size_t>(partition)]) {
    GNOMON_RETURN_NOT_OK(context_.Check());
    if (chunk.offset < 0) {
      GNOMON_RETURN_NOT_OK(visit(chunk.rows));
      continue;
    }
    MatchRows rows;
    int64_t offset = chunk.offset;
    GNOMON_RETURN_NOT_OK(ForEachColumn(rows, has_created_, [&](auto& values) {
      values.resize(chunk.num_rows);
      const int64_t bytes = BytesOf(values);
      const Status status = file_.ReadAt(offset, values.data(), bytes);
      offset += bytes;
      return status;
    }));
    GNOMON_RETURN_NOT_OK(visit(rows));
  }
  return Status::OK();
}

void KeyPartitions::Drop(int64_t partition) {
  chunks_[static_cast<size_t>(partition)] = {};
  memory_[static_cast<size_t>(partition)].Clear();
}

}  // namespace gnomon::dataset::internal
