#pragma once

#include <string>
#include <vector>

#include "dataset/distributed/distributed.h"
#include "feature/definition/definition.h"
#include "feature/engine/retrieval.h"

/// batch_engine's settings for plans that run as stages.
namespace gnomon::feature {

/// Those of a distributed plan. A job's partitions do not depend on the backend.
dataset::DistributionOptions DistributionOf(const RetrievalOptions& options);

/// The command of a worker, with the plug-ins and what is to be found in them.
std::vector<std::string> WorkerCommand(const Definitions& definitions,
                                       const RetrievalOptions& options);

}  // namespace gnomon::feature
