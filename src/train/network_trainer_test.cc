#include "train/network_trainer.h"

#include <stdlib.h>

#include <doctest/doctest.h>

#include "tests/support/status.h"

namespace gnomon::train {
namespace {

TEST_CASE("a library that cannot be opened is unavailable, and the error names it and what to do") {
  REQUIRE(::setenv("GNOMON_TORCH_LIBRARY", "/nowhere/libgnomon_torch.so", 1) == 0);
  CHECK_ERROR(LoadNetworkTrainer(), ErrorKind::kUnavailable, "/nowhere/libgnomon_torch.so");
  CHECK_ERROR(LoadNetworkTrainer(), ErrorKind::kUnavailable, "GNOMON_TORCH_LIBRARY");
  // A library of somebody else.
  REQUIRE(::setenv("GNOMON_TORCH_LIBRARY", "libsqlite3.so.0", 1) == 0);
  CHECK_ERROR(LoadNetworkTrainer(), ErrorKind::kUnavailable, "gnomon_network_trainer_v1");
  ::unsetenv("GNOMON_TORCH_LIBRARY");
}

}  // namespace
}  // namespace gnomon::train
