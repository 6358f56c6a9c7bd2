#include <algorithm>

#include "feature/store/feature_store.h"
#include "feature/store/feature_store_internal.h"

namespace gnomon::feature {
namespace {

/// What of a view's materialized data the wanted view cannot keep.
void CompareFeatures(const FeatureView& stored, const FeatureView& wanted,
                     std::vector<std::string>* lost) {
  for (const Field& field : stored.schema) {
    const auto now = std::ranges::find(wanted.schema, field.name, &Field::name);
    const std::string what = Concat("feature view ", stored.name, ": feature ", field.name,
                                    " has materialized data and ");
    if (now == wanted.schema.end()) {
      lost->push_back(Concat(what, "is removed"));
    } else if (!(now->dtype == field.dtype)) {
      lost->push_back(
          Concat(what, "becomes ", now->dtype.ToString(), " instead of ", field.dtype.ToString()));
    }
  }
}

}  // namespace

Result<std::vector<std::string>> FeatureStore::DestructiveChanges(
    const Context& context, const Definitions& definitions) const {
  GNOMON_ASSIGN_OR_RETURN(const Definitions wanted, Resolve(context, definitions));
  const auto stored = impl_->registry->definitions();
  std::vector<std::string> lost;
  for (const FeatureView& view : stored->feature_views) {
    const FeatureView* now = wanted.FindFeatureView(view.name);
    const bool has_data = !impl_->registry->StateOf(view.name).intervals.empty();
    if (now == nullptr) {
      lost.push_back(Concat("feature view ", view.name, " is deleted",
                            view.online ? ", with its online table" : "",
                            has_data ? " and the history of its materialization" : ""));
    } else if (view.online && !now->online) {
      lost.push_back(
          Concat("feature view ", view.name, " leaves the online store: its table is dropped"));
    } else if (has_data) {
      CompareFeatures(view, *now, &lost);
    }
  }
  for (const OnDemandFeatureView& view : stored->on_demand_feature_views) {
    if (wanted.FindOnDemandFeatureView(view.name) == nullptr &&
        wanted.FindFeatureView(view.name) == nullptr)
      lost.push_back(Concat("on demand feature view ", view.name, " is deleted"));
  }
  return lost;
}

}  // namespace gnomon::feature
