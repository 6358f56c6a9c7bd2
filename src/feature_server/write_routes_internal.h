#pragma once

#include "base/metrics.h"
#include "feature/store/feature_store.h"
#include "net/router.h"

namespace gnomon::feature_server {

/// POST /push and /write-to-online-store.
void AddWriteRoutes(feature::FeatureStore& store, Metrics& metrics, net::Router* router);

}  // namespace gnomon::feature_server
