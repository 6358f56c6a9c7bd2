#include <algorithm>
#include <atomic>
#include <map>

#include "base/parallel.h"
#include "base/text.h"
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
    GNOMON_ASSIGN_OR_RETURN(const std::vector<int64_t> won, join.Finish());
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

}  // namespace

Result<SpillableArray<int64_t>> Matcher::Partitioned(const BoundFeatures& features,
                                                     const AsOfStrategy& strategy, bool refined,
                                                     AsOfStats::Side* stats) {
  const Labels::KeySet& keys = labels_.KeysOf(features.left_by);
  GNOMON_ASSIGN_OR_RETURN(auto winners, SpillableArray<int64_t>::Make(
                                            context_, settings_.spill_folder, labels_.num_rows()));
  std::ranges::fill(winners.values(), pit::kNoRow);

  KeyPartitions label_parts(context_, keys.num_keys, strategy.num_partitions, false,
                            settings_.spill_folder);
  GNOMON_RETURN_NOT_OK(PartitionLabels(context_, labels_, keys.ids.values(), &label_parts));
  KeyPartitions feature_parts(context_, keys.num_keys, strategy.num_partitions,
                              features.created >= 0, settings_.spill_folder);
  GNOMON_RETURN_NOT_OK(
      PartitionFeatures(features, strategy.workers, refined, &feature_parts, stats));
  spilled_bytes_ += label_parts.spilled_bytes() + feature_parts.spilled_bytes();

  PartitionJoins joins(context_, labels_, settings_, features, strategy,
                       MatchUnit(features, refined));
  GNOMON_RETURN_NOT_OK(joins.Run(&label_parts, &feature_parts, winners.values()));
  stats->hash_partitions = strategy.num_partitions;
  stats->time_slices = joins.num_slices();
  stats->merged_rows = joins.merged_rows();
  return winners;
}

Status Matcher::PartitionFeatures(const BoundFeatures& features, int64_t max_workers, bool refined,
                                  KeyPartitions* into, AsOfStats::Side* stats) {
  const table::KeyIndex* const index = labels_.KeysOf(features.left_by).index.get();
  const int64_t workers = std::clamp<int64_t>(
      max_workers, 1, std::max<int64_t>(1, static_cast<int64_t>(features.partitions.size())));
  std::atomic<size_t> next{0};
  std::atomic<int64_t> num_rows{0};
  std::atomic<int64_t> null_times{0};
  GNOMON_RETURN_NOT_OK(ParallelFor(context_, workers, [&](int64_t /*worker*/) {
    KeyPartitions::Writer writer(into);
    MatchRows rows;
    for (size_t i = next++; i < features.partitions.size(); i = next++) {
      GNOMON_ASSIGN_OR_RETURN(MatchStream stream,
                              MatchStream::Open(context_, features, index, features.partitions[i],
                                                refined, settings_.batch_rows));
      while (true) {
        GNOMON_RETURN_NOT_OK(context_.Check());
        GNOMON_ASSIGN_OR_RETURN(const bool more, stream.Next(&rows));
        if (!more) break;
        num_rows += static_cast<int64_t>(rows.size());
        GNOMON_RETURN_NOT_OK(writer.Add(rows));
      }
      null_times += stream.null_times();
    }
    return writer.Flush();
  }));
  stats->rows = num_rows;
  stats->null_times = null_times;
  return Status::OK();
}

}  // namespace gnomon::dataset::internal
