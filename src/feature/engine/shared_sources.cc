#include "feature/engine/shared_sources.h"

#include <algorithm>
#include <optional>

#include "feature/engine/view_source.h"

namespace gnomon::feature {
namespace {

void AddEach(const std::vector<std::string>& more, std::vector<std::string>* names) {
  for (const std::string& name : more) {
    if (std::ranges::find(*names, name) == names->end()) names->push_back(name);
  }
}

/// What all of these read of their one source.
Result<ScanOptions> UnionOf(const Definitions& definitions, const DataSource& source,
                            const std::vector<const SourceUse*>& uses) {
  ScanOptions all;
  bool bounded = true;
  for (const SourceUse* use : uses) {
    GNOMON_ASSIGN_OR_RETURN(const ScanOptions one,
                            ReadOf(definitions, *use->view, source, use->columns, use->range));
    AddEach(one.columns, &all.columns);
    AddEach(one.required_columns, &all.required_columns);
    if (!one.time_range) bounded = false;
    if (!bounded) continue;
    if (!all.time_range) all.time_range = one.time_range;
    all.time_range->min = std::min(all.time_range->min, one.time_range->min);
    all.time_range->max = std::max(all.time_range->max, one.time_range->max);
  }
  if (!bounded) all.time_range.reset();
  return all;
}

}  // namespace

Result<SharedSources> SharedSources::Open(const Context& context, const Definitions& definitions,
                                          const OfflineStore& store,
                                          const std::vector<SourceUse>& uses) {
  std::map<std::string, std::vector<const SourceUse*>> by_source;
  for (const SourceUse& use : uses) {
    if (!use.view->is_derived()) by_source[use.view->source].push_back(&use);
  }
  SharedSources shared;
  for (const auto& [name, of_source] : by_source) {
    if (of_source.size() == 1) continue;
    GNOMON_ASSIGN_OR_RETURN(const DataSource source, SourceOf(definitions, *of_source[0]->view));
    GNOMON_ASSIGN_OR_RETURN(const ScanOptions read, UnionOf(definitions, source, of_source));
    GNOMON_ASSIGN_OR_RETURN(auto table, store.Open(context, source, read));
    shared.by_source_[name] = {.group = static_cast<int>(shared.by_source_.size()),
                               .table = table::PartitionedTable::Shared(std::move(table))};
  }
  return shared;
}

std::shared_ptr<const table::PartitionedTable> SharedSources::TableOf(
    const FeatureView& view) const {
  const auto found = by_source_.find(view.source);
  return view.is_derived() || found == by_source_.end() ? nullptr : found->second.table;
}

int SharedSources::GroupOf(const FeatureView& view) const {
  const auto found = by_source_.find(view.source);
  return view.is_derived() || found == by_source_.end() ? -1 : found->second.group;
}

}  // namespace gnomon::feature
