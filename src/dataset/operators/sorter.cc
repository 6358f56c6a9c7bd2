#include <algorithm>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>

#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "base/parallel.h"
#include "dataset/operators/sorter_internal.h"

namespace gnomon::dataset::internal {

/// A row: the first bytes of its key that are not those of all keys decide most comparisons.
struct ExternalSorter::Entry {
  uint64_t prefix;
  uint32_t batch;
  uint32_t row;
};

namespace {

uint64_t PrefixOf(std::string_view key) {
  uint64_t prefix = 0;
  for (size_t i = 0; i < sizeof(prefix); ++i) {
    prefix = prefix << 8 | (i < key.size() ? static_cast<uint8_t>(key[i]) : 0U);
  }
  return prefix;
}

/// How many bytes all keys begin with.
size_t CommonBytes(std::span<const EncodedKeys> keys) {
  std::optional<std::string_view> common;
  for (const EncodedKeys& batch : keys) {
    for (int64_t row = 0; row < batch.size(); ++row) {
      const std::string_view key = batch[row];
      if (!common) common = key;
      const auto end = std::ranges::mismatch(*common, key).in1;
      common = common->substr(0, static_cast<size_t>(end - common->begin()));
    }
  }
  return common ? common->size() : 0;
}

/// Sorts pieces side by side, then merges neighbours until one piece is left.
template <typename Entry, typename IsBefore>
Status ParallelSort(const Context& context, const IsBefore& is_before,
                    std::vector<Entry>* entries) {
  constexpr size_t kSmallPiece = 16 * 1024;
  const size_t size = entries->size();
  size_t num_pieces = 1;
  while (num_pieces < static_cast<size_t>(NumThreads()) && size / (2 * num_pieces) >= kSmallPiece)
    num_pieces *= 2;
  const auto begin_of = [&](size_t piece) {
    return entries->begin() + static_cast<ptrdiff_t>(size * piece / num_pieces);
  };
  GNOMON_RETURN_NOT_OK(ParallelFor(context, static_cast<int64_t>(num_pieces), [&](int64_t i) {
    const auto piece = static_cast<size_t>(i);
    std::sort(begin_of(piece), begin_of(piece + 1), is_before);
    return Status::OK();
  }));
  for (size_t width = 1; width < num_pieces; width *= 2) {
    const auto num_pairs = static_cast<int64_t>(num_pieces / (2 * width));
    GNOMON_RETURN_NOT_OK(ParallelFor(context, num_pairs, [&](int64_t i) {
      const size_t first = static_cast<size_t>(i) * 2 * width;
      std::inplace_merge(begin_of(first), begin_of(first + width), begin_of(first + 2 * width),
                         is_before);
      return Status::OK();
    }));
  }
  return Status::OK();
}

}  // namespace

/// Batches in memory in the order of sorted rows.
struct ExternalSorter::SortedRows : public BatchSource {
  SortedRows(const Environment& of, SchemaPtr of_schema, std::vector<BatchPtr> of_batches,
             const std::vector<Entry>& entries)
      : environment(of), schema(std::move(of_schema)), batches(std::move(of_batches)) {
    std::vector<int64_t> begins(batches.size() + 1, 0);
    for (size_t i = 0; i < batches.size(); ++i) begins[i + 1] = begins[i] + batches[i]->num_rows();
    order.reserve(entries.size());
    for (const Entry& entry : entries) order.push_back(begins[entry.batch] + entry.row);
  }

  Result<BatchPtr> Next() override {
    const auto rows =
        std::min(static_cast<size_t>(environment.options.batch_rows), order.size() - next);
    if (rows == 0) return nullptr;
    const auto picks = std::span(order).subspan(next, rows);
    next += rows;
    return GatherRows(environment.context, schema, batches, picks);
  }

  const Environment& environment;
  const SchemaPtr schema;
  const std::vector<BatchPtr> batches;
  std::vector<int64_t> order;
  size_t next = 0;
};

ExternalSorter::ExternalSorter(const Environment& environment, SchemaPtr schema, KeyEncoder encoder,
                               std::optional<int64_t> limit, OperatorStats* stats)
    : environment_(environment),
      schema_(schema),
      encoder_(encoder),
      limit_(limit),
      stats_(stats),
      reservation_(environment.context.memory),
      runs_(environment, std::move(schema), std::move(encoder), stats) {}

Status ExternalSorter::Add(const BatchPtr& batch) {
  GNOMON_ASSIGN_OR_RETURN(auto keys, encoder_.Encode(*batch));
  GNOMON_ASSIGN_OR_RETURN(const int64_t batch_bytes, BatchBytes(*batch));
  // Merging two sorted halves takes up to half as many entries.
  const auto entry_bytes =
      static_cast<int64_t>(sizeof(Entry) + sizeof(Entry) / 2 + sizeof(int64_t));
  const int64_t bytes = batch_bytes + keys.ByteSize() + batch->num_rows() * entry_bytes;
  if (!reservation_.TryGrow(bytes)) {
    if (rows_ > 0) GNOMON_RETURN_NOT_OK(SpillBuffer());
    // One batch is held in any case.
    static_cast<void>(reservation_.TryGrow(bytes));
  }
  rows_ += batch->num_rows();
  bytes_ += batch_bytes;
  batches_.push_back(batch);
  keys_.push_back(std::move(keys));
  constexpr int64_t kLeastRows = 64 * 1024;
  if (limit_ && rows_ / 4 > *limit_ && rows_ >= kLeastRows) return KeepFirst();
  return Status::OK();
}

Result<std::vector<ExternalSorter::Entry>> ExternalSorter::SortEntries() const {
  std::vector<Entry> entries;
  entries.reserve(static_cast<size_t>(rows_));
  const size_t common = CommonBytes(keys_);
  for (size_t batch = 0; batch < batches_.size(); ++batch) {
    for (int64_t row = 0; row < batches_[batch]->num_rows(); ++row) {
      entries.push_back({PrefixOf(keys_[batch][row].substr(common)), static_cast<uint32_t>(batch),
                         static_cast<uint32_t>(row)});
    }
  }
  const auto is_before = [this](const Entry& left, const Entry& right) {
    if (left.prefix != right.prefix) return left.prefix < right.prefix;
    const int order = keys_[left.batch][left.row].compare(keys_[right.batch][right.row]);
    if (order != 0) return order < 0;
    return left.batch != right.batch ? left.batch < right.batch : left.row < right.row;
  };
  GNOMON_RETURN_NOT_OK(ParallelSort(environment_.context, is_before, &entries));
  if (limit_ && static_cast<int64_t>(entries.size()) > *limit_)
    entries.resize(static_cast<size_t>(*limit_));
  return entries;
}

Result<std::unique_ptr<BatchSource>> ExternalSorter::TakeSorted() {
  GNOMON_ASSIGN_OR_RETURN(const auto entries, SortEntries());
  keys_.clear();
  rows_ = 0;
  bytes_ = 0;
  return std::make_unique<SortedRows>(environment_, schema_, std::exchange(batches_, {}), entries);
}

Status ExternalSorter::SpillBuffer() {
  GNOMON_ASSIGN_OR_RETURN(const auto sorted, TakeSorted());
  GNOMON_RETURN_NOT_OK(runs_.Add(sorted.get()));
  reservation_.Clear();
  return Status::OK();
}

Status ExternalSorter::KeepFirst() {
  GNOMON_ASSIGN_OR_RETURN(const auto sorted, TakeSorted());
  reservation_.Clear();
  while (true) {
    GNOMON_ASSIGN_OR_RETURN(auto batch, sorted->Next());
    if (batch == nullptr) return Status::OK();
    GNOMON_RETURN_NOT_OK(Add(batch));
  }
}

Result<std::unique_ptr<BatchSource>> ExternalSorter::Finish() {
  GNOMON_ASSIGN_OR_RETURN(auto last, TakeSorted());
  if (runs_.empty()) return last;
  return runs_.Merge(std::move(last));
}

}  // namespace gnomon::dataset::internal
