#include <utility>

#include "base/log.h"
#include "base/text.h"
#include "feature/online/online_access.h"
#include "feature/store/materialization_stages_internal.h"

namespace gnomon::feature {

StageMaterialization StagesOf(const RepositoryConfig& config, const std::string& job,
                              const FeatureView& view) {
  return {.engine = WithEngine({}, config),
          .write_partitions = config.online_store.type == "sqlite" ? 1 : 0,
          .online_access = AccessTo(config.online_store),
          .journal = Concat(config.folder, "/data/materializations/", job, "-", view.name)};
}

LoweredRows RowsForStages(const Context& context, const FeatureStore::Impl& impl,
                          const Definitions& definitions, const ViewInterval& interval) {
  if (impl.config.batch_engine.isolation != "process") return nullptr;
  auto rows = LowerRowsToWrite(context, definitions, impl.config.project, interval, *impl.offline,
                               StagesOf(impl.config, {}, *interval.view));
  if (rows.ok()) return *std::move(rows);
  LogInfo("feature",
          Concat("feature view ", interval.view->name, " is materialized in this process"),
          {{"because", rows.status().message()}});
  return nullptr;
}

}  // namespace gnomon::feature
