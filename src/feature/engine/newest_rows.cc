#include "feature/engine/newest_rows.h"

#include <algorithm>
#include <limits>
#include <tuple>

#include <arrow/array.h>
#include <arrow/type.h>

#include "table/column.h"

namespace gnomon::feature {
namespace {

constexpr size_t kFirstKeys = 1024;

}  // namespace

Result<std::unique_ptr<NewestRows>> NewestRows::Make(const Context& context,
                                                     const ViewSource& source) {
  std::unique_ptr<NewestRows> newest(new NewestRows(context, source));
  if (source.keys().empty()) return newest;
  std::vector<std::shared_ptr<arrow::DataType>> types;
  for (const int key : source.keys()) types.push_back(source.table()->schema()->field(key)->type());
  GNOMON_ASSIGN_OR_RETURN(table::KeyIndex index, table::KeyIndex::Make(types));
  newest->index_ = std::make_unique<table::KeyIndex>(std::move(index));
  return newest;
}

Status NewestRows::GrowRows(int64_t num_keys) {
  const auto wanted = static_cast<size_t>(num_keys);
  if (wanted > rows_.capacity()) {
    const size_t capacity = std::max({kFirstKeys, wanted, 2 * rows_.capacity()});
    const auto old = static_cast<int64_t>(rows_.capacity() * sizeof(NewestRow));
    GNOMON_RETURN_NOT_OK(rows_memory_.Grow(static_cast<int64_t>(capacity * sizeof(NewestRow))));
    rows_.reserve(capacity);
    rows_memory_.Shrink(old);
  }
  rows_.resize(wanted);
  return Status::OK();
}

Status NewestRows::Insert(const ViewBatch& batch, std::vector<int32_t>* ids) {
  ids->assign(static_cast<size_t>(batch.num_rows), 0);
  if (index_ == nullptr) return GrowRows(1);
  GNOMON_RETURN_NOT_OK(index_->Insert(batch.keys, *ids, &index_memory_));
  return GrowRows(index_->size());
}

Status NewestRows::Add(const ViewBatch& batch) {
  GNOMON_ASSIGN_OR_RETURN(const auto times, table::RawTimes(*batch.times));
  std::vector<int64_t> created;
  if (batch.created != nullptr) {
    GNOMON_ASSIGN_OR_RETURN(created, table::RawTimes(*batch.created));
    for (size_t i = 0; batch.created->null_count() > 0 && i < created.size(); ++i) {
      if (batch.created->IsNull(static_cast<int64_t>(i)))
        created[i] = std::numeric_limits<int64_t>::min();
    }
  }
  const MutexLock lock(mutex_);
  std::vector<int32_t> ids;
  const Status inserted = Insert(batch, &ids);
  if (!inserted.ok()) return source_.WithoutMemory(inserted);
  for (size_t i = 0; i < ids.size(); ++i) {
    if (i + 16 < ids.size() && ids[i + 16] >= 0)
      __builtin_prefetch(&rows_[static_cast<size_t>(ids[i + 16])]);
    if (ids[i] < 0) {
      ++null_keys_;
      continue;
    }
    const NewestRow row{
        .number = NumberOfRow(batch.partition, batch.RowOf(static_cast<int64_t>(i))),
        .time = times[i],
        .created = created.empty() ? std::numeric_limits<int64_t>::min() : created[i]};
    NewestRow& newest = rows_[static_cast<size_t>(ids[i])];
    if (newest.number < 0 || std::tie(newest.time, newest.created, newest.number) <
                                 std::tie(row.time, row.created, row.number))
      newest = row;
  }
  return Status::OK();
}

void NewestRows::Finish() {
  index_.reset();
  index_memory_.Clear();
  std::ranges::sort(rows_, {}, &NewestRow::number);
}

}  // namespace gnomon::feature
