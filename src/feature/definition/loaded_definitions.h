#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>

#include <arrow/type_fwd.h>

#include "base/error.h"
#include "feature/definition/definition.h"

namespace gnomon::feature {

/// Definitions and where each object was written, for errors that are found later.
struct LoadedDefinitions {
  Definitions definitions;
  std::map<std::string, Location> places;  ///< by PlaceKey; of two with one name the later

  static std::string PlaceKey(std::string_view kind, std::string_view name);
  /// Whether `other` is what was loaded, object by object.
  bool Holds(const Definitions& other) const;
  /// Empty when unknown. Kinds are those of error messages: "feature view", "data source".
  Location Find(std::string_view kind, std::string_view name) const;
};

/// LoadDefinitions, with the places.
Result<LoadedDefinitions> LoadDefinitionsWithPlaces(
    const std::string& folder, const std::shared_ptr<const Extensions>& extensions = nullptr);

/// ResolveSchemas, with errors that carry the places of the objects.
Result<Definitions> ResolveLoaded(
    const LoadedDefinitions& loaded,
    const std::map<std::string, std::shared_ptr<arrow::Schema>>& sources);

}  // namespace gnomon::feature
