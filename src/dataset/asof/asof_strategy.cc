#include "dataset/asof/asof_strategy.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <vector>

#include "base/memory.h"
#include "base/text.h"

namespace gnomon::dataset {

namespace {

/// A label's key id, time and row number, as both sides hold and shuffle them.
constexpr int64_t kLabelBytes = 20;
constexpr int64_t kShuffledRowBytes = 28;
/// Of the index: order, time, oldest time, and the copies it is made from.
constexpr int64_t kIndexBytes = 40;
constexpr int64_t kSlotBytes = 24;
constexpr int64_t kMaxPartitions = 1024;

Status BadValue(std::string_view name, std::string_view value, std::string_view wanted) {
  return Error(ErrorKind::kUser, "setting ", name, " must be ", wanted, ": ", Quoted(value));
}

template <typename Number>
Status ParseNumber(std::string_view name, std::string_view value, Number least,
                   std::string_view wanted, Number* out) {
  Number number{};
  const char* end = value.data() + value.size();
  const auto [stop, error] = std::from_chars(value.data(), end, number);
  if (error != std::errc() || stop != end || !(number >= least) || number > Number{1'000'000'000}) {
    return BadValue(name, value, wanted);
  }
  *out = number;
  return Status::OK();
}

Status ParseMegabytes(std::string_view name, std::string_view value, int64_t least,
                      std::string_view wanted, int64_t* out) {
  int64_t megabytes = 0;
  GNOMON_RETURN_NOT_OK(ParseNumber<int64_t>(name, value, least, wanted, &megabytes));
  *out = megabytes * kMegabyte;
  return Status::OK();
}

int64_t DivideUp(int64_t value, int64_t by) { return (value + by - 1) / by; }

}  // namespace

Status AsOfSettings::Set(std::string_view name, std::string_view value) {
  if (name == "max_workers")
    return ParseNumber<int64_t>(name, value, 0, "a number of threads, 0 for all", &max_workers);
  if (name == "broadcast_join_threshold_mb")
    return ParseMegabytes(name, value, 0, "a number of MB", &broadcast_join_threshold);
  if (name == "target_partition_size_mb")
    return ParseMegabytes(name, value, 1, "a number of MB from 1", &target_partition_size);
  if (name == "max_parallelism_multiplier") {
    return ParseNumber<double>(name, value, 0.01, "a number above 0", &max_parallelism_multiplier);
  }
  if (name == "enable_optimization") {
    if (value != "true" && value != "false") return BadValue(name, value, "true or false");
    enable_optimization = value == "true";
    return Status::OK();
  }
  if (name == "window_size_for_joins") {
    const auto window = ParseDuration(value);
    if (!window.ok() || *window <= 0)
      return BadValue(name, value, "a duration such as 1H, 30min or 15s");
    window_size_for_joins = *window;
    return Status::OK();
  }
  const std::array<std::string, 6> names = {"max_workers",
                                            "enable_optimization",
                                            "broadcast_join_threshold_mb",
                                            "max_parallelism_multiplier",
                                            "target_partition_size_mb",
                                            "window_size_for_joins"};
  return MakeError(ErrorKind::kNotFound, Concat("no such setting: ", Quoted(name)), {},
                   DidYouMean(name, names));
}

int64_t LabelIndexBytes(int64_t labels, int workers) {
  return labels * (kIndexBytes + kSlotBytes * (workers + 1));
}

AsOfStrategy ChooseAsOfStrategy(const AsOfSizes& sizes, const AsOfSettings& settings) {
  AsOfStrategy strategy;
  strategy.workers = sizes.workers;
  const int64_t threshold = settings.broadcast_join_threshold;
  const int64_t label_bytes = sizes.labels * kLabelBytes;
  const bool features_small = sizes.feature_bytes >= 0 && sizes.feature_bytes <= threshold;
  const bool labels_small = label_bytes <= threshold;
  // A quarter is left for reading.
  const int64_t usable = sizes.memory / 4 * 3;
  while (strategy.workers > 1 && LabelIndexBytes(sizes.labels, strategy.workers) > usable)
    --strategy.workers;
  const bool fits = LabelIndexBytes(sizes.labels, strategy.workers) <= usable;
  const std::string bound = Concat("the broadcast threshold of ", FormatBytes(threshold));
  if (!settings.enable_optimization) {
    strategy.partitioned = true;
    strategy.reason = "enable_optimization is false";
  } else if (!fits) {
    strategy.partitioned = true;
    strategy.reason = Concat("the index of ", sizes.labels, " labels (",
                             FormatBytes(LabelIndexBytes(sizes.labels, 1)),
                             ") does not fit the memory (", FormatBytes(sizes.memory), ")");
  } else if (labels_small) {
    strategy.reason =
        Concat("keys and times of the labels (", FormatBytes(label_bytes), ") are within ", bound);
  } else if (features_small) {
    strategy.reason =
        Concat("the features (", FormatBytes(sizes.feature_bytes), ") are within ", bound);
  } else {
    strategy.partitioned = true;
    strategy.reason =
        Concat("labels (", FormatBytes(label_bytes), ") and features (",
               sizes.feature_bytes < 0 ? std::string("unknown") : FormatBytes(sizes.feature_bytes),
               ") are both above ", bound);
  }
  const int64_t labels_per_key = sizes.labels / std::max<int64_t>(1, sizes.keys);
  if (labels_per_key >= kMergeLabelsPerKey) strategy.kernel = AsOfKernel::kMerge;
  strategy.reason += Concat("; ", labels_per_key, " labels a key");
  if (!strategy.partitioned) return strategy;

  strategy.workers = sizes.workers;
  const int64_t shuffled =
      label_bytes + std::max<int64_t>(0, sizes.feature_rows) * kShuffledRowBytes;
  const int64_t share = std::max<int64_t>(1 << 16, sizes.memory / (4 * sizes.workers));
  const int64_t target = std::max<int64_t>(1, std::min(settings.target_partition_size, share));
  const auto least = static_cast<int64_t>(
      std::ceil(static_cast<double>(sizes.workers) * settings.max_parallelism_multiplier));
  strategy.num_partitions =
      std::clamp<int64_t>(std::max(least, DivideUp(shuffled, target)), 1,
                          std::max<int64_t>(1, std::min<int64_t>(kMaxPartitions, sizes.keys)));
  strategy.slice_rows = std::max<int64_t>(1, target / kShuffledRowBytes);
  return strategy;
}

std::string AsOfStrategy::ToString() const {
  const std::string_view name = kernel == AsOfKernel::kMerge ? "merge kernel" : "label-side kernel";
  if (!partitioned) return Concat("broadcast, ", name, ", ", workers, " workers");
  return Concat("partitioned by key into ", num_partitions, ", ", name, ", ", workers, " workers");
}

}  // namespace gnomon::dataset
