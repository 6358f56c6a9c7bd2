#include "pit/asof_join.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <tuple>
#include <vector>

#include <doctest/doctest.h>

#include "base/memory.h"
#include "pit/test_random.h"

namespace gnomon::pit {
namespace {

constexpr int64_t kMinTime = std::numeric_limits<int64_t>::min();
constexpr int64_t kMaxTime = std::numeric_limits<int64_t>::max();

struct Labels {
  std::vector<int32_t> ids;
  std::vector<int64_t> times;
  std::vector<int64_t> oldest;
};

struct Features {
  std::vector<int32_t> ids;
  std::vector<int64_t> times;
  std::vector<int64_t> created;  ///< empty: none
  std::vector<int64_t> rows;
};

/// Rules 1, 2, 3 and 6 of the point-in-time semantics, word by word.
std::vector<int64_t> BruteForce(const Labels& labels, const Features& features,
                                bool filter_by_created) {
  std::vector<int64_t> winners;
  for (size_t label = 0; label < labels.ids.size(); ++label) {
    std::tuple<int64_t, int64_t, int64_t> best{kMinTime, kMinTime, kNoRow};
    for (size_t i = 0; i < features.ids.size(); ++i) {
      if (labels.ids[label] < 0 || features.ids[i] != labels.ids[label]) continue;
      if (features.times[i] > labels.times[label] || features.times[i] < labels.oldest[label])
        continue;
      const int64_t created = features.created.empty() ? kMinTime : features.created[i];
      if (filter_by_created && created > labels.times[label]) continue;
      best = std::max(best, {features.times[i], created, features.rows[i]});
    }
    winners.push_back(std::get<2>(best));
  }
  return winners;
}

AsOfJoin MakeJoin(const Labels& labels, bool filter_by_created = false) {
  return AsOfJoin::Make({}, labels.ids, labels.times, labels.oldest,
                        {.filter_by_created = filter_by_created})
      .ValueOrDie();
}

std::vector<int64_t> Join(const Labels& labels, const Features& features,
                          bool filter_by_created = false) {
  AsOfJoin join = MakeJoin(labels, filter_by_created);
  REQUIRE(join.AddRows(features.ids, features.times, features.created, 0).ok());
  return join.Finish({}).ValueOrDie();
}

Features Select(const Features& all, const std::vector<size_t>& chosen) {
  Features part;
  for (const size_t i : chosen) {
    part.ids.push_back(all.ids[i]);
    part.times.push_back(all.times[i]);
    if (!all.created.empty()) part.created.push_back(all.created[i]);
    part.rows.push_back(all.rows[i]);
  }
  return part;
}

Labels RandomLabels(TestRandom* random) {
  Labels labels;
  const int64_t span = random->Int(1, 40);
  const bool with_ttl = random->Chance(0.5);
  const int64_t count = random->Int(0, random->Chance(0.1) ? 300 : 25);
  for (int64_t i = 0; i < count; ++i) {
    labels.ids.push_back(static_cast<int32_t>(random->Int(-1, 5)));
    labels.times.push_back(random->Int(-span, span));
    const int64_t ttl = random->Int(0, 6);
    labels.oldest.push_back(with_ttl && random->Chance(0.8) ? labels.times.back() - ttl : kMinTime);
  }
  return labels;
}

Features RandomFeatures(TestRandom* random) {
  Features features;
  const int64_t span = random->Int(1, 45);
  const bool with_created = random->Chance(0.6);
  const int64_t count = random->Int(0, random->Chance(0.1) ? 500 : 60);
  for (int64_t i = 0; i < count; ++i) {
    features.ids.push_back(static_cast<int32_t>(random->Int(-1, 7)));
    features.times.push_back(random->Chance(0.02) ? kMinTime : random->Int(-span, span));
    if (with_created)
      features.created.push_back(random->Chance(0.2) ? kMinTime : random->Int(-span, span + 5));
    features.rows.push_back(i);
  }
  for (size_t i = 1; i < features.ids.size(); ++i) {  // duplicate rows
    if (!random->Chance(0.1)) continue;
    const auto from = static_cast<size_t>(random->Int(0, static_cast<int64_t>(i) - 1));
    features.ids[i] = features.ids[from];
    features.times[i] = features.times[from];
    if (with_created) features.created[i] = features.created[from];
  }
  return features;
}

TEST_CASE("a feature stamped after the label is never joined, one at the same instant is") {
  const Labels labels{{0, 0, 0}, {9, 10, 11}, {kMinTime, kMinTime, kMinTime}};
  CHECK(Join(labels, {{0}, {10}, {}, {0}}) == std::vector<int64_t>{kNoRow, 0, 0});
}

TEST_CASE("a row as old as the TTL is joined, one older is not") {
  const Labels labels{{0, 0}, {10, 11}, {5, 6}};
  CHECK(Join(labels, {{0}, {5}, {}, {0}}) == std::vector<int64_t>{0, kNoRow});
}

TEST_CASE("ties in time go to the greatest created time, then to the last row") {
  const Labels labels{{0}, {10}, {kMinTime}};
  CHECK(Join(labels, {{0, 0, 0}, {7, 7, 7}, {3, 4, 2}, {0, 1, 2}}) == std::vector<int64_t>{1});
  CHECK(Join(labels, {{0, 0, 0}, {7, 7, 7}, {4, 4, 2}, {0, 1, 2}}) == std::vector<int64_t>{1});
  CHECK(Join(labels, {{0, 0, 0}, {7, 7, 7}, {kMinTime, kMinTime, kMinTime}, {0, 1, 2}}) ==
        std::vector<int64_t>{2});
  CHECK(Join(labels, {{0, 0, 0}, {7, 8, 7}, {}, {0, 1, 2}}) == std::vector<int64_t>{1});
}

TEST_CASE("null keys match nothing, not even each other") {
  const Labels labels{{-1, 0}, {10, 10}, {kMinTime, kMinTime}};
  CHECK(Join(labels, {{-1, -1}, {1, 2}, {}, {0, 1}}) == std::vector<int64_t>{kNoRow, kNoRow});
}

TEST_CASE("rows of entities without labels are passed over") {
  const Labels labels{{1}, {10}, {}};
  const std::vector<int32_t> ids{0, 2, std::numeric_limits<int32_t>::max()};
  CHECK(Join(labels, {ids, {1, 2, 3}, {}, {0, 1, 2}}) == std::vector<int64_t>{kNoRow});
}

TEST_CASE("a row created after the label exists for later labels only") {
  const Labels labels{{0, 0, 0}, {10, 20, 30}, {}};
  const Features features{{0, 0}, {5, 6}, {1, 25}, {0, 1}};
  CHECK(Join(labels, features, true) == std::vector<int64_t>{0, 0, 1});
  CHECK(Join(labels, features, false) == std::vector<int64_t>{1, 1, 1});
}

TEST_CASE("times at both ends of the range are joined") {
  const Labels labels{{0, 0}, {kMinTime, kMaxTime}, {}};
  CHECK(Join(labels, {{0, 0}, {kMinTime, kMaxTime}, {}, {0, 1}}) == std::vector<int64_t>{0, 1});
}

TEST_CASE("a join without labels or without rows has an answer") {
  CHECK(Join({}, {{0}, {1}, {}, {0}}).empty());
  CHECK(Join({{3}, {1}, {}}, {}) == std::vector<int64_t>{kNoRow});
  CHECK(Join({{-1}, {1}, {}}, {{0}, {1}, {}, {0}}) == std::vector<int64_t>{kNoRow});
}

TEST_CASE("a join that does not fit into the memory budget is refused and gives everything back") {
  MemoryBudget budget("test", 1000);
  Context context;
  context.memory = &budget;
  const std::vector<int32_t> ids(100, 0);
  const std::vector<int64_t> times(100, 0);
  CHECK(KindOf(AsOfJoin::Make(context, ids, times, {}).status()) == ErrorKind::kExhausted);
  CHECK(budget.used() == 0);
  {
    MemoryBudget enough("enough", 10000);
    context.memory = &enough;
    auto join = AsOfJoin::Make(context, ids, times, {});
    REQUIRE(join.ok());
    CHECK(enough.used() > 0);
    join = Status::Invalid("gone");
    CHECK(enough.used() == 0);
  }
}

TEST_CASE("random joins equal the brute force, whole, shuffled, merged, and in any partition") {
  TestRandom random(303);
  INFO("GNOMON_TEST_SEED=", random.seed);
  for (int round = 0; round < 5000; ++round) {
    CAPTURE(round);
    const Labels labels = RandomLabels(&random);
    const Features features = RandomFeatures(&random);
    const bool filter_by_created = random.Chance(0.5);
    const std::vector<int64_t> expected = BruteForce(labels, features, filter_by_created);
    REQUIRE(Join(labels, features, filter_by_created) == expected);

    std::vector<size_t> shuffle(features.ids.size());
    std::iota(shuffle.begin(), shuffle.end(), size_t{0});
    std::shuffle(shuffle.begin(), shuffle.end(), random.engine);
    const Features shuffled = Select(features, shuffle);
    AsOfJoin numbered = MakeJoin(labels, filter_by_created);
    REQUIRE(numbered.AddNumberedRows(shuffled.ids, shuffled.times, shuffled.created, shuffled.rows)
                .ok());
    REQUIRE(numbered.Finish({}).ValueOrDie() == expected);

    AsOfJoin merging = MakeJoin(labels, filter_by_created);
    const size_t half = shuffle.size() / 2;
    for (const bool head : {true, false}) {
      const Features part = Select(
          features,
          head ? std::vector<size_t>(shuffle.begin(), shuffle.begin() + static_cast<long>(half))
               : std::vector<size_t>(shuffle.begin() + static_cast<long>(half), shuffle.end()));
      REQUIRE(merging.MergeRows({}, part.ids, part.times, part.created, part.rows).ok());
    }
    REQUIRE(merging.Finish({}).ValueOrDie() == expected);

    std::vector<std::vector<size_t>> partition(static_cast<size_t>(random.Int(1, 4)));
    for (const size_t i : shuffle) {
      partition[static_cast<size_t>(random.Int(0, static_cast<int64_t>(partition.size()) - 1))]
          .push_back(i);
    }
    AsOfJoin merged = MakeJoin(labels, filter_by_created);
    for (const std::vector<size_t>& chosen : partition) {
      const Features part = Select(features, chosen);
      AsOfJoin partial = random.Chance(0.5) ? merged.MakePartial().ValueOrDie()
                                            : MakeJoin(labels, filter_by_created);
      REQUIRE(partial.AddNumberedRows(part.ids, part.times, part.created, part.rows).ok());
      REQUIRE(merged.Merge({}, partial).ok());
    }
    REQUIRE(merged.Finish({}).ValueOrDie() == expected);

    const size_t cut =
        features.ids.empty()
            ? 0
            : static_cast<size_t>(random.Int(0, static_cast<int64_t>(features.ids.size())));
    const auto part = [&](const auto& all, bool head) {
      const std::span span(all);
      if (all.empty()) return span;
      return head ? span.first(cut) : span.subspan(cut);
    };
    AsOfJoin backwards = MakeJoin(labels, filter_by_created);
    for (const bool head : {false, true}) {
      REQUIRE(backwards
                  .AddRows(part(features.ids, head), part(features.times, head),
                           part(features.created, head), head ? 0 : static_cast<int64_t>(cut))
                  .ok());
    }
    REQUIRE(backwards.Finish({}).ValueOrDie() == expected);
  }
}

}  // namespace
}  // namespace gnomon::pit
