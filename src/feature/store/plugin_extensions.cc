#include "feature/store/plugin_extensions.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <utility>

#include <arrow/array.h>
#include <arrow/type.h>

#include "base/text.h"
#include "plugin/library.h"

namespace gnomon::feature {
namespace {

using LibraryPtr = std::shared_ptr<const plugin::Library>;

/// A library's function as the expression language calls it.
class PluginFunction final : public expr::CustomFunction {
 public:
  PluginFunction(LibraryPtr library, const plugin::Function& function)
      : library_(std::move(library)), function_(function) {}
  const std::string& name() const override { return function_.name(); }
  const std::vector<std::shared_ptr<arrow::DataType>>& parameters() const override {
    return function_.parameters();
  }
  const std::shared_ptr<arrow::DataType>& result() const override { return function_.result(); }
  bool sees_nulls() const override { return function_.sees_nulls(); }
  Result<std::shared_ptr<arrow::Array>> Evaluate(
      std::span<const std::shared_ptr<arrow::Array>> arguments, int64_t num_rows) const override {
    return function_.Call(arguments, num_rows);
  }

 private:
  const LibraryPtr library_;  // owns the function
  const plugin::Function& function_;
};

class PluginInput final : public pit::CustomInput {
 public:
  explicit PluginInput(plugin::AggregateInput input) : input_(std::move(input)) {}
  const plugin::AggregateInput& input() const { return input_; }

 private:
  plugin::AggregateInput input_;
};

class PluginState final : public pit::CustomState {
 public:
  explicit PluginState(std::unique_ptr<plugin::Aggregate::State> state)
      : state_(std::move(state)) {}
  Status Reset() override { return state_->Reset(); }
  Status Accumulate(const pit::CustomInput& input, int64_t begin, int64_t end) override {
    return state_->Accumulate(static_cast<const PluginInput&>(input).input(), begin, end);
  }
  Status Merge(const pit::CustomState& later) override {
    return state_->Merge(*static_cast<const PluginState&>(later).state_);
  }
  Result<pit::CustomValue> Finish() const override {
    GNOMON_ASSIGN_OR_RETURN(const plugin::AggregateValue value, state_->Finish());
    return pit::CustomValue{.is_valid = value.is_valid,
                            .integer = value.integer,
                            .real = value.real,
                            .text = value.text};
  }

 private:
  const std::unique_ptr<plugin::Aggregate::State> state_;
};

/// A library's aggregate as windows evaluate it.
class PluginWindowAggregate final : public pit::CustomAggregate {
 public:
  PluginWindowAggregate(LibraryPtr library, const plugin::Aggregate& aggregate)
      : library_(std::move(library)), aggregate_(aggregate) {}
  const std::string& name() const override { return aggregate_.name(); }
  const std::shared_ptr<arrow::DataType>& input() const override { return aggregate_.input(); }
  const std::shared_ptr<arrow::DataType>& result() const override { return aggregate_.result(); }
  bool has_value_of_nothing() const override { return aggregate_.has_value_of_nothing(); }
  Result<std::unique_ptr<pit::CustomInput>> Prepare(
      const std::shared_ptr<arrow::Array>& values) const override {
    GNOMON_ASSIGN_OR_RETURN(plugin::AggregateInput input, plugin::AggregateInput::Make(values));
    return std::make_unique<PluginInput>(std::move(input));
  }
  Result<std::unique_ptr<pit::CustomState>> MakeState() const override {
    GNOMON_ASSIGN_OR_RETURN(auto state, plugin::Aggregate::State::Make(aggregate_));
    return std::make_unique<PluginState>(std::move(state));
  }

 private:
  const LibraryPtr library_;  // owns the aggregate
  const plugin::Aggregate& aggregate_;
};

std::string RememberedPath(const std::string& path, const std::string& folder) {
  const std::string prefix = folder + "/";
  return path.starts_with(prefix) ? path.substr(prefix.size()) : path;
}

PluginUse UseOf(const plugin::Library& library, const std::string& folder) {
  PluginUse use{.path = RememberedPath(library.path(), folder),
                .id = library.id(),
                .functions = {},
                .aggregates = {}};
  for (const plugin::Function& function : library.functions()) {
    if (std::ranges::find(use.functions, function.name()) == use.functions.end())
      use.functions.push_back(function.name());
  }
  for (const plugin::Aggregate& aggregate : library.aggregates())
    use.aggregates.push_back(aggregate.name());
  return use;
}

}  // namespace

Result<std::shared_ptr<const Extensions>> LoadExtensions(const std::vector<std::string>& paths,
                                                         const std::string& folder) {
  if (paths.empty()) return nullptr;
  GNOMON_ASSIGN_OR_RETURN(const auto libraries, plugin::LoadLibraries(paths));
  auto extensions = std::make_shared<Extensions>();
  std::vector<std::shared_ptr<const expr::CustomFunction>> functions;
  for (const LibraryPtr& library : libraries) {
    for (const plugin::Function& function : library->functions())
      functions.push_back(std::make_shared<PluginFunction>(library, function));
    for (const plugin::Aggregate& aggregate : library->aggregates()) {
      if (pit::ParseAggregateFunction(aggregate.name()).ok()) {
        return Error(ErrorKind::kConflict, "plug-in library ", library->path(),
                     ": there is a built-in aggregate of this name: ", aggregate.name());
      }
      extensions->aggregates.push_back(std::make_shared<PluginWindowAggregate>(library, aggregate));
    }
    extensions->plugins.push_back(UseOf(*library, folder));
  }
  auto set = expr::FunctionSet::Make(std::move(functions));
  if (!set.ok()) return WithContext(set.status(), "plug-in libraries");
  extensions->functions = *std::move(set);
  return extensions;
}

std::shared_ptr<const Definitions> LinkApplied(const Definitions& applied,
                                               std::shared_ptr<const Extensions> loaded) {
  auto extensions =
      loaded == nullptr ? std::make_shared<Extensions>() : std::make_shared<Extensions>(*loaded);
  std::map<std::string, std::string> owners;
  for (const PluginUse& plugin : applied.plugins) {
    for (const std::string& name : plugin.functions) owners.emplace(name, plugin.path);
  }
  extensions->functions =
      expr::FunctionSet::WithAbsent(extensions->functions.get(), std::move(owners));
  return std::make_shared<const Definitions>(WithExtensions(applied, std::move(extensions)));
}

std::vector<std::string> PluginWarnings(const Definitions& applied, const Extensions* loaded) {
  std::vector<std::string> warnings;
  for (const PluginUse& plugin : applied.plugins) {
    const PluginUse* now = nullptr;
    if (loaded != nullptr) {
      const auto found = std::ranges::find(loaded->plugins, plugin.path, &PluginUse::path);
      if (found != loaded->plugins.end()) now = &*found;
    }
    if (now == nullptr) {
      warnings.push_back(Concat(
          "the definitions were applied with a plug-in library that is not loaded: ", plugin.path,
          "; name it under plugins: in feature_store.yaml, or run: gnomon apply"));
    } else if (now->id != plugin.id) {
      warnings.push_back(
          Concat("the definitions were applied with another build of plug-in library ", plugin.path,
                 " (sha256 ", plugin.id, ", now ", now->id,
                 "): its values may differ from those that were trained on or materialized; to "
                 "accept it run: gnomon apply"));
    }
  }
  return warnings;
}

}  // namespace gnomon::feature
