// A plan that calls a plug-in library: its function over batches, its aggregate over groups. The
// library is the first argument; docs/guide/plugins.md shows the two steps.
#include <cstdio>
#include <string>

#include <arrow/array.h>
#include <arrow/table.h>

#include "base/context.h"
#include "dataset/dataset.h"
#include "dataset/extension_functions.h"
#include "feature/store/plugin_extensions.h"

using gnomon::Context;
using gnomon::Result;
using gnomon::Status;
namespace dataset = gnomon::dataset;
namespace feature = gnomon::feature;
namespace pit = gnomon::pit;

namespace {

Result<dataset::PlanExtensions> LoadShop(const std::string& library) {
  GNOMON_ASSIGN_OR_RETURN(const auto loaded, feature::LoadExtensions({library}, ""));
  dataset::PlanExtensions shop{.functions = loaded->functions};
  shop.batch_functions = dataset::BatchFunctionsOf(loaded->functions);
  for (const auto& aggregate : loaded->aggregates) shop.aggregates[aggregate->name()] = aggregate;
  return shop;
}

dataset::Dataset PathsNearTheShop(const dataset::Dataset& clicks,
                                  const dataset::PlanExtensions& shop) {
  return clicks.MapBatches(shop, "distance_km", "latitude, longitude, 52.52, 13.405")
      .Filter("distance_km < 600")
      .Aggregate({"user"}, {{.function = pit::AggregateFunction::kCustom,
                             .column = "page",
                             .name = "path",
                             .custom = shop.aggregates.at("page_path")}})
      .Sort({{"user"}});
}

// Two users who come to three pages each; the last click of user 1 is from far away.
dataset::Dataset Clicks() {
  return dataset::Dataset::Range(0, 6)
      .Derive("user", "id % 2")
      .Derive("page", "case when id < 2 then 'home' when id < 4 then 'cart' else 'pay' end")
      .Derive("latitude", "case when id = 5 then 40.71 else 48.14 end")
      .Derive("longitude", "case when id = 5 then -74.01 else 11.58 end");
}

Status Run(const std::string& library) {
  GNOMON_ASSIGN_OR_RETURN(const dataset::PlanExtensions shop, LoadShop(library));
  GNOMON_ASSIGN_OR_RETURN(const auto paths, PathsNearTheShop(Clicks(), shop).Collect(Context()));
  std::printf("%s\n", paths->ToString().c_str());
  GNOMON_ASSIGN_OR_RETURN(const auto batch, paths->CombineChunksToBatch());
  const auto& path = static_cast<const arrow::StringArray&>(*batch->GetColumnByName("path"));
  if (path.GetView(0) != "home>cart>pay" || path.GetView(1) != "home>cart")
    return gnomon::Error(gnomon::ErrorKind::kInternal, "other paths than the clicks have");
  return Status::OK();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s PATH-OF-libshop.so\n", argv[0]);
    return 2;
  }
  const Status status = Run(argv[1]);
  if (!status.ok()) std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return status.ok() ? 0 : 1;
}
