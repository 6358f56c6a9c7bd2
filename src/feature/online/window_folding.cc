#include "feature/online/window_folding.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <span>
#include <utility>

#include <arrow/array.h>
#include <arrow/buffer.h>
#include <arrow/builder.h>
#include <arrow/chunked_array.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "base/text.h"
#include "feature/online/event_lists_internal.h"
#include "feature/online/folded_rows_internal.h"
#include "table/column.h"

namespace gnomon::feature {

using internal::EventLists;
using internal::Folded;
using internal::FoldedRows;
using internal::kNoTime;

namespace {

std::vector<FoldedPart> PartsOf(const OnlineTable& table, const FeatureView& view) {
  std::vector<FoldedPart> parts;
  for (const Aggregation& aggregation : view.aggregations) {
    if (aggregation.time_window) continue;
    const int field = table.schema->GetFieldIndex(aggregation.column);
    const pit::PartialKind kind = pit::PartialKindOf(aggregation.function);
    auto part = std::ranges::find_if(
        parts, [&](const FoldedPart& other) { return other.field == field && other.kind == kind; });
    if (part == parts.end())
      part = parts.insert(part, {.field = field, .kind = kind, .num_rows = 1, .name = {}});
    if (aggregation.function == pit::AggregateFunction::kLastK)
      part->num_rows = std::max(part->num_rows, aggregation.k);
  }
  for (FoldedPart& part : parts) {
    const auto& field = *table.schema->field(part.field);
    const auto& type = static_cast<const arrow::ListType&>(*field.type()).value_type();
    part.name = Concat(pit::NameOf(part.kind), " ", part.num_rows, " ", type->ToString(), " ",
                       field.name());
  }
  return parts;
}

}  // namespace

bool IsDerivedColumn(std::string_view name) {
  return name == kFolded || name == kPartialNames || name == kPartials || name == kTiles;
}

bool FoldsEvents(const FeatureView& view) {
  bool any = false;
  for (const Aggregation& aggregation : view.aggregations) {
    if (aggregation.time_window) continue;
    if (pit::PartialKindOf(aggregation.function) == pit::PartialKind::kNone) return false;
    any = true;
  }
  return any;
}

WindowFolding WindowFolding::Make(const OnlineTable& table, const FeatureView& view,
                                  int64_t value_count_bytes) {
  WindowFolding folding;
  folding.table_ = table;
  folding.reach_ = view.LongestWindow();
  folding.folds_ = FoldsEvents(view);
  folding.value_count_bytes_ = value_count_bytes;
  folding.tiling_ = WindowTiling::Make(table, view);
  if (!folding.folds_) return folding;
  for (const Aggregation& aggregation : view.aggregations) {
    const auto keep =
        aggregation.time_window ? aggregation.time_window : aggregation.slide_interval;
    folding.keep_ = std::max(folding.keep_, keep.value_or(0));
  }
  folding.parts_ = PartsOf(table, view);
  return folding;
}

/// One call of Fold or Merge: takes row after row, then gives the batch.
class WindowFolding::Run {
 public:
  /// `counted` by event: is it one of those that stand for folded ones? Empty: there are none.
  Run(const WindowFolding& folding, const arrow::RecordBatch& rows,
      std::span<const uint8_t> counted)
      : folding_(folding),
        rows_(rows),
        counted_(counted),
        times_(rows.GetColumnByName(std::string(kEventTimes))),
        created_(rows.GetColumnByName(std::string(kCreatedTimes))) {}

  /// `before`: what is folded already, null when nothing is.
  Status FoldRow(int64_t row, const FoldedRows* stored, const std::optional<Folded>& before) {
    const int64_t end = times_.end(row);
    const int64_t cut = times_.begin(row) + NumOldest(row, before);
    std::vector<uint32_t> kept;
    if (before || cut > times_.begin(row)) {
      GNOMON_RETURN_NOT_OK(FoldUntil(row, cut, stored, before, &kept));
    } else {
      GNOMON_RETURN_NOT_OK(folded_.AppendNull());
      GNOMON_RETURN_NOT_OK(names_.AppendNull());
      GNOMON_RETURN_NOT_OK(partials_.AppendNull());
    }
    const auto keep = [&](int64_t event) {
      indices_.push_back(event);
      created_times_.push_back(created_.TimeAt(row, event - times_.begin(row)));
    };
    std::ranges::for_each(kept, keep);
    for (int64_t event = cut; event < end; ++event) keep(event);
    offsets_.push_back(static_cast<int32_t>(indices_.size()));
    return Status::OK();
  }

  Result<std::shared_ptr<arrow::RecordBatch>> Finish() {
    std::shared_ptr<arrow::Array> column;
    arrow::ArrayVector columns;
    for (const auto& field : rows_.schema()->fields()) {
      const auto& lists = rows_.GetColumnByName(field->name());
      if (field->name() == kFolded) {
        GNOMON_RETURN_NOT_OK(folded_.Finish(&column));
      } else if (field->name() == kPartialNames) {
        GNOMON_RETURN_NOT_OK(names_.Finish(&column));
      } else if (field->name() == kPartials) {
        GNOMON_RETURN_NOT_OK(partials_.Finish(&column));
      } else if (field->name() == kCreatedTimes) {
        // Their lists are not those of the times: a row without any has none.
        const auto length = static_cast<int64_t>(created_times_.size());
        const arrow::Int64Array values(length, arrow::Buffer::Wrap(created_times_));
        GNOMON_ASSIGN_OR_RETURN(column,
                                internal::MakeCreatedLists(field->type(), offsets_, values));
      } else if (lists->null_count() == lists->length()) {
        column = lists;  // tiles, which are made of the result
      } else {
        const arrow::ChunkedArray values(EventLists(lists).values());
        GNOMON_ASSIGN_OR_RETURN(auto gathered, table::Gather(values, indices_));
        GNOMON_ASSIGN_OR_RETURN(column,
                                internal::MakeLists(field->type(), offsets_, std::move(gathered)));
      }
      columns.push_back(column);
    }
    return arrow::RecordBatch::Make(rows_.schema(), rows_.num_rows(), std::move(columns));
  }

 private:
  using Key = std::pair<int64_t, int64_t>;

  Key KeyOf(int64_t row, int64_t place) const {
    return {times_.Time(times_.begin(row) + place), created_.TimeAt(row, place)};
  }

  /// How many of a row's events are to be folded: those that are old and not among the newest, and
  /// all that come before what is folded already.
  int64_t NumOldest(int64_t row, const std::optional<Folded>& before) const {
    const int64_t length = times_.length(row);
    int64_t count = 0;
    for (int64_t place = length; place > 0 && before; --place) {
      const bool counted = counted_[static_cast<size_t>(times_.begin(row) + place - 1)] != 0;
      if (!counted && KeyOf(row, place - 1) >= Key(before->newest, before->newest_created))
        continue;
      count = place;
      break;
    }
    if (length <= kNewestEventsKept) return count;
    const int64_t newest = KeyOf(row, length - 1).first;
    const int64_t old = newest < kNoTime + folding_.keep_ ? kNoTime : newest - folding_.keep_;
    int64_t cut = length - kNewestEventsKept;
    while (cut > count && KeyOf(row, cut - 1).first > old) --cut;
    return std::max(count, cut);
  }

  Status FoldUntil(int64_t row, int64_t cut, const FoldedRows* stored,
                   const std::optional<Folded>& before, std::vector<uint32_t>* kept) {
    std::vector<uint32_t> events;
    std::vector<uint32_t> fresh;
    for (int64_t event = times_.begin(row); event < cut; ++event) {
      events.push_back(static_cast<uint32_t>(event));
      if (!before || counted_[static_cast<size_t>(event)] == 0) fresh.push_back(events.back());
    }
    GNOMON_RETURN_NOT_OK(names_.Append());
    GNOMON_RETURN_NOT_OK(partials_.Append());
    for (const FoldedPart& part : folding_.parts_) {
      std::optional<std::string_view> old;
      if (before) {
        old = stored->Find(row, part.name);
        if (!old) continue;  // new in the view's definition: only a materialization can know it
      }
      const auto& values = EventLists(rows_.column(part.field)).values();
      std::string state;
      if (pit::KeepsRows(part.kind)) {
        pit::SelectKeptRows(part.kind, part.num_rows, values, events, kept);
      } else {
        GNOMON_ASSIGN_OR_RETURN(state, NextState(part, values, old, fresh));
      }
      GNOMON_RETURN_NOT_OK(name_values_->Append(part.name));
      GNOMON_RETURN_NOT_OK(partial_values_->Append(state));
    }
    std::ranges::sort(*kept);
    const auto again = std::ranges::unique(*kept);
    kept->erase(again.begin(), again.end());
    return AppendFolded(row, cut - times_.begin(row), before, static_cast<int64_t>(kept->size()));
  }

  Result<std::string> NextState(const FoldedPart& part, const std::shared_ptr<arrow::Array>& values,
                                const std::optional<std::string_view>& old,
                                std::span<const uint32_t> fresh) const {
    const int64_t limit = folding_.value_count_bytes_;
    auto made = old ? pit::PartialState::Decode(part.kind, *values->type(), limit, *old)
                    : pit::PartialState::Make(part.kind, *values->type(), limit);
    Status status = made.status();
    if (status.ok()) status = (*made)->Add(values, fresh);
    if (!status.ok()) {
      status =
          WithContext(status, Concat("feature view ", Quoted(folding_.table_.view), ", column ",
                                     Quoted(rows_.schema()->field(part.field)->name())));
      if (KindOf(status) != ErrorKind::kExhausted) return status;
      return WithHint(status,
                      "give the aggregation a time_window, or raise online_store.value_counts_mb");
    }
    std::string bytes;
    (*made)->Encode(&bytes);
    return bytes;
  }

  Status AppendFolded(int64_t row, int64_t length, const std::optional<Folded>& before,
                      int64_t num_kept) {
    int64_t oldest = length > 0 ? KeyOf(row, 0).first : before->oldest;
    Key newest = length > 0 ? KeyOf(row, length - 1) : Key(kNoTime, kNoTime);
    if (before) {
      oldest = std::min(oldest, before->oldest);
      newest = std::max(newest, Key(before->newest, before->newest_created));
    }
    GNOMON_RETURN_NOT_OK(folded_.Append());
    for (const int64_t number : {num_kept, oldest, newest.first, newest.second})
      GNOMON_RETURN_NOT_OK(folded_values_->Append(number));
    return Status::OK();
  }

  const WindowFolding& folding_;
  const arrow::RecordBatch& rows_;
  const std::span<const uint8_t> counted_;
  const EventLists times_;
  const EventLists created_;
  std::vector<int64_t> indices_;        ///< of the events that stay
  std::vector<int64_t> created_times_;  ///< of these
  std::vector<int32_t> offsets_ = {0};
  std::shared_ptr<arrow::Int64Builder> folded_values_ = std::make_shared<arrow::Int64Builder>();
  std::shared_ptr<arrow::StringBuilder> name_values_ = std::make_shared<arrow::StringBuilder>();
  std::shared_ptr<arrow::BinaryBuilder> partial_values_ = std::make_shared<arrow::BinaryBuilder>();
  arrow::ListBuilder folded_{arrow::default_memory_pool(), folded_values_};
  arrow::ListBuilder names_{arrow::default_memory_pool(), name_values_};
  arrow::ListBuilder partials_{arrow::default_memory_pool(), partial_values_};
};

Result<std::shared_ptr<arrow::RecordBatch>> WindowFolding::Fold(
    const std::shared_ptr<arrow::RecordBatch>& rows) const {
  if (!folds_) return tiling_.Add(rows);
  Run run(*this, *rows, {});
  for (int64_t row = 0; row < rows->num_rows(); ++row)
    GNOMON_RETURN_NOT_OK(run.FoldRow(row, nullptr, std::nullopt));
  GNOMON_ASSIGN_OR_RETURN(const auto folded, run.Finish());
  return tiling_.Add(folded);
}

Result<std::shared_ptr<arrow::RecordBatch>> WindowFolding::Merge(
    const OnlineValues& stored, const arrow::RecordBatch& added) const {
  GNOMON_ASSIGN_OR_RETURN(const auto merged, folds_
                                                 ? MergeFolded(stored, added)
                                                 : MergeWindowRows(table_, reach_, stored, added));
  return tiling_.Add(merged);
}

Result<std::shared_ptr<arrow::RecordBatch>> WindowFolding::MergeFolded(
    const OnlineValues& stored, const arrow::RecordBatch& added) const {
  const auto column = [&](std::string_view name) {
    const int field = table_.schema->GetFieldIndex(std::string(name));
    return stored.columns[static_cast<size_t>(field)];
  };
  const FoldedRows folded(column(kFolded), column(kPartialNames), column(kPartials));
  const EventLists times(column(kEventTimes));
  std::vector<std::optional<Folded>> before;
  std::vector<int64_t> firsts;
  for (int64_t row = 0; row < added.num_rows(); ++row) {
    auto known = folded.At(row, times.length(row));
    if (!known.ok())
      return WithContext(known.status(), Concat("feature view ", Quoted(table_.view)));
    before.push_back(*known);
    firsts.push_back(*known ? (*known)->kept : 0);
  }
  GNOMON_ASSIGN_OR_RETURN(const auto merged,
                          internal::MergeEvents(table_, std::nullopt, stored, added, firsts));
  Run run(*this, *merged.rows, merged.stored);
  for (int64_t row = 0; row < added.num_rows(); ++row)
    GNOMON_RETURN_NOT_OK(run.FoldRow(row, &folded, before[static_cast<size_t>(row)]));
  return run.Finish();
}

}  // namespace gnomon::feature
