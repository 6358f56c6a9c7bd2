// What tasks report of their work: of each partition once, whatever fails, comes twice or is
// resumed.
#include <doctest/doctest.h>

#include "base/progress.h"
#include "runtime/job.h"
#include "runtime/local/local_backend.h"
#include "runtime/simulated/simulated_backend.h"
#include "runtime/stage_fixture_internal.h"
#include "tests/support/status.h"
#include "tests/support/temporary.h"

namespace gnomon::runtime {
namespace {

using namespace gnomon::test;  // NOLINT

constexpr RetryPolicy kPatient = {
    .max_attempts = 200, .max_lost_attempts = 200, .first_delay_seconds = 0.01};

/// Counts what is shown.
class Shown : public Progress {
 public:
  void Begin(std::string_view, int64_t total, std::string_view) override { total_ = total; }
  void Advance(int64_t delta) override { done_ += delta; }
  void End(std::string_view) override { ended_ = true; }

  int64_t total_ = 0;
  int64_t done_ = 0;
  bool ended_ = false;
};

StageRegistry Stages() {
  StageRegistry registry;
  RequireOk(test::RegisterTestStages(registry));
  return registry;
}

/// Everything that does not depend on the clock.
void CheckSame(const JobResult& actual, const JobResult& expected) {
  CHECK(actual.reports == expected.reports);
  CHECK(actual.stats.rows == expected.stats.rows);
  REQUIRE(actual.stages.size() == expected.stages.size());
  for (size_t i = 0; i < expected.stages.size(); ++i) {
    CAPTURE(i);
    CHECK(actual.stages[i].name == expected.stages[i].name);
    CHECK(actual.stages[i].partitions == expected.stages[i].partitions);
    CHECK(actual.stages[i].rows == expected.stages[i].rows);
    CHECK(actual.stages[i].bytes == expected.stages[i].bytes);
    CHECK(actual.stages[i].longest_seconds <= actual.stages[i].seconds);
  }
}

TEST_CASE("each partition is counted once and reports once, on every backend and with faults") {
  const StageRegistry registry = Stages();
  const auto threads = ValueOf(MakeLocalBackend(registry, {.max_workers = 2}));
  const auto here = MakeTemporaryFolder();
  const JobPlan plan = test::WritePlan(here.path(), 5);
  const JobResult expected = ValueOf(RunJob({}, *threads, plan));
  REQUIRE(expected.stages.size() == 3);
  CHECK(expected.stages[0].rows == 1200);
  CHECK(expected.stages[0].seconds > 0);
  CHECK(expected.stages[2].partitions == 5);
  int64_t written = 0;
  for (const auto& report : expected.reports[2]) written += std::stoll(report.value());
  CHECK(written == 1200);
  {
    const auto processes =
        ValueOf(MakeLocalBackend(registry, {.isolation = Isolation::kProcess,
                                            .max_workers = 2,
                                            .worker_command = test::TestWorkerCommand()}));
    const auto folder = MakeTemporaryFolder();
    CheckSame(ValueOf(RunJob({}, *processes, test::WritePlan(folder.path(), 5))), expected);
  }
  JobStats all;
  for (uint64_t seed = 1; seed <= 25; ++seed) {
    CAPTURE(seed);
    const auto nodes = MakeSimulatedBackend(
        registry, {.seed = seed, .num_nodes = 4, .faults = SimulatedFaults::Everything()});
    const auto folder = MakeTemporaryFolder();
    Shown shown;
    Context context;
    context.progress = &shown;
    const JobResult result = ValueOf(RunJob(context, *nodes, test::WritePlan(folder.path(), 5),
                                            {.retry = kPatient, .speculate_after_seconds = 1}));
    CheckSame(result, expected);
    CHECK(shown.done_ == shown.total_);
    CHECK(shown.ended_);
    all.recomputed += result.stats.recomputed;
    all.superseded += result.stats.superseded;
  }
  // What must not count happened.
  CHECK(all.recomputed > 0);
  CHECK(all.superseded > 0);
}

TEST_CASE("a resumed job has the reports of its journal and knows what is missing") {
  const StageRegistry registry = Stages();
  const auto backend = ValueOf(MakeLocalBackend(registry, {.max_workers = 2}));
  const auto folder = MakeTemporaryFolder();
  const JobPlan plan = test::WritePlan(folder.path() + "/out", 4);
  const JobOptions options{.journal = folder.path() + "/journal"};
  const JobResult first = ValueOf(RunJob({}, *backend, plan, options));
  const JobResult again = ValueOf(RunJob({}, *backend, plan, options));
  CHECK(again.reports[2] == first.reports[2]);
  CHECK(again.stages[2].partitions == 0);
  for (const size_t stage : {size_t{0}, size_t{1}}) {
    for (const auto& report : first.reports[stage]) CHECK(report.has_value());
    for (const auto& report : again.reports[stage]) CHECK_FALSE(report.has_value());
  }
}

}  // namespace
}  // namespace gnomon::runtime
