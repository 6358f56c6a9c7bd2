// What worker processes are told of services, and where it may not be seen.
#include <string>

#include <doctest/doctest.h>

#include "base/files.h"
#include "base/text.h"
#include "runtime/job.h"
#include "runtime/local/local_backend.h"
#include "runtime/stage_fixture_internal.h"
#include "tests/support/status.h"
#include "tests/support/temporary.h"

namespace gnomon::runtime::test {
namespace {

using gnomon::test::ErrorOf;
using gnomon::test::MakeTemporaryFolder;
using gnomon::test::RequireOk;
using gnomon::test::ValueOf;

constexpr const char* kKey = "a-key-that-nobody-may-see";

Result<JobResult> AskWorkers(const std::string& service, const std::string& access,
                             const std::string& journal) {
  StageRegistry registry;
  RequireOk(RegisterTestStages(registry));
  GNOMON_ASSIGN_OR_RETURN(const auto backend,
                          MakeLocalBackend(registry, {.isolation = Isolation::kProcess,
                                                      .max_workers = 1,
                                                      .worker_command = TestWorkerCommand(),
                                                      .access = {{service, Secret(access)}}}));
  JobPlan plan{.name = "ask", .stages = {}};
  plan.stages.push_back(
      {.name = "told", .function = "told", .fragment = {}, .num_outputs = 1, .keep_output = true});
  GNOMON_ASSIGN_OR_RETURN(auto result, RunJob({}, *backend, plan, {.journal = journal}));
  CHECK(RowsOf(*backend, result.outputs[0][0]) ==
        std::vector<Row>{{0, static_cast<int64_t>(access.size())}});
  backend->Release(result.outputs[0][0]);
  return result;
}

TEST_CASE("a worker process knows how to reach a service, and the journal does not") {
  const auto folder = MakeTemporaryFolder();
  const std::string journal = folder.path() + "/journal";
  RequireOk(AskWorkers("fixture", kKey, journal).status());
  CHECK(ValueOf(ReadFile(journal)).find(kKey) == std::string::npos);
}

TEST_CASE("a worker that cannot use what it is told says so, without showing it") {
  CHECK_ERROR(AskWorkers("fixture", "wrong", ""), ErrorKind::kUser, "no access to the fixture");
  const Status unknown = ErrorOf(AskWorkers("fixtura", kKey, ""));
  CHECK_ERROR(unknown, ErrorKind::kNotFound, "did you mean 'fixture'?");
  CHECK(unknown.ToString().find(kKey) == std::string::npos);
}

}  // namespace
}  // namespace gnomon::runtime::test
