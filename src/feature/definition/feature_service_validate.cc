#include <algorithm>
#include <set>

#include "feature/definition/validate_internal.h"

namespace gnomon::feature {

namespace {

Status CheckJoinKeyMap(const Definitions& definitions, const FeatureService& service,
                       const Projection& projection, const FeatureView* view) {
  if (projection.join_key_map.empty()) return Status::OK();
  if (view == nullptr) {
    return ObjectError(
        kServiceKind, service.name,
        Concat("join_key_map has no meaning for the on-demand view ", Quoted(projection.view)));
  }
  GNOMON_ASSIGN_OR_RETURN(const auto join_keys, JoinKeys(definitions, *view));
  for (const auto& [key, column] : projection.join_key_map) {
    if (std::ranges::find(join_keys, key) == join_keys.end()) {
      return ObjectError(kServiceKind, service.name,
                         Concat("view ", Quoted(projection.view), " has no join key ", Quoted(key)),
                         DidYouMean(key, join_keys));
    }
    if (std::string problem = NameProblem(column, kNotInColumnNames); !problem.empty()) {
      return ObjectError(kServiceKind, service.name,
                         Concat("join_key_map: ", Quoted(key), ": ", problem));
    }
  }
  return Status::OK();
}

Status CheckProjection(const Definitions& definitions, const FeatureService& service,
                       const Projection& projection) {
  const FeatureView* view = definitions.FindFeatureView(projection.view);
  if (view == nullptr && definitions.FindOnDemandFeatureView(projection.view) == nullptr) {
    return ObjectError(kServiceKind, service.name, Concat("unknown view ", Quoted(projection.view)),
                       DidYouMean(projection.view, definitions.ViewNames()));
  }
  if (!projection.name_alias.empty()) {
    if (std::string problem = NameProblem(projection.name_alias, kNotInObjectNames);
        !problem.empty()) {
      return ObjectError(kServiceKind, service.name,
                         Concat("name_alias ", Quoted(projection.name_alias), ": ", problem));
    }
  }
  std::set<std::string> seen;
  const auto fields = KnownFields(definitions, projection.view);
  for (const std::string& feature : projection.features) {
    if (!seen.insert(feature).second) {
      return ObjectError(
          kServiceKind, service.name,
          Concat("feature ", Quoted(Concat(projection.view, ":", feature)), " stands twice"));
    }
    if (!fields || std::ranges::find(*fields, feature, &Field::name) != fields->end()) continue;
    return ObjectError(
        kServiceKind, service.name,
        Concat("view ", Quoted(projection.view), " has no feature ", Quoted(feature)),
        DidYouMean(feature, NamesOf(*fields)));
  }
  return CheckJoinKeyMap(definitions, service, projection, view);
}

}  // namespace

Status CheckFeatureService(const Definitions& definitions, const FeatureService& service) {
  if (service.features.empty())
    return ObjectError(kServiceKind, service.name, "it has no features");
  std::set<std::string> outputs;
  for (const Projection& projection : service.features) {
    GNOMON_RETURN_NOT_OK(CheckProjection(definitions, service, projection));
    const std::string& output =
        projection.name_alias.empty() ? projection.view : projection.name_alias;
    if (!outputs.insert(output).second) {
      return ObjectError(kServiceKind, service.name,
                         Concat("view ", Quoted(output), " stands twice"),
                         "give one of them a name_alias");
    }
  }
  return Status::OK();
}

}  // namespace gnomon::feature
