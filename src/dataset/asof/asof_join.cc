#include "dataset/asof/asof_join.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <map>
#include <set>

#include <arrow/array.h>
#include <arrow/chunked_array.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "base/progress.h"
#include "base/text.h"
#include "base/time.h"
#include "dataset/asof/binding_internal.h"
#include "dataset/asof/labels_internal.h"
#include "dataset/asof/late_gather_internal.h"
#include "dataset/asof/left_rows_internal.h"
#include "dataset/asof/matching_internal.h"
#include "dataset/asof/stored_features_internal.h"

namespace gnomon::dataset {

namespace {

using internal::BoundFeatures;
using internal::BoundRequest;
using internal::Labels;
using internal::SpillableArray;

/// Blocks of labels for which right tables are rather read again than their features put in a file.
constexpr int64_t kMostReadings = 2;

/// The times that a right table may hold for the labels, in microseconds.
std::optional<table::TimeRange> WantedTimes(const Labels& labels, const AsOfFeatures& features) {
  if (!labels.range()) return std::nullopt;
  table::TimeRange range{std::numeric_limits<int64_t>::min(), labels.range()->max};
  if (features.tolerance > 0 &&
      __builtin_sub_overflow(labels.range()->min, features.tolerance, &range.min))
    range.min = std::numeric_limits<int64_t>::min();
  return range;
}

/// Adds the seconds of its life to a step of the statistics.
class StepTimer {
 public:
  StepTimer(std::string name, AsOfStats* stats) : name_(std::move(name)), stats_(stats) {}
  ~StepTimer() {
    const double seconds = MonotonicSeconds() - start_;
    for (auto& [name, sum] : stats_->seconds) {
      if (name != name_) continue;
      sum += seconds;
      return;
    }
    stats_->seconds.emplace_back(name_, seconds);
  }
  StepTimer(const StepTimer&) = delete;
  StepTimer& operator=(const StepTimer&) = delete;

 private:
  std::string name_;
  AsOfStats* stats_;
  double start_ = MonotonicSeconds();
};

class Join : public PointInTimeJoin {
 public:
  Join(Context context, AsOfRequest request)
      : context_(std::move(context)), request_(std::move(request)) {}

  /// Labels, pruning, strategies.
  Status Prepare();
  Status Match() override { return matched_ ? Status::OK() : MatchAll(); }

  const std::shared_ptr<arrow::Schema>& schema() const override { return bound_.schema; }
  Result<std::shared_ptr<arrow::RecordBatch>> Next() override;
  std::string Explain() const override;
  const AsOfStats& stats() const override { return stats_; }

 private:
  const Labels& labels() const { return prepared_->labels(); }
  AsOfStrategy PruneAndChoose(BoundFeatures* features, AsOfStats::Side* side) const;
  std::vector<std::vector<size_t>> ScanGroups() const;
  int64_t SlotBytes() const;
  std::vector<CompanionScan*> CompanionsOf(const std::vector<size_t>& sides,
                                           std::set<int>* taken) const;
  Status MatchAll();
  int64_t FittingRows(int64_t row_bytes) const;
  Status StoreFeatures();
  Status GatherBlock();

  const Context context_;
  const AsOfRequest request_;
  BoundRequest bound_;
  MemoryReservation reading_;
  std::shared_ptr<AsOfLabels> prepared_;
  AsOfStats stats_;
  bool matched_ = false;
  std::vector<SpillableArray<int64_t>> winners_;  ///< of each right table

  /// Of each right table; empty: the tables are read for every block.
  std::vector<internal::StoredFeatures> stored_;

  // The block of labels whose features are gathered, and where in the left table we are.
  int64_t block_begin_ = 0;
  int64_t block_end_ = 0;
  arrow::ArrayVector block_;
  MemoryReservation block_memory_;
  int64_t row_ = 0;
  std::shared_ptr<arrow::RecordBatch> left_batch_;
};

AsOfStrategy Join::PruneAndChoose(BoundFeatures* features, AsOfStats::Side* side) const {
  const AsOfSettings& settings = request_.settings;
  const auto range = WantedTimes(labels(), *features->request);
  const table::PartitionedTable& table = features->table();
  std::vector<int> columns = features->features;
  columns.push_back(features->on);
  if (features->created >= 0) columns.push_back(features->created);
  columns.insert(columns.end(), features->by.begin(), features->by.end());
  AsOfSizes sizes;
  const auto add = [](int64_t* sum, int64_t more) {
    *sum = *sum < 0 || more < 0 ? -1 : *sum + more;
  };
  for (int64_t partition = 0; partition < table.num_partitions(); ++partition) {
    const bool outside = !range || table.LiesOutside(partition, features->on, *range);
    if (outside && settings.enable_optimization) continue;
    features->partitions.push_back(partition);
    add(&sizes.feature_rows, table.num_rows(partition));
    add(&sizes.feature_bytes, table.NumBytes(partition, columns));
  }
  if (settings.enable_optimization) features->times = range;
  side->name = table.name();
  side->partitions = table.num_partitions();
  side->pruned = side->partitions - static_cast<int64_t>(features->partitions.size());
  sizes.labels = labels().num_rows();
  sizes.keys = labels().KeysOf(features->left_by).num_keys;
  sizes.memory = internal::AvailableBytes(context_);
  sizes.workers = settings.max_workers > 0
                      ? static_cast<int>(std::min<int64_t>(settings.max_workers, NumThreads()))
                      : NumThreads();
  return ChooseAsOfStrategy(sizes, settings);
}

Status Join::Prepare() {
  GNOMON_ASSIGN_OR_RETURN(bound_, internal::BindRequest(request_));
  prepared_ = request_.labels;
  if (prepared_ == nullptr) {
    StepTimer timer("labels", &stats_);
    std::vector<std::vector<std::string>> key_sets;
    for (const AsOfFeatures& features : request_.right) key_sets.push_back(features.left_by);
    GNOMON_ASSIGN_OR_RETURN(prepared_, AsOfLabels::Read(context_, request_.left, request_.on,
                                                        key_sets, request_.settings));
  }
  GNOMON_ASSIGN_OR_RETURN(reading_, internal::ReserveForReading(context_));
  stats_.labels = labels().num_rows();
  stats_.null_labels = labels().null_rows();
  stats_.label_keys = labels().num_keys();
  stats_.spilled_bytes = labels().spilled_bytes();
  for (BoundFeatures& features : bound_.right) {
    AsOfStats::Side side;
    side.strategy = PruneAndChoose(&features, &side);
    stats_.right.push_back(std::move(side));
  }
  return Status::OK();
}

/// Right tables that are read in one pass, and those that are read alone.
std::vector<std::vector<size_t>> Join::ScanGroups() const {
  std::vector<std::vector<size_t>> groups;
  std::map<int, size_t> group_of;
  for (size_t side = 0; side < bound_.right.size(); ++side) {
    const int number = bound_.right[side].request->scan_group;
    const auto [known, is_new] = group_of.emplace(number, groups.size());
    // Slots of several tables need memory at the same time.
    const bool joins =
        number >= 0 && !is_new && SlotBytes() <= internal::AvailableBytes(context_) / 2;
    if (!joins) {
      known->second = groups.size();
      groups.emplace_back();
    }
    groups[known->second].push_back(side);
  }
  return groups;
}

int64_t Join::SlotBytes() const {
  int64_t bytes = 0;
  for (const AsOfStats::Side& side : stats_.right)
    bytes += LabelIndexBytes(labels().num_rows(), side.strategy.workers);
  return bytes;
}

/// Those that are read with a group's sides. What they keep may take all but the half of the budget
/// that they leave free; that half has to hold the slots of broadcast sides.
std::vector<CompanionScan*> Join::CompanionsOf(const std::vector<size_t>& sides,
                                               std::set<int>* taken) const {
  std::vector<CompanionScan*> companions;
  const int group = bound_.right[sides.front()].request->scan_group;
  int64_t slots = 0;
  for (const AsOfStats::Side& side : stats_.right) {
    if (!side.strategy.partitioned)
      slots += LabelIndexBytes(labels().num_rows(), side.strategy.workers);
  }
  if (group < 0 || slots > internal::AvailableBytes(context_) / 2) return companions;
  if (!taken->insert(group).second) return companions;
  for (const AsOfCompanion& companion : request_.companions) {
    if (companion.scan_group == group) companions.push_back(companion.scan);
  }
  return companions;
}

Status Join::MatchAll() {
  StepTimer timer("match", &stats_);
  internal::Matcher matcher(context_, labels(), request_.settings);
  const std::vector<std::vector<size_t>> groups = ScanGroups();
  // Several small tables at the same time, when their slots fit together.
  const bool together = SlotBytes() <= internal::AvailableBytes(context_) / 2;
  for (size_t i = 0; i < bound_.right.size(); ++i)
    GNOMON_RETURN_NOT_OK(matcher.Prepare(bound_.right[i], stats_.right[i].strategy));
  winners_.resize(bound_.right.size());
  std::vector<std::vector<CompanionScan*>> companions;
  std::set<int> taken;
  for (const auto& sides : groups) companions.push_back(CompanionsOf(sides, &taken));
  const auto match = [&](int64_t group) -> Status {
    std::vector<internal::MatchSide> sides;
    for (const size_t side : groups[static_cast<size_t>(group)])
      sides.push_back({&bound_.right[side], &stats_.right[side].strategy, &stats_.right[side]});
    GNOMON_ASSIGN_OR_RETURN(auto winners,
                            matcher.Match(sides, companions[static_cast<size_t>(group)]));
    for (size_t i = 0; i < winners.size(); ++i)
      winners_[groups[static_cast<size_t>(group)][i]] = std::move(winners[i]);
    return Status::OK();
  };
  const auto count = static_cast<int64_t>(groups.size());
  if (together) {
    GNOMON_RETURN_NOT_OK(ParallelFor(context_, count, match));
  } else {
    for (int64_t group = 0; group < count; ++group) GNOMON_RETURN_NOT_OK(match(group));
  }
  stats_.scans = count;
  stats_.spilled_bytes += matcher.spilled_bytes();
  matched_ = true;
  return Status::OK();
}

/// Labels whose features are gathered together.
int64_t Join::FittingRows(int64_t row_bytes) const {
  const int64_t fitting =
      internal::AvailableBytes(context_) / (4 * std::max<int64_t>(1, row_bytes));
  const int64_t most = request_.settings.block_rows;
  return std::min(most, std::max<int64_t>(fitting, 1024));
}

/// Where memory is so small that the right tables would be read for many a block, their features
/// are brought into the order of the labels by way of a file.
Status Join::StoreFeatures() {
  int64_t row_bytes = 0;
  for (const BoundFeatures& features : bound_.right) row_bytes += internal::RowBytes(features);
  const int64_t rows = FittingRows(row_bytes);
  if (rows == request_.settings.block_rows || rows * kMostReadings >= labels().num_rows())
    return Status::OK();
  for (size_t side = 0; side < bound_.right.size(); ++side) {
    // Of a run beside its features: its winners.
    const int64_t of_run =
        internal::RowBytes(bound_.right[side]) + static_cast<int64_t>(sizeof(int64_t));
    const int64_t run_rows = FittingRows(of_run);
    MemoryReservation memory(context_.memory);
    GNOMON_RETURN_NOT_OK(memory.Grow(std::min(run_rows, labels().num_rows()) * of_run));
    GNOMON_ASSIGN_OR_RETURN(
        auto stored,
        internal::StoredFeatures::Gather(context_, bound_.right[side], run_rows,
                                         request_.settings.spill_folder, winners_[side].values()));
    stats_.gathered_blocks += stored.num_runs();
    stats_.spilled_bytes += stored.bytes();
    stored_.push_back(std::move(stored));
  }
  return Status::OK();
}

Status Join::GatherBlock() {
  StepTimer timer("gather", &stats_);
  block_.clear();
  block_memory_ = MemoryReservation(context_.memory);
  if (block_end_ == 0) GNOMON_RETURN_NOT_OK(StoreFeatures());
  block_begin_ = block_end_;
  int64_t row_bytes = 0;
  for (const BoundFeatures& features : bound_.right) row_bytes += internal::RowBytes(features);
  block_end_ = std::min(labels().num_rows(), block_begin_ + FittingRows(row_bytes));
  GNOMON_RETURN_NOT_OK(block_memory_.Grow((block_end_ - block_begin_) * row_bytes));
  std::vector<std::span<const int64_t>> winners;
  for (const auto& side : winners_) {
    winners.push_back(side.values().subspan(static_cast<size_t>(block_begin_),
                                            static_cast<size_t>(block_end_ - block_begin_)));
  }
  if (stored_.empty()) {
    ++stats_.gathered_blocks;
    return internal::GatherLate(context_, bound_.right, winners).Value(&block_);
  }
  for (size_t side = 0; side < stored_.size(); ++side) {
    GNOMON_ASSIGN_OR_RETURN(auto columns, stored_[side].Take(context_, winners[side]));
    std::ranges::move(columns, std::back_inserter(block_));
  }
  return Status::OK();
}

Result<std::shared_ptr<arrow::RecordBatch>> Join::Next() {
  GNOMON_RETURN_NOT_OK(context_.Check());
  GNOMON_RETURN_NOT_OK(Match());
  if (left_batch_ == nullptr) {
    StepTimer timer("read labels", &stats_);
    GNOMON_ASSIGN_OR_RETURN(left_batch_, prepared_->rows().Next(labels().num_rows()));
  }
  if ((left_batch_ == nullptr) != (row_ == labels().num_rows())) {
    return Error(ErrorKind::kConflict,
                 "the labels changed while they were being read: ", request_.left->name());
  }
  if (left_batch_ == nullptr) return nullptr;
  if (row_ == block_end_) GNOMON_RETURN_NOT_OK(GatherBlock());
  const int64_t count = std::min(left_batch_->num_rows(), block_end_ - row_);
  arrow::ArrayVector columns;
  for (const auto& column : left_batch_->columns()) columns.push_back(column->Slice(0, count));
  for (const auto& column : block_) {
    const bool whole = row_ == block_begin_ && count == column->length();
    columns.push_back(whole ? column : column->Slice(row_ - block_begin_, count));
  }
  row_ += count;
  left_batch_ = count == left_batch_->num_rows() ? nullptr : left_batch_->Slice(count);
  return arrow::RecordBatch::Make(bound_.schema, count, std::move(columns));
}

std::string Join::Explain() const {
  std::string text = Concat("point-in-time join of ", labels().num_rows(), " labels of ",
                            request_.left->name(), " (", labels().num_keys(), " keys)\n");
  for (size_t i = 0; i < bound_.right.size(); ++i) {
    const AsOfFeatures& features = *bound_.right[i].request;
    const AsOfStats::Side& side = stats_.right[i];
    text += Concat("  with ", side.name, " by (", gnomon::Join(features.by, ", "), ") on ",
                   features.on);
    if (features.tolerance > 0)
      text += Concat(", at most ", FormatDuration(features.tolerance), " old");
    if (!features.created.empty()) text += Concat(", ties by ", features.created);
    text += Concat("\n    match: keys and times of ", side.partitions - side.pruned, " of ",
                   side.partitions, " partitions",
                   bound_.right[i].times ? ", of pages within the labels' times" : "", "; ",
                   side.strategy.ToString(), "\n");
    text += Concat("      because ", side.strategy.reason, "\n");
    if (side.strategy.partitioned) {
      text += Concat("      a partition above ", side.strategy.slice_rows,
                     " rows is joined in slices of whole windows of ",
                     FormatDuration(request_.settings.window_size_for_joins), "\n");
    }
    text +=
        Concat("    gather: ", features.features.size(), " columns of the winning rows, blocks of ",
               request_.settings.block_rows, " labels at most\n");
  }
  return text;
}

}  // namespace

std::string AsOfStats::ToString() const {
  std::string text = Concat("labels: ", labels, " (", null_labels, " with a null key or time), ",
                            label_keys, " keys\n");
  for (const Side& side : right) {
    text += Concat(side.name, ": ", side.partitions, " partitions, ", side.pruned, " pruned, ",
                   side.pages_pruned, " of ", side.pages, " pages pruned, ", side.rows, " rows, ",
                   side.null_times, " without a time, ", side.matches, " labels matched; ",
                   side.strategy.ToString(), ", ", side.merged_rows, " rows merged");
    if (side.strategy.partitioned) text += Concat(", ", side.time_slices, " time slices");
    text += "\n";
  }
  text += Concat("gathered blocks: ", gathered_blocks, "\nspilled bytes: ", spilled_bytes, "\n");
  for (const auto& [step, sum] : seconds) text += Concat(step, ": ", FormatSeconds(sum), "\n");
  return text;
}

Result<std::unique_ptr<PointInTimeJoin>> PointInTimeJoin::Make(const Context& context,
                                                               AsOfRequest request) {
  auto join = std::make_unique<Join>(context, std::move(request));
  GNOMON_RETURN_NOT_OK(join->Prepare());
  return join;
}

}  // namespace gnomon::dataset
