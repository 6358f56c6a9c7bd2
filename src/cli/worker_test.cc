// Plans that run in worker processes of the program itself.
#include <arrow/record_batch.h>
#include <doctest/doctest.h>

#include "dataset/dataset.h"
#include "dataset/distributed/distributed.h"
#include "runtime/local/local_backend.h"
#include "tests/support/process.h"
#include "tests/support/status.h"

namespace gnomon::cli {
namespace {

using test::ValueOf;

TEST_CASE("worker processes of the program run a plan") {
  const runtime::StageRegistry none;  // they have their own
  const auto backend = ValueOf(runtime::MakeLocalBackend(
      none, {.isolation = runtime::Isolation::kProcess,
             .max_workers = 2,
             .worker_command = {GNOMON_PROGRAM, "worker", "--fd", "{fd}"}}));
  const auto plan = ValueOf(dataset::Dataset::Range(0, 100000)
                                .Derive("k", "id % 10")
                                .Aggregate({"k"}, {{pit::AggregateFunction::kSum, "id"}})
                                .plan());
  const auto result =
      ValueOf(dataset::ExecuteDistributed({}, *backend, plan, {.num_partitions = 3}));
  const auto batch = ValueOf(result->Next());
  REQUIRE(batch->num_rows() == 10);
  CHECK(batch->column(0)->ToString().find("0,\n  1,\n  2") != std::string::npos);
}

TEST_CASE("a worker without a driver says what is wrong") {
  const auto result = test::RunCommand({GNOMON_PROGRAM, "worker", "--fd", "0"}, {.input = "x"});
  CHECK(result.exit_code != 0);
  CHECK_MESSAGE(result.err.find("error: ") == 0, result.err);
}

}  // namespace
}  // namespace gnomon::cli
