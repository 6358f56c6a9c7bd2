#pragma once

#include "base/metrics.h"
#include "feature/store/feature_store.h"
#include "feature_server/feature_server.h"
#include "net/router.h"

namespace gnomon::feature_server {

/// POST /materialize and /materialize-incremental.
void AddMaterializeRoutes(feature::FeatureStore& store, Metrics& metrics,
                          const RouterOptions& options, net::Router* router);

}  // namespace gnomon::feature_server
