// The worker program of the tests:
//   runtime_test_worker worker <fd>              serves a driver
//   runtime_test_worker job <folder> <journal>   runs WritePlan, for tests that kill it
//   runtime_test_worker spill <folder>           writes a spill file, for tests of full disks
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>

#include <arrow/record_batch.h>

#include "runtime/job.h"
#include "runtime/local/local_backend.h"
#include "runtime/local/worker.h"
#include "runtime/spill_file.h"
#include "runtime/stage_fixture_internal.h"

namespace gnomon::runtime {
namespace {

Status WriteSpillFile(const std::string& folder) {
  const auto batch = test::BatchOf(test::GeneratedRows(1, 100000));
  GNOMON_ASSIGN_OR_RETURN(SpillFile file, SpillFile::Create(batch->schema(), folder));
  GNOMON_RETURN_NOT_OK(file.Write(*batch));
  return file.Read().status();
}

Status Main(std::span<char* const> arguments) {
  StageRegistry registry;
  GNOMON_RETURN_NOT_OK(test::RegisterTestStages(registry));
  const std::string command = arguments.size() > 2 ? arguments[1] : "";
  if (command == "worker") return RunWorker(registry, std::atoi(arguments[2]));
  if (command == "spill") return WriteSpillFile(arguments[2]);
  if (command != "job" || arguments.size() < 4) return Error(ErrorKind::kUser, "wrong command");
  GNOMON_ASSIGN_OR_RETURN(auto backend, MakeLocalBackend(registry, {.max_workers = 2}));
  return RunJob({}, *backend, test::WritePlan(arguments[2], 4), {.journal = arguments[3]}).status();
}

}  // namespace
}  // namespace gnomon::runtime

int main(int argc, char** argv) {
  const gnomon::Status status = gnomon::runtime::Main(std::span(argv, static_cast<size_t>(argc)));
  if (status.ok()) return 0;
  std::fprintf(stderr, "%s\n", gnomon::FormatError(status).c_str());
  return gnomon::ExitCodeOf(gnomon::KindOf(status));
}
