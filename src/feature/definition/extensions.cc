#include "feature/definition/extensions.h"

#include <algorithm>
#include <set>
#include <utility>

#include "base/text.h"
#include "expr/expression.h"
#include "feature/definition/definition.h"

namespace gnomon::feature {

std::shared_ptr<const pit::CustomAggregate> Extensions::FindAggregate(std::string_view name) const {
  const auto found = std::ranges::find_if(
      aggregates, [&](const auto& aggregate) { return aggregate->name() == name; });
  return found == aggregates.end() ? nullptr : *found;
}

std::vector<std::string> Extensions::AggregateNames() const {
  std::vector<std::string> names;
  for (const auto& aggregate : aggregates) names.push_back(aggregate->name());
  return names;
}

namespace {

std::string OwnerOf(const std::string& aggregate, const std::vector<PluginUse>& plugins) {
  for (const PluginUse& plugin : plugins) {
    if (std::ranges::find(plugin.aggregates, aggregate) != plugin.aggregates.end())
      return plugin.path;
  }
  return {};
}

}  // namespace

Definitions WithExtensions(Definitions definitions, std::shared_ptr<const Extensions> extensions) {
  for (FeatureView& view : definitions.feature_views) {
    for (Aggregation& aggregation : view.aggregations) {
      if (aggregation.function != pit::AggregateFunction::kCustom) continue;
      aggregation.custom.library = OwnerOf(aggregation.custom.name, definitions.plugins);
      aggregation.custom.code =
          extensions == nullptr ? nullptr : extensions->FindAggregate(aggregation.custom.name);
    }
  }
  definitions.extensions = std::move(extensions);
  return definitions;
}

std::vector<std::string> PluginIds(const std::vector<PluginUse>& plugins,
                                   const std::vector<std::string>& expressions,
                                   const std::vector<std::string>& aggregates) {
  std::set<std::string> ids;
  if (plugins.empty()) return {};
  std::set<std::string> called;
  for (const std::string& text : expressions) {
    const auto parsed = expr::Expression::Parse(text);
    if (!parsed.ok()) continue;
    for (std::string& name : parsed->functions()) called.insert(std::move(name));
  }
  const std::set<std::string> folded(aggregates.begin(), aggregates.end());
  for (const PluginUse& plugin : plugins) {
    const auto is_in = [](const std::set<std::string>& names) {
      return [&names](const std::string& name) { return names.contains(name); };
    };
    if (std::ranges::any_of(plugin.functions, is_in(called)) ||
        std::ranges::any_of(plugin.aggregates, is_in(folded))) {
      ids.insert(plugin.id);
    }
  }
  return {ids.begin(), ids.end()};
}

std::vector<std::string> PluginIds(const std::vector<PluginUse>& plugins, const FeatureView& view) {
  std::vector<std::string> expressions = {view.filter};
  for (const Transformation& step : view.transformations) expressions.push_back(step.expression);
  std::vector<std::string> aggregates;
  for (const Aggregation& aggregation : view.aggregations) {
    if (aggregation.function == pit::AggregateFunction::kCustom)
      aggregates.push_back(aggregation.custom.name);
  }
  return PluginIds(plugins, expressions, aggregates);
}

const char* FunctionName(const Aggregation& aggregation) {
  if (aggregation.function == pit::AggregateFunction::kCustom)
    return aggregation.custom.name.c_str();
  return pit::NameOf(aggregation.function);
}

Result<pit::AggregateSpec> AggregateSpecOf(const Aggregation& aggregation) {
  const bool is_custom = aggregation.function == pit::AggregateFunction::kCustom;
  if (is_custom && aggregation.custom.code == nullptr) {
    return MakeError(
        ErrorKind::kNotFound,
        Concat("aggregate function ", Quoted(aggregation.custom.name),
               " is of a plug-in library that is not loaded",
               aggregation.custom.library.empty() ? "" : ": ", aggregation.custom.library),
        {}, "name the library under plugins: in feature_store.yaml");
  }
  return pit::AggregateSpec{.function = aggregation.function,
                            .column = 0,
                            .window = aggregation.time_window,
                            .k = aggregation.k,
                            .quantile = aggregation.quantile,
                            .ddof = aggregation.ddof,
                            .custom = aggregation.custom.code};
}

}  // namespace gnomon::feature
