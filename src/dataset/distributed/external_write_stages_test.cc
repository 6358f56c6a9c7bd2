// Rows that tasks write to another system.
#include <algorithm>

#include <doctest/doctest.h>

#include "base/text.h"
#include "dataset/dataset.h"
#include "dataset/distributed/distributed.h"
#include "dataset/sample_sink_test.h"
#include "runtime/simulated/simulated_backend.h"
#include "tests/support/status.h"
#include "tests/support/temporary.h"

namespace gnomon::dataset::test {
namespace {

using gnomon::test::RequireOk;
using gnomon::test::ValueOf;

/// 600 rows of 40 keys: all of them, or the newest of each key.
Plan Noted(const std::shared_ptr<NotedRows>& notes, bool latest, int num_partitions) {
  Dataset rows = Dataset::Range(0, 600, 1, "n")
                     .Project({{"k", "(n * 7) % 41 - 1"},
                               {"text", "concat('row ', cast(n as string))"},
                               {"at",
                                "case when n % 5 = 0 then timestamp '2024-01-02' else timestamp "
                                "'2024-01-01' end"}});
  if (latest) rows = rows.Latest({.keys = {"k"}, .time = "at"});
  return ValueOf(MakeNode(ExternalWriteSpec{.sink = "notes",
                                            .parameters = "p",
                                            .keys = {"k"},
                                            .num_partitions = num_partitions,
                                            .writer = notes,
                                            .commits = notes},
                          {ValueOf(rows.plan())}));
}

TEST_CASE(
    "partitions of whole keys are written in input order on nodes that fail, and committed "
    "once") {
  int repeated = 0;
  for (const bool latest : {false, true}) {
    const auto expected = std::make_shared<NotedRows>();
    const auto here = ValueOf(Execution::Start({}, Noted(expected, latest, 0)));
    TokensOf(*here);
    REQUIRE(expected->notes().size() == 41);
    for (const int num_partitions : {0, 1, 4}) {
      for (uint64_t seed = 1; seed <= 10; ++seed) {
        CAPTURE(latest);
        CAPTURE(num_partitions);
        CAPTURE(seed);
        const auto notes = std::make_shared<NotedRows>();
        PlanExtensions extensions;
        extensions.sinks["notes"] = notes;
        runtime::StageRegistry registry;
        RequireOk(RegisterPlanStages(registry, nullptr, &extensions));
        const auto backend = runtime::MakeSimulatedBackend(
            registry,
            {.seed = seed, .num_nodes = 3, .faults = runtime::SimulatedFaults::Everything()});
        const auto result =
            ValueOf(ExecuteDistributed({}, *backend, Noted(notes, latest, num_partitions),
                                       {.num_partitions = 3, .partition_bytes = 1000}));
        auto tokens = TokensOf(*result);
        if (num_partitions > 0) CHECK(tokens.size() == static_cast<size_t>(num_partitions));
        CHECK(notes->notes() == expected->notes());
        auto committed = notes->committed();
        std::ranges::sort(committed);
        std::ranges::sort(tokens);
        CHECK(committed == tokens);
        repeated += notes->writes() - static_cast<int>(tokens.size());
      }
    }
  }
  CHECK(repeated > 0);
}

TEST_CASE("a job that is begun again writes only what its journal does not have") {
  const auto folder = gnomon::test::MakeTemporaryFolder();
  const auto notes = std::make_shared<NotedRows>();
  PlanExtensions extensions;
  extensions.sinks["notes"] = notes;
  runtime::StageRegistry registry;
  RequireOk(RegisterPlanStages(registry, nullptr, &extensions));
  const auto backend = runtime::MakeSimulatedBackend(registry, {.seed = 1, .num_nodes = 2});
  const DistributionOptions options{.num_partitions = 3,
                                    .job = {.journal = Concat(folder.path(), "/journal")}};
  const auto first = ValueOf(ExecuteDistributed({}, *backend, Noted(notes, true, 3), options));
  CHECK(notes->writes() == 3);
  const auto again = ValueOf(ExecuteDistributed({}, *backend, Noted(notes, true, 3), options));
  CHECK(notes->writes() == 3);
  CHECK(TokensOf(*again) == TokensOf(*first));
  CHECK(notes->committed().size() == 3);
}

TEST_CASE("the newest rows are found before the shuffle, and written where they were found") {
  const auto notes = std::make_shared<NotedRows>();
  const std::string explain = ValueOf(
      ExplainDistributed(Noted(notes, true, 4), {.num_partitions = 3, .partition_bytes = 1000}));
  INFO(explain);
  const size_t shuffle = explain.find("by hash of k to 4");
  REQUIRE(shuffle != std::string::npos);
  CHECK(explain.find("latest: by k", shuffle) < explain.find("stage 1"));
  CHECK(explain.find("external_write", explain.find("stage 1")) != std::string::npos);
  CHECK(explain.find("stage 2") == std::string::npos);
  const Plan inside = ValueOf(MakeNode(LimitSpec{1}, {Noted(notes, true, 4)}));
  CHECK_ERROR(ExplainDistributed(inside, {.num_partitions = 3}), ErrorKind::kUnsupported,
              "is the root of its plan");
}

}  // namespace
}  // namespace gnomon::dataset::test
