// Each block is an open file.
#include <sys/resource.h>

#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <doctest/doctest.h>

#include "runtime/block.h"
#include "runtime/local/local_backend.h"
#include "runtime/simulated/simulated_backend.h"
#include "runtime/stage_fixture_internal.h"
#include "tests/support/status.h"

namespace gnomon::runtime::test {
namespace {

using gnomon::test::RequireOk;
using gnomon::test::ValueOf;

constexpr rlim_t kFewFiles = 100;
constexpr int kManyBlocks = 300;

// Few open files as long as it lives.
class FewFiles {
 public:
  FewFiles() {
    REQUIRE(::getrlimit(RLIMIT_NOFILE, &before_) == 0);
    rlimit few = before_;
    few.rlim_cur = kFewFiles;
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &few) == 0);
  }
  ~FewFiles() { ::setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_{};
};

Status PutMany(BlockStore& store) {
  GNOMON_ASSIGN_OR_RETURN(const auto table, arrow::Table::FromRecordBatches({BatchOf({{1, 2}})}));
  for (int i = 0; i < kManyBlocks; ++i) GNOMON_RETURN_NOT_OK(store.Put(*table).status());
  return Status::OK();
}

TEST_CASE("a backend holds as many blocks as the hard limit of open files allows") {
  StageRegistry registry;
  {
    const FewFiles few;
    const auto backend = ValueOf(MakeLocalBackend(registry, {.max_workers = 1}));
    CHECK_OK(PutMany(backend->blocks()));
  }
  const FewFiles few;
  const auto backend = MakeSimulatedBackend(registry, {.num_nodes = 1});
  CHECK_OK(PutMany(backend->blocks()));
}

TEST_CASE("a block for which no open file is left says what to raise") {
  const FewFiles few;
  BlockStore store({});
  CHECK_ERROR(PutMany(store), ErrorKind::kExhausted, "ulimit -n");
}

}  // namespace
}  // namespace gnomon::runtime::test
