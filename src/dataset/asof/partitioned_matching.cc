#include <algorithm>
#include <atomic>
#include <map>

#include "base/parallel.h"
#include "dataset/asof/key_partitions_internal.h"
#include "dataset/asof/matching_internal.h"
#include "pit/time_unit.h"

/// The partitioned matching: both sides cut up by key, one join for each partition, in slices of
/// time where a partition has more feature rows than may lie in memory at once.
namespace gnomon::dataset::internal {

namespace {

constexpr int64_t kMicro = 1000;  ///< nanoseconds
constexpr int64_t kLabelChunkRows = int64_t{64} * 1024;

/// Feature rows of [first, last], both inclusive.
struct TimeSlice {
  int64_t first;
  int64_t last;
};

/// The rows of a chunk with the keys from `first_key` on, which are numbered anew from 0, and times
/// in the slice.
MatchRows Select(const MatchRows& chunk, int64_t first_key, const TimeSlice& slice) {
  MatchRows chosen;
  for (size_t i = 0; i < chunk.size(); ++i) {
    if (chunk.times[i] < slice.first || chunk.times[i] > slice.last) continue;
    chosen.ids.push_back(static_cast<int32_t>(chunk.ids[i] - first_key));
    chosen.times.push_back(chunk.times[i]);
    chosen.numbers.push_back(chunk.numbers[i]);
    if (!chunk.created.empty()) chosen.created.push_back(chunk.created[i]);
  }
  return chosen;
}

/// Cuts a partition into slices of whole windows with about `slice_rows` rows each. Each label
/// keeps the latest row that it has seen, and the labels after a slice take it over, so that slices
/// need no rows of earlier ones.
Result<std::vector<TimeSlice>> SliceByTime(const KeyPartitions& features, int64_t partition,
                                           int64_t window, int64_t slice_rows) {
  constexpr TimeSlice kAll{std::numeric_limits<int64_t>::min(),
                           std::numeric_limits<int64_t>::max()};
  if (features.num_rows(partition) <= slice_rows) return std::vector<TimeSlice>{kAll};
  std::map<int64_t, int64_t> rows_of_window;
  GNOMON_RETURN_NOT_OK(features.ForEachChunk(partition, [&](const MatchRows& chunk) {
    for (const int64_t time : chunk.times)
      ++rows_of_window[time / window - (time % window < 0 ? 1 : 0)];
    return Status::OK();
  }));
  std::vector<TimeSlice> slices;
  int64_t rows = 0;
  for (const auto& [number, count] : rows_of_window) {
    if (slices.empty() || rows + count > slice_rows) {
      int64_t first = kAll.first;
      if (!slices.empty() && !__builtin_mul_overflow(number, window, &first))
        slices.back().last = first - 1;
      slices.push_back({slices.empty() ? kAll.first : first, kAll.last});
      rows = 0;
    }
    rows += count;
  }
  return slices;
}

/// Puts the labels into partitions, numbered as in the left table.
Status PartitionLabels(const Context& context, const Labels& labels, std::span<const int32_t> ids,
                       KeyPartitions* partitions) {
  KeyPartitions::Writer writer(partitions);
  MatchRows rows;
  for (int64_t begin = 0; begin < labels.num_rows(); begin += kLabelChunkRows) {
    GNOMON_RETURN_NOT_OK(context.Check());
    const auto from = static_cast<size_t>(begin);
    const auto count = static_cast<size_t>(std::min(kLabelChunkRows, labels.num_rows() - begin));
    const auto chosen = ids.subspan(from, count);
    const auto times = labels.times().subspan(from, count);
    rows.ids.assign(chosen.begin(), chosen.end());
    rows.times.assign(times.begin(), times.end());
    rows.first = begin;
    GNOMON_RETURN_NOT_OK(writer.Add(rows));
  }
  return writer.Flush();
}

/// All labels of one partition.
Result<MatchRows> CollectLabels(const KeyPartitions& partitions, int64_t partition,
                                MemoryReservation* memory) {
  constexpr TimeSlice kAll{std::numeric_limits<int64_t>::min(),
                           std::numeric_limits<int64_t>::max()};
  GNOMON_RETURN_NOT_OK(memory->Grow(partitions.num_rows(partition) * 36));
  MatchRows labels;
  const int64_t first_key = partitions.FirstKey(partition);
  GNOMON_RETURN_NOT_OK(partitions.ForEachChunk(partition, [&](const MatchRows& chunk) {
    const MatchRows rows = Select(chunk, first_key, kAll);
    labels.ids.insert(labels.ids.end(), rows.ids.begin(), rows.ids.end());
    labels.times.insert(labels.times.end(), rows.times.begin(), rows.times.end());
    labels.numbers.insert(labels.numbers.end(), rows.numbers.begin(), rows.numbers.end());
    return Status::OK();
  }));
  return labels;
}

/// Joins the partitions of both sides, each on its own.
class PartitionJoins {
 public:
  PartitionJoins(const Context& context, const Labels& labels, const AsOfSettings& settings,
                 const BoundFeatures& features, const AsOfStrategy& strategy, int64_t unit)
      : context_(context),
        labels_(labels),
        features_(features),
        strategy_(strategy),
        unit_(unit),
        window_(std::max<int64_t>(
            1, pit::FloorToUnit(pit::ToNanos(settings.window_size_for_joins, kMicro), unit))) {}

  /// Each worker joins the next partition; fewer workers when their partitions do not fit together.
  Status Run(KeyPartitions* label_parts, KeyPartitions* feature_parts, std::span<int64_t> winners) {
    int64_t largest = 1;
    for (int64_t partition = 0; partition < strategy_.num_partitions; ++partition)
      largest = std::max(largest, label_parts->num_rows(partition));
    const int64_t bytes = LabelIndexBytes(largest, 1) + strategy_.slice_rows * 40;
    const int64_t workers =
        std::clamp<int64_t>(AvailableBytes(context_) / bytes, 1, strategy_.workers);
    std::atomic<int64_t> next{0};
    return ParallelFor(context_, workers, [&](int64_t /*worker*/) {
      for (int64_t i = next++; i < strategy_.num_partitions; i = next++)
        GNOMON_RETURN_NOT_OK(JoinOne(i, label_parts, feature_parts, winners));
      return Status::OK();
    });
  }

  int64_t num_slices() const { return num_slices_; }
  int64_t merged_rows() const { return merged_rows_; }

 private:
  Status JoinOne(int64_t partition, KeyPartitions* label_parts, KeyPartitions* feature_parts,
                 std::span<int64_t> winners) {
    if (label_parts->num_rows(partition) == 0) return Status::OK();
    MemoryReservation memory(context_.memory);
    GNOMON_ASSIGN_OR_RETURN(const MatchRows labels,
                            CollectLabels(*label_parts, partition, &memory));
    label_parts->Drop(partition);
    const LabelBounds bounds =
        BoundsOf(labels.times, labels_.unit_nanos(), features_.request->tolerance, unit_);
    GNOMON_ASSIGN_OR_RETURN(
        pit::AsOfJoin join,
        pit::AsOfJoin::Make(context_, labels.ids, bounds.times, bounds.oldest,
                            {.filter_by_created = features_.request->filter_by_created}));
    GNOMON_RETURN_NOT_OK(FeedSlices(partition, *feature_parts, &join));
    feature_parts->Drop(partition);
    GNOMON_ASSIGN_OR_RETURN(const std::vector<int64_t> won, join.Finish(context_));
    for (size_t i = 0; i < won.size(); ++i)
      winners[static_cast<size_t>(labels.numbers[i])] = won[i];
    return Status::OK();
  }

  Status FeedSlices(int64_t partition, const KeyPartitions& feature_parts, pit::AsOfJoin* join) {
    const int64_t first_key = feature_parts.FirstKey(partition);
    GNOMON_ASSIGN_OR_RETURN(const auto slices,
                            SliceByTime(feature_parts, partition, window_, strategy_.slice_rows));
    num_slices_ += static_cast<int64_t>(slices.size());
    for (const TimeSlice& slice : slices) {
      KernelFeed feed(context_, strategy_.kernel, strategy_.slice_rows, join);
      GNOMON_RETURN_NOT_OK(feature_parts.ForEachChunk(partition, [&](const MatchRows& chunk) {
        return feed.Add(Select(chunk, first_key, slice));
      }));
      GNOMON_RETURN_NOT_OK(feed.Flush());
      merged_rows_ += feed.merged_rows();
    }
    return Status::OK();
  }

  const Context& context_;
  const Labels& labels_;
  const BoundFeatures& features_;
  const AsOfStrategy& strategy_;
  const int64_t unit_;
  const int64_t window_;
  std::atomic<int64_t> num_slices_{0};
  std::atomic<int64_t> merged_rows_{0};
};

/// Cuts the rows up by key; the joins come at the end.
class PartitionedSink : public RowSink {
 public:
  PartitionedSink(const Context& context, const Labels& labels, const AsOfSettings& settings,
                  const MatchSide& side, int64_t unit, size_t workers,
                  std::atomic<int64_t>* spilled_bytes)
      : context_(context),
        labels_(labels),
        settings_(settings),
        side_(side),
        unit_(unit),
        spilled_bytes_(spilled_bytes),
        label_parts_(context, NumKeys(), side.strategy->num_partitions, false,
                     settings.spill_folder),
        feature_parts_(context, NumKeys(), side.strategy->num_partitions,
                       side.features->created >= 0, settings.spill_folder) {
    for (size_t worker = 0; worker < workers; ++worker) writers_.emplace_back(&feature_parts_);
  }

  Status PartLabels() {
    GNOMON_ASSIGN_OR_RETURN(winners_, SpillableArray<int64_t>::Make(
                                          context_, settings_.spill_folder, labels_.num_rows()));
    std::ranges::fill(winners_.values(), pit::kNoRow);
    return PartitionLabels(context_, labels_, Keys().ids.values(), &label_parts_);
  }

  Status Add(size_t worker, const MatchRows& rows) override { return writers_[worker].Add(rows); }
  Status EndPartition(size_t /*worker*/) override { return Status::OK(); }

  Result<SpillableArray<int64_t>> Finish() override {
    for (KeyPartitions::Writer& writer : writers_) GNOMON_RETURN_NOT_OK(writer.Flush());
    *spilled_bytes_ += label_parts_.spilled_bytes() + feature_parts_.spilled_bytes();
    PartitionJoins joins(context_, labels_, settings_, *side_.features, *side_.strategy, unit_);
    GNOMON_RETURN_NOT_OK(joins.Run(&label_parts_, &feature_parts_, winners_.values()));
    side_.stats->hash_partitions = side_.strategy->num_partitions;
    side_.stats->time_slices = joins.num_slices();
    side_.stats->merged_rows = joins.merged_rows();
    return std::move(winners_);
  }

 private:
  const Labels::KeySet& Keys() const { return labels_.KeysOf(side_.features->left_by); }
  int64_t NumKeys() const { return Keys().num_keys; }

  const Context& context_;
  const Labels& labels_;
  const AsOfSettings& settings_;
  const MatchSide side_;
  const int64_t unit_;
  std::atomic<int64_t>* spilled_bytes_;
  KeyPartitions label_parts_;
  KeyPartitions feature_parts_;
  std::vector<KeyPartitions::Writer> writers_;
  SpillableArray<int64_t> winners_;
};

}  // namespace

Result<std::unique_ptr<RowSink>> Matcher::MakePartitionedSink(const MatchSide& side, bool refined,
                                                              size_t workers) {
  auto sink = std::make_unique<PartitionedSink>(context_, labels_, settings_, side,
                                                MatchUnit(*side.features, refined), workers,
                                                &spilled_bytes_);
  GNOMON_RETURN_NOT_OK(sink->PartLabels());
  return sink;
}

}  // namespace gnomon::dataset::internal
