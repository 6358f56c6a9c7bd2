#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "feature/definition/definition.h"

namespace gnomon::feature {

inline constexpr std::string_view kEntityKind = "entity";
inline constexpr std::string_view kSourceKind = "data source";
inline constexpr std::string_view kViewKind = "feature view";
inline constexpr std::string_view kOnDemandKind = "on demand feature view";
inline constexpr std::string_view kServiceKind = "feature service";

/// Tells where an object of this kind and name was written; an empty location when unknown.
using Locator = std::function<Location(std::string_view kind, std::string_view name)>;

/// Validate, with errors that carry the places of the objects.
Status CheckDefinitions(const Definitions& definitions, const Locator& locate);

/// An error about an object: "feature view 'stats': message".
Status ObjectError(std::string_view kind, std::string_view name, std::string_view message,
                   std::string hint = {});

/// The features of a view of either kind as far as they are known without data: absent for a plain
/// view whose schema is left to its source; types may be kInvalid. REQUIRES: the view exists.
std::optional<std::vector<Field>> KnownFields(const Definitions& definitions,
                                              std::string_view view);

/// The names that are reached from `names`, what they are made of first. `parents_of` gives null
/// for a name that is no view of this kind. kUser for a cycle, with its path.
Result<std::vector<std::string>> OrderByParents(
    std::string_view kind, const std::vector<std::string>& names,
    const std::function<const std::vector<std::string>*(const std::string&)>& parents_of);

/// Whether a value of type `from` can be stored as `to` by widening.
bool Widens(ValueType from, ValueType to);

/// Makes feature views of the on-demand views that are written to the online store.
void MoveMaterialized(Definitions* definitions);

/// Checks an on-demand view's expressions against its sources as far as these are known, and with
/// `complete` fills in dtypes that are left out.
Status CheckOnDemandView(const Definitions& definitions, const OnDemandFeatureView& view);
Status CompleteOnDemandView(const Definitions& definitions, OnDemandFeatureView* view);

}  // namespace gnomon::feature
