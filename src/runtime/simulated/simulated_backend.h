#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/memory.h"
#include "runtime/backend.h"
#include "runtime/stage.h"

namespace gnomon::runtime {

/// What goes wrong, as probabilities from 0 to 1.
struct SimulatedFaults {
  double drop = 0;        ///< of each message: it never arrives
  double duplicate = 0;   ///< of each message: it arrives twice
  double delay = 0;       ///< of each message: it takes up to a hundred times as long
  double kill_early = 0;  ///< of each task: its node dies before the function runs
  double kill_late = 0;   ///< of each task: its node dies after the function ran, without a word
  double lose_fetch = 0;  ///< of each block that goes from node to node: the transfer fails
  /// After this many faults all is well, so that every job ends.
  int max_faults = 100;

  /// A bit of everything.
  static SimulatedFaults Everything() {
    return {.drop = 0.05,
            .duplicate = 0.1,
            .delay = 0.1,
            .kill_early = 0.04,
            .kill_late = 0.04,
            .lose_fetch = 0.03};
  }
};

struct SimulatedOptions {
  uint64_t seed = 1;
  int num_nodes = 3;
  Resources capacity = {.cpus = 2, .memory_bytes = int64_t{1} << 30};  ///< of each node
  SimulatedFaults faults = {};
  /// Limit of the blocks in memory on each node, bytes. 0: none. The rest spills.
  int64_t block_memory = 0;
  std::string spill_folder = {};
  /// Reserves the driver's blocks; null: no limit.
  MemoryBudget* memory = nullptr;
  /// Keeps a line for each event (SimulatedBackend::trace).
  bool keep_trace = false;
};

struct SimulatedStats {
  int64_t messages = 0;
  int64_t dropped = 0;
  int64_t duplicated = 0;
  int64_t delayed = 0;
  int64_t killed_nodes = 0;
  int64_t lost_fetches = 0;
  int64_t executions = 0;  ///< of stage functions; more than tasks when messages came twice
  int64_t spilled_bytes = 0;
};

/// Virtual nodes in one process and in virtual time, for finding the bugs of distribution. Tasks
/// and outcomes cross as bytes, blocks are copied from store to store. Messages take time, overtake
/// each other, are lost (and sent again after a while) and come twice (and are obeyed twice); nodes
/// die with their blocks and actors, the driver learns of it later, and another node takes their
/// place. Everything follows from the seed. One thread only: the work is done inside Wait and
/// CallActor, on the caller's thread; a stop of the caller's context reaches the running function.
class SimulatedBackend : public Backend {
 public:
  virtual SimulatedStats stats() const = 0;
  virtual const std::vector<std::string>& trace() const = 0;
  /// Kills a node now.
  virtual void KillNode(NodeId node) = 0;
};

/// `registry` outlives the backend.
std::unique_ptr<SimulatedBackend> MakeSimulatedBackend(const StageRegistry& registry,
                                                       const SimulatedOptions& options = {});

}  // namespace gnomon::runtime
