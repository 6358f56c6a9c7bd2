#include "feature_server/feature_server.h"

#include <algorithm>

#include "base/parallel.h"
#include "feature_server/materialize_routes_internal.h"
#include "feature_server/online_routes_internal.h"
#include "feature_server/store_health_internal.h"
#include "feature_server/write_routes_internal.h"

namespace gnomon::feature_server {

int BlockingWorkers(const RouterOptions& options) {
  constexpr int kFewest = 32;
  return std::max(kFewest, 2 * NumCpus()) + options.materializations + kMaxWaitingMaterializations;
}

net::Router MakeRouter(feature::FeatureStore& store, Metrics& metrics,
                       const RouterOptions& options) {
  const auto health = std::make_shared<StoreHealth>();
  net::Router router;
  AddOnlineRoutes(store, metrics, options.as_of, health, &router);
  AddWriteRoutes(store, metrics, &router);
  AddMaterializeRoutes(store, metrics, options, &router);
  router.Get("/health",
             [health](const Context&, const net::HttpRequest&) { return health->Answer(); },
             {.blocking = false, .unlimited = true});
  return router;
}

}  // namespace gnomon::feature_server
