#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "expr/function_set.h"
#include "pit/custom_aggregate.h"

namespace gnomon::feature {

struct Definitions;
struct FeatureView;

/// A user's library that definitions were applied with.
struct PluginUse {
  std::string path;  ///< as feature_store.yaml has it
  std::string id;    ///< sha256 of the file
  std::vector<std::string> functions;
  std::vector<std::string> aggregates;
  bool operator==(const PluginUse&) const = default;
};

/// Ids of those libraries, sorted, that the expressions call or that have one of the aggregates.
/// Expressions that are none are passed over.
std::vector<std::string> PluginIds(const std::vector<PluginUse>& plugins,
                                   const std::vector<std::string>& expressions,
                                   const std::vector<std::string>& aggregates);

/// The same for all that a view's rows and features depend on, but for its source.
std::vector<std::string> PluginIds(const std::vector<PluginUse>& plugins, const FeatureView& view);

/// What a repository's plug-in libraries add to its definitions. Immutable, thread-safe.
struct Extensions {
  std::shared_ptr<const expr::FunctionSet> functions;  ///< may be null
  std::vector<std::shared_ptr<const pit::CustomAggregate>> aggregates;
  std::vector<PluginUse> plugins;

  /// Null when there is none.
  std::shared_ptr<const pit::CustomAggregate> FindAggregate(std::string_view name) const;
  std::vector<std::string> AggregateNames() const;
};

/// The definitions with the code of `extensions`, which may be null, where they name it. Names that
/// nothing has stay without code; Validate reports them.
Definitions WithExtensions(Definitions definitions, std::shared_ptr<const Extensions> extensions);

}  // namespace gnomon::feature
