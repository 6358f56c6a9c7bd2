#include <algorithm>

#include "feature/registry/saved_dataset_internal.h"
#include "feature/registry/spec_tag_internal.h"

namespace gnomon::feature {

namespace {

gnomon::proto::DatasetSpec SpecOf(const SavedDataset& dataset) {
  gnomon::proto::DatasetSpec spec;
  for (const ColumnStatistics& column : dataset.columns) {
    auto* message = spec.add_columns();
    message->set_name(column.name);
    message->set_type(column.type);
    message->set_nulls(column.nulls);
    if (column.distinct) message->set_distinct(*column.distinct);
    message->set_min(column.min);
    message->set_max(column.max);
    if (column.mean) message->set_mean(*column.mean);
    if (column.std) message->set_std(*column.std);
  }
  spec.set_fingerprint(dataset.fingerprint);
  spec.set_rows(dataset.rows);
  return spec;
}

ColumnStatistics ReadColumn(const gnomon::proto::ColumnSpec& message) {
  ColumnStatistics column;
  column.name = message.name();
  column.type = message.type();
  column.nulls = message.nulls();
  if (message.has_distinct()) column.distinct = message.distinct();
  column.min = message.min();
  column.max = message.max();
  if (message.has_mean()) column.mean = message.mean();
  if (message.has_std()) column.std = message.std();
  return column;
}

}  // namespace

void WriteSavedDataset(const SavedDataset& dataset, const std::string& project, int64_t now,
                       feast::core::SavedDataset* message) {
  auto* spec = message->mutable_spec();
  spec->set_name(dataset.name);
  spec->set_project(project);
  spec->clear_features();
  for (const std::string& feature : dataset.features) spec->add_features(feature);
  spec->clear_join_keys();
  for (const std::string& key : dataset.join_keys) spec->add_join_keys(key);
  spec->set_full_feature_names(dataset.full_feature_names);
  spec->set_feature_service_name(dataset.feature_service);
  spec->mutable_storage()->mutable_file_storage()->set_uri(dataset.path);
  spec->clear_tags();
  spec->mutable_tags()->insert(dataset.tags.begin(), dataset.tags.end());
  WriteSpecTag(SpecOf(dataset), spec->mutable_tags());
  auto* meta = message->mutable_meta();
  SetMicros(dataset.created, meta->mutable_created_timestamp());
  SetMicros(now, meta->mutable_last_updated_timestamp());
  meta->clear_min_event_timestamp();
  meta->clear_max_event_timestamp();
  if (dataset.min_event) SetMicros(*dataset.min_event, meta->mutable_min_event_timestamp());
  if (dataset.max_event) SetMicros(*dataset.max_event, meta->mutable_max_event_timestamp());
}

SavedDataset ReadSavedDataset(const feast::core::SavedDataset& message) {
  SavedDataset dataset;
  dataset.name = message.spec().name();
  dataset.path = message.spec().storage().file_storage().uri();
  dataset.features.assign(message.spec().features().begin(), message.spec().features().end());
  dataset.join_keys.assign(message.spec().join_keys().begin(), message.spec().join_keys().end());
  dataset.full_feature_names = message.spec().full_feature_names();
  dataset.feature_service = message.spec().feature_service_name();
  dataset.tags = {message.spec().tags().begin(), message.spec().tags().end()};
  // A broken tag leaves the dataset without statistics, and visible among its tags.
  const auto spec = TakeSpecTag<gnomon::proto::DatasetSpec>(&dataset.tags);
  if (spec.ok()) {
    for (const auto& column : spec->columns()) dataset.columns.push_back(ReadColumn(column));
    dataset.fingerprint = spec->fingerprint();
    dataset.rows = spec->rows();
  }
  const auto& meta = message.meta();
  dataset.created = MicrosOf(meta.created_timestamp());
  if (meta.has_min_event_timestamp()) dataset.min_event = MicrosOf(meta.min_event_timestamp());
  if (meta.has_max_event_timestamp()) dataset.max_event = MicrosOf(meta.max_event_timestamp());
  return dataset;
}

feast::core::SavedDataset* FindSavedDataset(const std::string& project, const std::string& name,
                                            feast::core::Registry* registry) {
  auto* all = registry->mutable_saved_datasets();
  const auto found = std::ranges::find_if(*all, [&](const auto& item) {
    return item.spec().project() == project && item.spec().name() == name;
  });
  return found == all->end() ? nullptr : &*found;
}

}  // namespace gnomon::feature
