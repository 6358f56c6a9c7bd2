#include <algorithm>

#include "base/parallel.h"
#include "dataset/asof/matching_internal.h"

namespace gnomon::dataset::internal {

namespace {

constexpr int64_t kMergeChunkRows = 1 << 19;

/// Rows that match nothing do not count.
bool IsInOrderOfTime(const MatchRows& rows) {
  int64_t latest = std::numeric_limits<int64_t>::min();
  for (size_t i = 0; i < rows.size(); ++i) {
    if (rows.ids[i] < 0) continue;
    if (rows.times[i] < latest) return false;
    latest = rows.times[i];
  }
  return true;
}

/// Partial joins over the partitions of each worker, merged at the end.
class BroadcastSink : public RowSink {
 public:
  BroadcastSink(const Context& context, const pit::AsOfJoin& base, const MatchSide& side,
                std::string spill_folder, int64_t num_labels, size_t workers)
      : context_(context),
        base_(base),
        side_(side),
        spill_folder_(std::move(spill_folder)),
        num_labels_(num_labels),
        workers_(workers) {}

  Status Add(size_t worker, const MatchRows& rows) override {
    std::unique_ptr<Partial>& partial = workers_[worker];
    if (partial == nullptr) {
      GNOMON_ASSIGN_OR_RETURN(pit::AsOfJoin own, base_.MakePartial());
      partial = std::make_unique<Partial>(context_, side_.strategy->kernel, std::move(own));
    }
    return partial->feed.Add(rows);
  }

  Status EndPartition(size_t worker) override {
    return workers_[worker] == nullptr ? Status::OK() : workers_[worker]->feed.Flush();
  }

  Result<SpillableArray<int64_t>> Finish() override {
    GNOMON_ASSIGN_OR_RETURN(pit::AsOfJoin merged, base_.MakePartial());
    bool any = false;
    for (std::unique_ptr<Partial>& partial : workers_) {
      if (partial == nullptr) continue;
      side_.stats->merged_rows += partial->feed.merged_rows();
      if (any) {
        GNOMON_RETURN_NOT_OK(merged.Merge(context_, partial->join));
      } else {
        merged = std::move(partial->join);
      }
      any = true;
      partial.reset();
    }
    GNOMON_ASSIGN_OR_RETURN(auto winners,
                            SpillableArray<int64_t>::Make(context_, spill_folder_, num_labels_));
    GNOMON_RETURN_NOT_OK(merged.Finish(context_, winners.values()));
    return winners;
  }

 private:
  struct Partial {
    Partial(const Context& context, AsOfKernel kernel, pit::AsOfJoin own)
        : join(std::move(own)), feed(context, kernel, kMergeChunkRows, &join) {}
    pit::AsOfJoin join;
    KernelFeed feed;
  };

  const Context& context_;
  const pit::AsOfJoin& base_;
  const MatchSide side_;
  const std::string spill_folder_;
  const int64_t num_labels_;
  std::vector<std::unique_ptr<Partial>> workers_;
};

/// One pass over the partitions of several right tables: batch by batch, side by side.
class SideBySide {
 public:
  SideBySide(const Context& context, const Labels& labels, const std::vector<MatchSide>& sides,
             const std::vector<CompanionScan*>& companions, bool refined, int64_t batch_rows)
      : context_(context),
        labels_(labels),
        sides_(sides),
        companions_(companions),
        refined_(refined),
        batch_rows_(batch_rows) {
    int64_t workers = std::numeric_limits<int64_t>::max();
    for (const MatchSide& side : sides) {
      workers = std::min<int64_t>(workers, side.strategy->workers);
      partitions_.insert(partitions_.end(), side.features->partitions.begin(),
                         side.features->partitions.end());
    }
    for (const CompanionScan* companion : companions) {
      partitions_.insert(partitions_.end(), companion->partitions().begin(),
                         companion->partitions().end());
    }
    std::ranges::sort(partitions_);
    const auto again = std::ranges::unique(partitions_);
    partitions_.erase(again.begin(), again.end());
    const auto most = std::max<int64_t>(1, static_cast<int64_t>(partitions_.size()));
    workers_ = static_cast<size_t>(std::clamp<int64_t>(workers, 1, most));
  }

  size_t workers() const { return workers_; }

  Status Run(const std::vector<std::unique_ptr<RowSink>>& sinks) {
    std::vector<std::atomic<int64_t>> num_rows(sides_.size());
    std::vector<std::atomic<int64_t>> null_times(sides_.size());
    std::vector<std::atomic<int64_t>> pages(sides_.size());
    std::vector<std::atomic<int64_t>> pages_pruned(sides_.size());
    std::atomic<size_t> next{0};
    for (CompanionScan* companion : companions_) GNOMON_RETURN_NOT_OK(companion->Begin());
    GNOMON_RETURN_NOT_OK(
        ParallelFor(context_, static_cast<int64_t>(workers_), [&](int64_t worker) -> Status {
          for (size_t i = next++; i < partitions_.size(); i = next++) {
            GNOMON_ASSIGN_OR_RETURN(auto readers, OpenAll(partitions_[i]));
            GNOMON_ASSIGN_OR_RETURN(auto companions, OpenCompanions(partitions_[i]));
            GNOMON_RETURN_NOT_OK(
                ReadAll(static_cast<size_t>(worker), sinks, &readers, &companions));
            for (const Reader& reader : readers) {
              num_rows[reader.side] += reader.num_rows;
              null_times[reader.side] += reader.stream.null_times();
              pages[reader.side] += reader.stream.pages().pages;
              pages_pruned[reader.side] += reader.stream.pages().pruned;
            }
          }
          return Status::OK();
        }));
    for (size_t side = 0; side < sides_.size(); ++side) {
      sides_[side].stats->rows = num_rows[side];
      sides_[side].stats->null_times = null_times[side];
      sides_[side].stats->pages = pages[side];
      sides_[side].stats->pages_pruned = pages_pruned[side];
    }
    return Status::OK();
  }

 private:
  struct Reader {
    size_t side;
    MatchStream stream;
    int64_t num_rows = 0;
    bool at_end = false;
  };

  /// All streams are open before one of them is read: what they share is read once.
  Result<std::vector<Reader>> OpenAll(int64_t partition) const {
    std::vector<Reader> readers;
    for (size_t side = 0; side < sides_.size(); ++side) {
      const BoundFeatures& features = *sides_[side].features;
      if (!std::ranges::binary_search(features.partitions, partition)) continue;
      const table::KeyIndex* const index = labels_.KeysOf(features.left_by).index.get();
      GNOMON_ASSIGN_OR_RETURN(
          MatchStream stream,
          MatchStream::Open(context_, features, index, partition, refined_, batch_rows_));
      readers.push_back({.side = side, .stream = std::move(stream)});
    }
    return readers;
  }

  using CompanionReadings = std::vector<std::unique_ptr<CompanionScan::Reading>>;

  Result<CompanionReadings> OpenCompanions(int64_t partition) const {
    CompanionReadings readings;
    for (CompanionScan* companion : companions_) {
      if (!std::ranges::binary_search(companion->partitions(), partition)) continue;
      GNOMON_ASSIGN_OR_RETURN(auto reading, companion->Open(partition));
      readings.push_back(std::move(reading));
    }
    return readings;
  }

  Status ReadAll(size_t worker, const std::vector<std::unique_ptr<RowSink>>& sinks,
                 std::vector<Reader>* readers, CompanionReadings* companions) const {
    MatchRows rows;
    for (size_t left = readers->size(); left > 0 || !companions->empty();) {
      for (Reader& reader : *readers) {
        if (reader.at_end) continue;
        GNOMON_RETURN_NOT_OK(context_.Check());
        GNOMON_ASSIGN_OR_RETURN(const bool more, reader.stream.Next(&rows));
        if (more) {
          reader.num_rows += static_cast<int64_t>(rows.size());
          GNOMON_RETURN_NOT_OK(sinks[reader.side]->Add(worker, rows));
          continue;
        }
        GNOMON_RETURN_NOT_OK(sinks[reader.side]->EndPartition(worker));
        reader.at_end = true;
        --left;
      }
      for (auto& companion : *companions) {
        GNOMON_RETURN_NOT_OK(context_.Check());
        GNOMON_ASSIGN_OR_RETURN(const bool more, companion->Next());
        if (!more) companion.reset();
      }
      std::erase(*companions, nullptr);
    }
    return Status::OK();
  }

  const Context& context_;
  const Labels& labels_;
  const std::vector<MatchSide>& sides_;
  const std::vector<CompanionScan*>& companions_;
  const bool refined_;
  const int64_t batch_rows_;
  std::vector<int64_t> partitions_;
  size_t workers_ = 1;
};

}  // namespace

Status KernelFeed::Add(const MatchRows& rows) {
  if (kernel_ == AsOfKernel::kLabelSide) {
    if (rows.numbers.empty()) return join_->AddRows(rows.ids, rows.times, rows.created, rows.first);
    return join_->AddNumberedRows(rows.ids, rows.times, rows.created, rows.numbers);
  }
  const auto append = [](auto* to, const auto& from) {
    to->insert(to->end(), from.begin(), from.end());
  };
  append(&pending_.ids, rows.ids);
  append(&pending_.times, rows.times);
  append(&pending_.created, rows.created);
  append(&pending_.numbers, rows.numbers);
  for (size_t i = 0; rows.numbers.empty() && i < rows.size(); ++i)
    pending_.numbers.push_back(rows.first + static_cast<int64_t>(i));
  return static_cast<int64_t>(pending_.size()) >= chunk_rows_ ? Flush() : Status::OK();
}

Status KernelFeed::Flush() {
  if (pending_.size() == 0) return Status::OK();
  if (IsInOrderOfTime(pending_)) {
    GNOMON_RETURN_NOT_OK(join_->MergeRows(context_, pending_.ids, pending_.times, pending_.created,
                                          pending_.numbers));
    merged_rows_ += static_cast<int64_t>(pending_.size());
  } else {
    GNOMON_RETURN_NOT_OK(
        join_->AddNumberedRows(pending_.ids, pending_.times, pending_.created, pending_.numbers));
  }
  pending_.ids.clear();
  pending_.times.clear();
  pending_.created.clear();
  pending_.numbers.clear();
  return Status::OK();
}

Matcher::BaseKey Matcher::KeyOf(const BoundFeatures& features, bool refined) const {
  return {features.left_by, MatchUnit(features, refined), features.request->tolerance,
          features.request->filter_by_created};
}

Result<const pit::AsOfJoin*> Matcher::Base(const BoundFeatures& features, bool refined) {
  const BaseKey key = KeyOf(features, refined);
  if (const auto found = bases_.find(key); found != bases_.end()) return &found->second;
  const int64_t unit = MatchUnit(features, refined);
  MemoryReservation copies(context_.memory);
  GNOMON_RETURN_NOT_OK(copies.Grow(labels_.num_rows() * 16));
  const LabelBounds bounds =
      BoundsOf(labels_.times(), labels_.unit_nanos(), features.request->tolerance, unit);
  GNOMON_ASSIGN_OR_RETURN(
      pit::AsOfJoin join,
      pit::AsOfJoin::Make(context_, labels_.KeysOf(features.left_by).ids.values(), bounds.times,
                          bounds.oldest,
                          {.filter_by_created = features.request->filter_by_created}));
  return &bases_.emplace(key, std::move(join)).first->second;
}

Status Matcher::Prepare(const BoundFeatures& features, const AsOfStrategy& strategy) {
  if (strategy.partitioned) return Status::OK();
  return Base(features, /*refined=*/true).status();
}

Result<std::vector<SpillableArray<int64_t>>> Matcher::Match(
    const std::vector<MatchSide>& sides, const std::vector<CompanionScan*>& companions) {
  auto winners = TryMatch(sides, companions, /*refined=*/true);
  if (IsUnitOverflow(winners.status())) winners = TryMatch(sides, companions, /*refined=*/false);
  GNOMON_RETURN_NOT_OK(winners.status());
  for (size_t side = 0; side < sides.size(); ++side) {
    spilled_bytes_ += (*winners)[side].spilled_bytes();
    for (const int64_t number : (*winners)[side].values())
      sides[side].stats->matches += number >= 0 ? 1 : 0;
  }
  return winners;
}

Result<std::vector<SpillableArray<int64_t>>> Matcher::TryMatch(
    const std::vector<MatchSide>& sides, const std::vector<CompanionScan*>& companions,
    bool refined) {
  SideBySide scan(context_, labels_, sides, companions, refined, settings_.batch_rows);
  std::vector<std::unique_ptr<RowSink>> sinks;
  for (const MatchSide& side : sides) {
    side.stats->rows = 0;
    side.stats->null_times = 0;
    side.stats->matches = 0;
    side.stats->merged_rows = 0;
    GNOMON_ASSIGN_OR_RETURN(auto sink, MakeSink(side, refined, scan.workers()));
    sinks.push_back(std::move(sink));
  }
  GNOMON_RETURN_NOT_OK(scan.Run(sinks));
  std::vector<SpillableArray<int64_t>> winners;
  for (auto& sink : sinks) {
    GNOMON_ASSIGN_OR_RETURN(auto of_side, sink->Finish());
    winners.push_back(std::move(of_side));
    sink.reset();
  }
  return winners;
}

Result<std::unique_ptr<RowSink>> Matcher::MakeSink(const MatchSide& side, bool refined,
                                                   size_t workers) {
  if (side.strategy->partitioned) return MakePartitionedSink(side, refined, workers);
  GNOMON_ASSIGN_OR_RETURN(const pit::AsOfJoin* const base, Base(*side.features, refined));
  return std::make_unique<BroadcastSink>(context_, *base, side, settings_.spill_folder,
                                         labels_.num_rows(), workers);
}

}  // namespace gnomon::dataset::internal
