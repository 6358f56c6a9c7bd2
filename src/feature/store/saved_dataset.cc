#include <algorithm>
#include <filesystem>
#include <functional>
#include <utility>

#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <arrow/type.h>

#include "base/parallel.h"
#include "base/text.h"
#include "feature/store/column_statistics.h"
#include "feature/store/feature_store_internal.h"
#include "table/column.h"
#include "table/file.h"
#include "table/file_system.h"
#include "table/fingerprint.h"

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

/// What is kept of the rows beside the rows: of each column statistics, the range of times and the
/// fingerprint, all while they are written. `keep` is called with the dataset before its file
/// appears.
class DatasetRecorder : public RowsVisitor {
 public:
  DatasetRecorder(const Context& context, SavedDataset* dataset, std::function<Status()> keep)
      : context_(context), dataset_(dataset), keep_(std::move(keep)) {}

  Status Begin(const std::shared_ptr<arrow::Schema>& schema) override {
    schema_ = schema;
    GNOMON_ASSIGN_OR_RETURN(const std::string time, EventTimestampColumn(*schema));
    time_column_ = schema->GetFieldIndex(time);
    fingerprint_.emplace(*schema);
    return TableDescription::Make(context_, *schema).Value(&description_);
  }

  Status Visit(const arrow::RecordBatch& batch) override {
    GNOMON_RETURN_NOT_OK(AddTimes(*batch.column(time_column_)));
    return ParallelFor(context_, batch.num_columns(), [&](int64_t i) -> Status {
      const auto column = static_cast<int>(i);
      GNOMON_RETURN_NOT_OK(description_->AddTo(column, batch.column(column)));
      return fingerprint_->AddTo(column, *batch.column(column));
    });
  }

  Status End(int64_t num_rows) override {
    dataset_->rows = num_rows;
    dataset_->min_event = min_event_;
    dataset_->max_event = max_event_;
    dataset_->fingerprint = fingerprint_->Finish(num_rows);
    GNOMON_RETURN_NOT_OK(description_->Finish().Value(&dataset_->columns));
    return keep_();
  }

  const std::shared_ptr<arrow::Schema>& schema() const { return schema_; }

 private:
  Status AddTimes(const arrow::Array& times) {
    GNOMON_ASSIGN_OR_RETURN(const auto micros, table::TimesAsMicros(times));
    for (int64_t row = 0; row < times.length(); ++row) {
      if (times.IsNull(row)) continue;
      const int64_t time = micros[static_cast<size_t>(row)];
      min_event_ = std::min(min_event_.value_or(time), time);
      max_event_ = std::max(max_event_.value_or(time), time);
    }
    return Status::OK();
  }

  const Context& context_;
  SavedDataset* const dataset_;
  const std::function<Status()> keep_;
  std::shared_ptr<arrow::Schema> schema_;
  int time_column_ = -1;
  std::unique_ptr<TableDescription> description_;
  std::optional<table::RunningFingerprint> fingerprint_;
  std::optional<int64_t> min_event_;
  std::optional<int64_t> max_event_;
};

struct FileRows {
  int64_t rows = 0;
  std::string fingerprint;
};

/// Of the values as a reader of the file gets them, batch by batch.
Result<FileRows> RowsOfFile(const Context& context, const std::string& path) {
  GNOMON_ASSIGN_OR_RETURN(const auto reader, table::TableReader::Open(context, path));
  table::RunningFingerprint fingerprint(*reader->schema());
  FileRows file;
  while (true) {
    GNOMON_ASSIGN_OR_RETURN(const auto batch, reader->Next());
    if (batch == nullptr) break;
    GNOMON_RETURN_NOT_OK(fingerprint.Add(*batch));
    file.rows += batch->num_rows();
  }
  file.fingerprint = fingerprint.Finish(file.rows);
  return file;
}

/// The fingerprint of the values as a reader of the file gets them. Those are the written ones when
/// the file itself says that they have the same types; text does not, and is read again.
Result<std::string> FingerprintOf(const Context& context, const std::string& path,
                                  const arrow::Schema& written, const SavedDataset& dataset) {
  GNOMON_ASSIGN_OR_RETURN(const table::FileFormat format, table::FormatOfPath(path));
  if (format == table::FileFormat::kParquet || format == table::FileFormat::kIpc) {
    GNOMON_ASSIGN_OR_RETURN(const auto schema, table::ReadSchema(context, path));
    if (schema->Equals(written, /*check_metadata=*/false)) return dataset.fingerprint;
  }
  GNOMON_ASSIGN_OR_RETURN(FileRows file, RowsOfFile(context, path));
  return std::move(file.fingerprint);
}

/// kConflict unless the dataset has no file: then a process died before it appeared.
Status CheckAbandoned(const std::string& folder, const SavedDataset& dataset) {
  GNOMON_ASSIGN_OR_RETURN(const bool is_there,
                          table::IsFile(table::PathBelow(folder, dataset.path)));
  if (!is_there) return Status::OK();
  return MakeError(ErrorKind::kConflict,
                   Concat("a saved dataset of this name exists: ", Quoted(dataset.name)), {},
                   "choose another name, or overwrite it");
}

/// What the registry knew before under the name. The error that led here is told.
void Restore(const Context& context, Registry& registry, const std::string& name,
             const SavedDataset* old) {
  Context alone = context.WithStop({});
  alone.deadline.reset();
  static_cast<void>(old != nullptr ? registry.PutSavedDataset(alone, *old, /*overwrite=*/true)
                                   : registry.DeleteSavedDataset(alone, name));
}

Status NotWhatWasSaved(const SavedDataset& dataset, const std::string& path, int64_t rows,
                       const std::string& fingerprint) {
  return MakeError(ErrorKind::kDataLoss,
                   Concat("saved dataset ", Quoted(dataset.name), " is not what was saved: ", rows,
                          " rows with fingerprint ", fingerprint.substr(0, 12), ", saved were ",
                          dataset.rows, " with ", dataset.fingerprint.substr(0, 12)),
                   {.file = path}, "retrieve it again, or delete it and save it anew");
}

}  // namespace

Result<SavedDataset> FeatureStore::SaveDataset(const Context& context, const RetrievalJob& job,
                                               const std::string& name, const std::string& path,
                                               bool overwrite, const Tags& tags) {
  if (Trim(name).empty()) return Error(ErrorKind::kUser, "a saved dataset needs a name");
  GNOMON_RETURN_NOT_OK(table::FormatOfPath(path).status());
  Registry& registry = *impl_->registry;
  const auto existing = registry.SavedDatasets();
  const auto old = std::ranges::find(existing, name, &SavedDataset::name);
  if (!overwrite && old != existing.end()) {
    GNOMON_RETURN_NOT_OK(CheckAbandoned(impl_->config.folder, *old));
    overwrite = true;
  }
  SavedDataset dataset = DatasetOf(job.plan());
  dataset.name = name;
  dataset.path = StoredPath(impl_->config.folder, path);
  dataset.tags = tags;
  dataset.created = context.clock->NowMicros();
  GNOMON_ASSIGN_OR_RETURN(const bool replaces, table::IsFile(path));
  // The name comes first: a file that nobody knows by a name could not be found again.
  bool is_known = false;
  bool is_written = false;
  DatasetRecorder recorder(context, &dataset, [&]() -> Status {
    GNOMON_RETURN_NOT_OK(registry.PutSavedDataset(context, dataset, overwrite));
    is_known = true;
    return Status::OK();
  });
  const auto save = [&]() -> Status {
    GNOMON_RETURN_NOT_OK(job.WriteTo(context, path, &recorder).status());
    is_written = true;
    GNOMON_ASSIGN_OR_RETURN(std::string fingerprint,
                            FingerprintOf(context, path, *recorder.schema(), dataset));
    if (fingerprint == dataset.fingerprint) return Status::OK();
    dataset.fingerprint = std::move(fingerprint);
    return registry.PutSavedDataset(context, dataset, /*overwrite=*/true);
  };
  const Status saved = save();
  // A file that stood there before is gone anyway.
  if (!saved.ok() && is_written && !replaces) static_cast<void>(table::DeleteFile(path));
  if (!saved.ok() && is_known)
    Restore(context, registry, name, old == existing.end() ? nullptr : &*old);
  GNOMON_RETURN_NOT_OK(saved);
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
  return NotWhatWasSaved(dataset, path, rows->num_rows(), fingerprint);
}

Status FeatureStore::VerifySavedDataset(const Context& context, const std::string& name) const {
  GNOMON_ASSIGN_OR_RETURN(const SavedDataset dataset, GetSavedDataset(name));
  const std::string path = table::PathBelow(impl_->config.folder, dataset.path);
  GNOMON_ASSIGN_OR_RETURN(const FileRows file, RowsOfFile(context, path));
  if (dataset.fingerprint.empty() || file.fingerprint == dataset.fingerprint) return Status::OK();
  return NotWhatWasSaved(dataset, path, file.rows, file.fingerprint);
}

Status FeatureStore::DeleteSavedDataset(const Context& context, const std::string& name) {
  GNOMON_RETURN_NOT_OK(GetSavedDataset(name).status());
  return impl_->registry->DeleteSavedDataset(context, name);
}

}  // namespace gnomon::feature
