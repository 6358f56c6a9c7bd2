#include "dataset/asof/asof_strategy.h"

#include <limits>

#include <doctest/doctest.h>

#include "tests/support/status.h"

namespace gnomon::dataset {
namespace {

AsOfSizes Sizes(int64_t labels, int64_t keys, int64_t feature_bytes) {
  return {.labels = labels,
          .keys = keys,
          .feature_bytes = feature_bytes,
          .feature_rows = feature_bytes / 80,
          .memory = std::numeric_limits<int64_t>::max(),
          .workers = 4};
}

TEST_CASE("a join with one small side is broadcast, one with two large sides is partitioned") {
  const AsOfSettings settings;
  CHECK_FALSE(ChooseAsOfStrategy(Sizes(1'000'000, 10, 800'000'000), settings).partitioned);
  CHECK_FALSE(ChooseAsOfStrategy(Sizes(50'000'000, 10, 1'000'000), settings).partitioned);
  const AsOfStrategy large = ChooseAsOfStrategy(Sizes(50'000'000, 1000, 800'000'000), settings);
  CHECK(large.partitioned);
  CHECK(large.num_partitions == 20);  // 1.28 GB in parts of 64 MB
  AsOfSettings higher;
  higher.broadcast_join_threshold = 1000 * kMegabyte;
  CHECK_FALSE(ChooseAsOfStrategy(Sizes(50'000'000, 10, 800'000'000), higher).partitioned);
  CHECK(ChooseAsOfStrategy(Sizes(50'000'000, 10, -1), settings).partitioned);
}

TEST_CASE(
    "labels whose index does not fit the memory are partitioned, or joined by fewer workers") {
  AsOfSizes sizes = Sizes(1'000'000, 1000, 800'000'000);
  sizes.memory = 400 << 20;
  CHECK(ChooseAsOfStrategy(sizes, {}).workers == 4);
  sizes.memory = 160 << 20;
  CHECK(ChooseAsOfStrategy(sizes, {}).workers == 2);
  sizes.memory = 60 << 20;
  const AsOfStrategy small = ChooseAsOfStrategy(sizes, {});
  CHECK(small.partitioned);
  CHECK(small.reason.find("does not fit the memory") != std::string::npos);
}

TEST_CASE("many labels a key are for the merge kernel, few are looked up") {
  CHECK(ChooseAsOfStrategy(Sizes(1'000'000, 10'000, 1), {}).kernel == AsOfKernel::kLabelSide);
  CHECK(ChooseAsOfStrategy(Sizes(1'000'000, 10, 1), {}).kernel == AsOfKernel::kMerge);
}

TEST_CASE("each setting changes the strategy") {
  AsOfSettings settings;
  CHECK_OK(settings.Set("enable_optimization", "false"));
  const AsOfSizes sizes = Sizes(1'000'000, 1000, 80'000'000);
  AsOfStrategy strategy = ChooseAsOfStrategy(sizes, settings);
  CHECK(strategy.partitioned);
  CHECK(strategy.num_partitions == 8);
  CHECK_OK(settings.Set("max_parallelism_multiplier", "3.5"));
  CHECK(ChooseAsOfStrategy(sizes, settings).num_partitions == 14);
  CHECK_OK(settings.Set("target_partition_size_mb", "1"));
  strategy = ChooseAsOfStrategy(sizes, settings);
  CHECK(strategy.num_partitions == 46);
  CHECK(strategy.slice_rows == 37449);  // (1 << 20) / 28
  CHECK_OK(settings.Set("enable_optimization", "true"));
  CHECK_OK(settings.Set("broadcast_join_threshold_mb", "0"));
  CHECK(ChooseAsOfStrategy(sizes, settings).partitioned);
  CHECK_OK(settings.Set("max_workers", "1"));
  CHECK(settings.max_workers == 1);
}

TEST_CASE("windows parse as the documents write them, anything else is an error") {
  AsOfSettings settings;
  CHECK_OK(settings.Set("window_size_for_joins", "2H"));
  CHECK(settings.window_size_for_joins == 7200 * kMicrosPerSecond);
  CHECK_OK(settings.Set("window_size_for_joins", "30min"));
  CHECK_OK(settings.Set("window_size_for_joins", "15s"));
  CHECK(settings.window_size_for_joins == 15 * kMicrosPerSecond);
  for (const char* wrong : {"0s", "", "1 hour", "-1H", "H", "1.5H"}) {
    CAPTURE(wrong);
    CHECK(KindOf(settings.Set("window_size_for_joins", wrong)) == ErrorKind::kUser);
  }
  for (const char* name : {"max_workers", "broadcast_join_threshold_mb", "target_partition_size_mb",
                           "max_parallelism_multiplier", "enable_optimization"}) {
    CAPTURE(name);
    for (const char* wrong : {"", "x", "-1", "nan", "1e99"})
      CHECK(KindOf(settings.Set(name, wrong)) == ErrorKind::kUser);
  }
  const Status unknown = settings.Set("max_worker", "1");
  CHECK(KindOf(unknown) == ErrorKind::kNotFound);
  CHECK(HintOf(unknown) == "did you mean 'max_workers'?");
}

}  // namespace
}  // namespace gnomon::dataset
