#include <algorithm>

#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "dataset/operators/sorter_internal.h"

namespace gnomon::dataset::internal {

namespace {

constexpr size_t kFanIn = 32;
/// Rows of a source whose keys are encoded at a time: there are many sources.
constexpr int64_t kKeyRows = 1024;

}  // namespace

struct RunMerger::Cursor {
  std::unique_ptr<BatchSource> source;
  size_t order;
  BatchPtr batch = nullptr;
  EncodedKeys keys = {};
  int64_t keys_begin = 0;  ///< the row of `batch` that `keys` begins with
  int64_t row = 0;
  int64_t block_begin = -1;  ///< of `batch` in the blocks of this output; -1: not among them

  std::string_view Key() const { return keys[row - keys_begin]; }
};

RunMerger::RunMerger(const Environment& environment, SchemaPtr schema, KeyEncoder encoder,
                     std::vector<std::unique_ptr<BatchSource>> sources, int64_t output_rows)
    : environment_(environment),
      schema_(std::move(schema)),
      encoder_(std::move(encoder)),
      output_rows_(output_rows) {
  for (auto& source : sources) {
    cursors_.push_back(std::make_unique<Cursor>(Cursor{std::move(source), cursors_.size()}));
  }
}

RunMerger::~RunMerger() = default;

Status RunMerger::EncodeKeys(Cursor* cursor) {
  cursor->keys_begin = cursor->row;
  return encoder_.Encode(*cursor->batch->Slice(cursor->row, kKeyRows)).Value(&cursor->keys);
}

Status RunMerger::Advance(Cursor* cursor) {
  if (++cursor->row == cursor->batch->num_rows()) return Load(cursor);
  return cursor->row == cursor->keys_begin + kKeyRows ? EncodeKeys(cursor) : Status::OK();
}

Status RunMerger::Load(Cursor* cursor) {
  do {
    GNOMON_ASSIGN_OR_RETURN(cursor->batch, cursor->source->Next());
  } while (cursor->batch != nullptr && cursor->batch->num_rows() == 0);
  cursor->row = 0;
  cursor->block_begin = -1;
  return cursor->batch == nullptr ? Status::OK() : EncodeKeys(cursor);
}

bool RunMerger::IsBefore(const Cursor& left, const Cursor& right) const {
  const int order = left.Key().compare(right.Key());
  return order != 0 ? order < 0 : left.order < right.order;
}

void RunMerger::SiftDown(size_t place) {
  while (true) {
    size_t least = place;
    for (const size_t child : {2 * place + 1, 2 * place + 2}) {
      if (child < heap_.size() && IsBefore(*heap_[child], *heap_[least])) least = child;
    }
    if (least == place) return;
    std::swap(heap_[place], heap_[least]);
    place = least;
  }
}

Result<BatchPtr> RunMerger::Next() {
  GNOMON_RETURN_NOT_OK(environment_.context.Check());
  if (!opened_) {
    opened_ = true;
    for (const auto& cursor : cursors_) {
      GNOMON_RETURN_NOT_OK(Load(cursor.get()));
      if (cursor->batch != nullptr) heap_.push_back(cursor.get());
    }
    for (size_t place = heap_.size(); place-- > 0;) SiftDown(place);
  }
  std::vector<int64_t> picks;
  blocks_.clear();
  block_rows_ = 0;
  for (Cursor* cursor : heap_) cursor->block_begin = -1;
  while (!heap_.empty() && static_cast<int64_t>(picks.size()) < output_rows_) {
    Cursor& first = *heap_[0];
    if (first.block_begin < 0) {
      first.block_begin = block_rows_;
      blocks_.push_back(first.batch);
      block_rows_ += first.batch->num_rows();
    }
    picks.push_back(first.block_begin + first.row);
    GNOMON_RETURN_NOT_OK(Advance(&first));
    if (first.batch == nullptr) {
      heap_[0] = heap_.back();
      heap_.pop_back();
    }
    if (!heap_.empty()) SiftDown(0);
  }
  if (picks.empty()) return nullptr;
  auto output = GatherRows(environment_.context, schema_, blocks_, picks);
  blocks_.clear();
  return output;
}

Result<std::unique_ptr<SpilledRun>> RunStack::Write(BatchSource* sorted) {
  GNOMON_ASSIGN_OR_RETURN(auto run, SpilledRun::Create(environment_, schema_, stats_));
  while (true) {
    GNOMON_RETURN_NOT_OK(environment_.context.Check());
    GNOMON_ASSIGN_OR_RETURN(const auto batch, sorted->Next());
    if (batch == nullptr) {
      GNOMON_RETURN_NOT_OK(run->EndWriting());
      return run;
    }
    GNOMON_ASSIGN_OR_RETURN(const int64_t bytes, BatchBytes(*batch));
    const int64_t rows = SpillBatchRows(environment_, bytes, batch->num_rows());
    for (int64_t row = 0; row < batch->num_rows(); row += rows)
      GNOMON_RETURN_NOT_OK(run->Write(*batch->Slice(row, rows)));
  }
}

Status RunStack::Open(const Runs& runs, std::vector<std::unique_ptr<BatchSource>>* sources) {
  for (const auto& run : runs) {
    GNOMON_ASSIGN_OR_RETURN(auto source, run->Read());
    sources->push_back(std::move(source));
  }
  return Status::OK();
}

Status RunStack::Add(BatchSource* sorted) {
  GNOMON_ASSIGN_OR_RETURN(auto run, Write(sorted));
  for (size_t level = 0;; ++level) {
    if (level == levels_.size()) levels_.emplace_back();
    levels_[level].push_back(std::move(run));
    if (levels_[level].size() < kFanIn) return Status::OK();
    std::vector<std::unique_ptr<BatchSource>> sources;
    GNOMON_RETURN_NOT_OK(Open(levels_[level], &sources));
    RunMerger merger(environment_, schema_, encoder_, std::move(sources),
                     environment_.options.batch_rows);
    GNOMON_ASSIGN_OR_RETURN(run, Write(&merger));
    levels_[level].clear();
  }
}

Result<std::unique_ptr<BatchSource>> RunStack::Merge(std::unique_ptr<BatchSource> last) {
  std::vector<std::unique_ptr<BatchSource>> sources;
  for (size_t level = levels_.size(); level-- > 0;)
    GNOMON_RETURN_NOT_OK(Open(levels_[level], &sources));
  if (last != nullptr) sources.push_back(std::move(last));
  if (sources.size() == 1) return std::move(sources[0]);
  return std::make_unique<RunMerger>(environment_, schema_, encoder_, std::move(sources),
                                     environment_.options.batch_rows);
}

}  // namespace gnomon::dataset::internal
