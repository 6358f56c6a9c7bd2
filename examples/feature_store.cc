// A repository made from a template, definitions changed by builders, features retrieved,
// materialized, pushed, read.
#include "feature/store/feature_store.h"

#include <cstdio>

#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>

#include "base/files.h"
#include "base/time.h"
#include "demo/template.h"
#include "feature/definition/builder.h"
#include "table/column.h"

using gnomon::Context;
using gnomon::Status;
namespace feature = gnomon::feature;

namespace {

Status Run(const Context& context, const std::string& folder) {
  GNOMON_RETURN_NOT_OK(gnomon::demo::WriteTemplate(context, "minimal", folder).status());
  GNOMON_ASSIGN_OR_RETURN(auto store, feature::FeatureStore::Open(context, folder));

  // The files' definitions, and one more view by builder: trips of the last week.
  GNOMON_ASSIGN_OR_RETURN(feature::Definitions definitions, store->LoadRepository());
  GNOMON_ASSIGN_OR_RETURN(auto week,
                          feature::FeatureViewBuilder("driver_week")
                              .Entities({"driver"})
                              .Source("driver_stats_source")
                              .Aggregate("avg_daily_trips", "mean", "7d", "mean_trips_7d")
                              .Build());
  definitions.feature_views.push_back(week);
  GNOMON_RETURN_NOT_OK(store->Apply(context, definitions).status());

  // Training rows: the features as they were known at each trip's time.
  const feature::FeatureRequest request{
      .features = {"driver_stats:conv_rate", "driver_week:mean_trips_7d"}, .feature_service = {}};
  GNOMON_ASSIGN_OR_RETURN(auto job,
                          store->GetHistoricalFeatures(request, folder + "/data/trips.csv"));
  std::puts(job->Explain().c_str());
  GNOMON_ASSIGN_OR_RETURN(auto table, job->ToTable(context));
  std::puts(table->ToString().c_str());

  // Serving: the newest features.
  GNOMON_ASSIGN_OR_RETURN(const int64_t end, gnomon::ParseTimestamp("2026-01-02T12:00:00Z"));
  GNOMON_ASSIGN_OR_RETURN(auto done, store->Materialize(context, {.start = 0, .end = end}));
  std::printf("materialized %lld rows\n", static_cast<long long>(done.rows));
  GNOMON_ASSIGN_OR_RETURN(auto keys, gnomon::table::SingleBatch(*table));
  GNOMON_ASSIGN_OR_RETURN(auto response, store->GetOnlineFeatures(context, request, *keys, end));
  for (const feature::OnlineColumn& column : response.features) {
    std::printf("%s: %s\n", column.name.c_str(), column.values->ToString().c_str());
  }
  return Status::OK();
}

}  // namespace

int main() {
  auto folder = gnomon::TemporaryFolder::Make("gnomon-example");
  if (!folder.ok()) return 1;
  const Status status = Run(Context{}, folder->path() + "/repository");
  if (!status.ok()) std::fprintf(stderr, "%s\n", gnomon::FormatError(status).c_str());
  return status.ok() ? 0 : 1;
}
