#include "feature/engine/stage_workers.h"

#include "base/parallel.h"
#include "feature/engine/retrieval_plan.h"

namespace gnomon::feature {

dataset::DistributionOptions DistributionOf(const RetrievalOptions& options) {
  const dataset::AsOfSettings& join = options.join;
  dataset::DistributionOptions distribution;
  distribution.num_partitions = NumPartitions(options);
  distribution.partition_bytes = join.target_partition_size;
  distribution.broadcast_bytes = join.enable_optimization ? join.broadcast_join_threshold : 0;
  return distribution;
}

std::vector<std::string> WorkerCommand(const Definitions& definitions,
                                       const RetrievalOptions& options) {
  std::vector<std::string> command = options.worker_command;
  if (definitions.extensions == nullptr || options.plugins.empty()) return command;
  if (command.empty()) command = {"/proc/self/exe", "worker", "--fd", "{fd}"};
  for (size_t i = 0; i < options.plugins.size(); ++i) {
    command.emplace_back("--plugin");
    command.push_back(options.plugins[i]);
    command.emplace_back("--plugin-id");
    command.push_back(i < definitions.extensions->plugins.size()
                          ? definitions.extensions->plugins[i].id
                          : std::string());
  }
  return command;
}

}  // namespace gnomon::feature
