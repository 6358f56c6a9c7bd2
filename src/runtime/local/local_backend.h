#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/config.h"
#include "base/error.h"
#include "base/memory.h"
#include "runtime/backend.h"
#include "runtime/stage.h"

namespace gnomon::runtime {

enum class Isolation {
  kThread,   ///< tasks share the process: no copy, no start; a crash takes everything along
  kProcess,  ///< each worker is a child process: a crash costs one attempt
};

struct LocalOptions {
  Isolation isolation = Isolation::kThread;
  /// Tasks at once. 0: NumCpus.
  int max_workers = 0;
  /// Blocks and (with threads) tasks reserve here. Null: no limit. Outlives the backend.
  MemoryBudget* memory = nullptr;
  /// What admission may hand out. 0: the budget's limit, else the machine's.
  int64_t memory_bytes = 0;
  double gpus = 0;
  std::map<std::string, double> custom = {};
  /// Empty: DefaultSpillFolder().
  std::string spill_folder = {};
  /// kProcess: program and arguments of a worker, "{fd}" standing for the number of its socket.
  /// Empty: this program, as `worker --fd {fd}`.
  std::vector<std::string> worker_command = {};
  /// kProcess: what each worker is told of the services that tasks reach
  /// (StageRegistry::AddAccess), by their names. It goes through the worker's socket only, never
  /// into its arguments or environment.
  std::map<std::string, Secret> access = {};
  /// kProcess: a cancelled task that has not ended after this is killed with its worker.
  double cancel_grace_seconds = 2;
  /// kProcess: a worker that takes nothing of what it is sent for so long is killed (one that was
  /// stopped by a signal, for example); its task is lost.
  double stall_seconds = 60;
};

/// Runs tasks on this machine, which is its only node. Blocks lie in one store in this process;
/// worker processes get them as descriptors and map them. Thread-safe. The destructor cancels what
/// still runs and waits for it. `registry` outlives the backend; a worker process has its own.
Result<std::unique_ptr<Backend>> MakeLocalBackend(const StageRegistry& registry,
                                                  const LocalOptions& options = {});

}  // namespace gnomon::runtime
