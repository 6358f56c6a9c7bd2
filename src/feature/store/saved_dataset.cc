#include <algorithm>
#include <filesystem>

#include <arrow/array.h>
#include <arrow/table.h>
#include <arrow/util/byte_size.h>

#include "base/memory_reservation.h"
#include "base/text.h"
#include "feature/store/column_statistics.h"
#include "feature/store/feature_store_internal.h"
#include "table/column.h"
#include "table/file.h"
#include "table/file_system.h"

namespace gnomon::feature {
namespace {

namespace fs = std::filesystem;

/// Relative to the repository when the file lies in it, else absolute; an address as it is.
std::string StoredPath(const std::string& folder, const std::string& path) {
  if (table::IsObjectPath(path)) return path;
  const fs::path absolute = fs::absolute(path).lexically_normal();
  const fs::path relative = absolute.lexically_relative(fs::path(folder).lexically_normal());
  const bool inside = !relative.empty() && *relative.begin() != "..";
  return inside ? relative.string() : absolute.string();
}

std::string RefOf(const FeaturePlan& plan, const PlannedOutput& output) {
  const auto index = static_cast<size_t>(output.slot.index);
  switch (output.slot.kind) {
    case ColumnSlot::Kind::kView: {
      const PlannedView& view = plan.views[index];
      return Concat(view.alias, ":", view.features[static_cast<size_t>(output.slot.feature)]->name);
    }
    case ColumnSlot::Kind::kExpression:
      return Concat(plan.expressions[index].view->name, ":", plan.expressions[index].field->name);
    case ColumnSlot::Kind::kRequest:
      break;
  }
  return output.name;
}

/// What the plan says of a dataset.
SavedDataset DatasetOf(const FeaturePlan& plan) {
  SavedDataset dataset;
  dataset.feature_service = plan.feature_service;
  for (const Field& field : plan.entity_fields) dataset.join_keys.push_back(field.name);
  for (const PlannedOutput& output : plan.outputs) {
    const std::string ref = RefOf(plan, output);
    dataset.full_feature_names |= !ref.ends_with(Concat(":", output.name));
    dataset.features.push_back(ref);
  }
  return dataset;
}

Status AddTimes(const arrow::Table& rows, SavedDataset* dataset) {
  GNOMON_ASSIGN_OR_RETURN(const std::string name, EventTimestampColumn(*rows.schema()));
  GNOMON_ASSIGN_OR_RETURN(const auto times, table::SingleChunk(*rows.GetColumnByName(name)));
  GNOMON_ASSIGN_OR_RETURN(const auto micros, table::TimesAsMicros(*times));
  for (int64_t row = 0; row < rows.num_rows(); ++row) {
    if (times->IsNull(row)) continue;
    const int64_t time = micros[static_cast<size_t>(row)];
    dataset->min_event = std::min(dataset->min_event.value_or(time), time);
    dataset->max_event = std::max(dataset->max_event.value_or(time), time);
  }
  return Status::OK();
}

/// The values as a reader of the file gets them, which may have other types (CSV has no int32).
Result<std::string> FingerprintOfFile(const Context& context, const std::string& path) {
  GNOMON_ASSIGN_OR_RETURN(const auto rows, table::ReadTable(context, path));
  return table::Fingerprint(*rows);
}

}  // namespace

Result<SavedDataset> FeatureStore::SaveDataset(const Context& context, const RetrievalJob& job,
                                               const std::string& name, const std::string& path,
                                               bool overwrite, const Tags& tags) {
  if (Trim(name).empty()) return Error(ErrorKind::kUser, "a saved dataset needs a name");
  GNOMON_RETURN_NOT_OK(table::FormatOfPath(path).status());
  const auto existing = impl_->registry->SavedDatasets();
  if (!overwrite && std::ranges::find(existing, name, &SavedDataset::name) != existing.end()) {
    return MakeError(ErrorKind::kConflict,
                     Concat("a saved dataset of this name exists: ", Quoted(name)), {},
                     "choose another name, or overwrite it");
  }
  SavedDataset dataset = DatasetOf(job.plan());
  dataset.name = name;
  dataset.path = StoredPath(impl_->config.folder, path);
  dataset.tags = tags;
  dataset.created = context.clock->NowMicros();
  GNOMON_ASSIGN_OR_RETURN(auto rows, job.ToTable(context));
  {
    MemoryReservation memory(context.memory);
    GNOMON_ASSIGN_OR_RETURN(const int64_t bytes, arrow::util::ReferencedBufferSize(*rows));
    GNOMON_RETURN_NOT_OK(WithHint(WithContext(memory.Grow(bytes), "rows of a saved dataset"),
                                  "raise --memory-limit (memory_limit in feature_store.yaml)"));
    dataset.rows = rows->num_rows();
    GNOMON_RETURN_NOT_OK(AddTimes(*rows, &dataset));
    GNOMON_ASSIGN_OR_RETURN(dataset.columns, DescribeColumns(context, *rows));
    GNOMON_RETURN_NOT_OK(table::WriteTable(context, *rows, path));
    rows.reset();
  }
  GNOMON_ASSIGN_OR_RETURN(dataset.fingerprint, FingerprintOfFile(context, path));
  GNOMON_RETURN_NOT_OK(impl_->registry->PutSavedDataset(context, dataset, overwrite));
  return dataset;
}

Result<SavedDataset> FeatureStore::GetSavedDataset(const std::string& name) const {
  const auto all = impl_->registry->SavedDatasets();
  const auto found = std::ranges::find(all, name, &SavedDataset::name);
  if (found != all.end()) return *found;
  std::vector<std::string> names;
  for (const SavedDataset& dataset : all) names.push_back(dataset.name);
  return MakeError(ErrorKind::kNotFound, Concat("no saved dataset ", Quoted(name)), {},
                   DidYouMean(name, names));
}

Result<std::shared_ptr<arrow::Table>> FeatureStore::ReadSavedDataset(
    const Context& context, const std::string& name) const {
  GNOMON_ASSIGN_OR_RETURN(const SavedDataset dataset, GetSavedDataset(name));
  const std::string path = table::PathBelow(impl_->config.folder, dataset.path);
  GNOMON_ASSIGN_OR_RETURN(auto rows, table::ReadTable(context, path));
  if (dataset.fingerprint.empty()) return rows;
  GNOMON_ASSIGN_OR_RETURN(const std::string fingerprint, table::Fingerprint(*rows));
  if (fingerprint == dataset.fingerprint) return rows;
  return MakeError(
      ErrorKind::kDataLoss,
      Concat("saved dataset ", Quoted(name), " is not what was saved: ", rows->num_rows(),
             " rows with fingerprint ", fingerprint.substr(0, 12), ", saved were ", dataset.rows,
             " with ", dataset.fingerprint.substr(0, 12)),
      {.file = path}, "retrieve it again, or delete it and save it anew");
}

Status FeatureStore::DeleteSavedDataset(const Context& context, const std::string& name) {
  GNOMON_RETURN_NOT_OK(GetSavedDataset(name).status());
  return impl_->registry->DeleteSavedDataset(context, name);
}

}  // namespace gnomon::feature
