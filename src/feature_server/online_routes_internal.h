#pragma once

#include <memory>
#include <optional>

#include "base/metrics.h"
#include "feature/store/feature_store.h"
#include "feature_server/feature_server.h"
#include "feature_server/store_health_internal.h"
#include "net/router.h"

namespace gnomon::feature_server {

/// POST /get-online-features. `health` is told how each read of the store went.
void AddOnlineRoutes(const feature::FeatureStore& store, Metrics& metrics,
                     std::optional<int64_t> default_as_of, std::shared_ptr<StoreHealth> health,
                     net::Router* router);

}  // namespace gnomon::feature_server
