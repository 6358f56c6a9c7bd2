#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <filesystem>
#include <system_error>
#include <unistd.h>
#include <utility>
#include <vector>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <arrow/type.h>

#include "base/files.h"
#include "base/text.h"
#include "dataset/distributed/file_sink_internal.h"
#include "dataset/distributed/operator_marks_internal.h"
#include "dataset/distributed/row_place_internal.h"
#include "dataset/distributed/write_task_internal.h"
#include "runtime/file_descriptor.h"

namespace gnomon::dataset::internal {

namespace {

namespace fs = std::filesystem;
using runtime::TaskContext;
using runtime::TaskOutput;

// Removes an attempt unless it is kept.
class AttemptGuard {
 public:
  explicit AttemptGuard(std::string path) : path_(std::move(path)) {}
  ~AttemptGuard() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
  }
  AttemptGuard(const AttemptGuard&) = delete;
  AttemptGuard& operator=(const AttemptGuard&) = delete;
  void Keep() { path_.clear(); }

 private:
  std::string path_;
};

struct WrittenFile {
  std::string attempt;  ///< the folder of the task that wrote it
  std::string file;     ///< below the folder
  int64_t rows = 0;
};

Result<std::shared_ptr<arrow::Table>> Run(const TaskContext& task, const Plan& plan,
                                          const ExecutionOptions& options, std::string* report) {
  GNOMON_ASSIGN_OR_RETURN(const auto execution, Execution::Start(task.context(), plan, options));
  arrow::RecordBatchVector batches;
  while (true) {
    GNOMON_ASSIGN_OR_RETURN(auto batch, execution->Next());
    if (batch == nullptr) break;
    batches.push_back(std::move(batch));
  }
  *report = MakeReport(execution->Stats());
  return arrow::Table::FromRecordBatches(plan->schema(), batches);
}

// The rows of a write node, each path with `prefix` instead of the attempt's.
Result<std::shared_ptr<arrow::Array>> Moved(const arrow::Table& rows,
                                            const std::string& attempt_path,
                                            const std::string& prefix) {
  arrow::StringBuilder paths;
  for (const auto& chunk : rows.column(0)->chunks()) {
    const auto& texts = static_cast<const arrow::StringArray&>(*chunk);
    for (int64_t i = 0; i < texts.length(); ++i) {
      const std::string_view text = texts.GetView(i);
      if (!text.starts_with(attempt_path)) {
        return Error(ErrorKind::kInternal, "a file outside of the attempt: ", text);
      }
      GNOMON_RETURN_NOT_OK(paths.Append(Concat(prefix, text.substr(attempt_path.size()))));
    }
  }
  return paths.Finish();
}

std::string WithoutSlashes(std::string path) {
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  return path;
}

Result<std::vector<WrittenFile>> ReadWritten(BatchSource& source) {
  std::vector<WrittenFile> files;
  while (true) {
    GNOMON_ASSIGN_OR_RETURN(const auto batch, source.Next());
    if (batch == nullptr) break;
    const auto& attempts = static_cast<const arrow::StringArray&>(*batch->column(0));
    const auto& names = static_cast<const arrow::StringArray&>(*batch->column(1));
    const auto& rows = static_cast<const arrow::Int64Array&>(*batch->column(2));
    for (int64_t i = 0; i < batch->num_rows(); ++i) {
      files.push_back({attempts.GetString(i), names.GetString(i), rows.Value(i)});
    }
  }
  std::ranges::sort(files, {}, &WrittenFile::file);
  return files;
}

Status SyncFolder(const fs::path& folder) {
  const runtime::FileDescriptor descriptor(
      ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!descriptor.is_open() || (::fsync(descriptor.get()) != 0 && errno != EINVAL))
    return ErrnoError(errno, Concat("cannot sync ", folder.string()));
  return Status::OK();
}

// The other attempts of this task read the same files: they stay where they are.
Status LinkInto(const fs::path& attempt, const WrittenFile& file) {
  const fs::path from = fs::path(file.attempt) / file.file;
  const fs::path to = attempt / file.file;
  GNOMON_RETURN_NOT_OK(MakeFolders(to.parent_path().string()));
  if (::link(from.c_str(), to.c_str()) == 0) return Status::OK();
  if (errno != EPERM && errno != EOPNOTSUPP && errno != EMLINK)
    return ErrnoError(errno, Concat("cannot link ", from.string(), " to ", to.string()));
  std::error_code error;
  fs::copy_file(from, to, error);
  if (error) return ErrnoError(error.value(), Concat("cannot copy ", from.string()));
  const runtime::FileDescriptor copy(::open(to.c_str(), O_RDONLY | O_CLOEXEC));
  if (!copy.is_open() || ::fsync(copy.get()) != 0)
    return ErrnoError(errno, Concat("cannot sync ", to.string()));
  return Status::OK();
}

Status SyncFoldersBelow(const fs::path& folder) {
  std::error_code error;
  for (const auto& entry : fs::recursive_directory_iterator(folder, error)) {
    if (entry.is_directory()) GNOMON_RETURN_NOT_OK(SyncFolder(entry.path()));
  }
  if (error) return ErrnoError(error.value(), Concat("cannot read ", folder.string()));
  return SyncFolder(folder);
}

Result<TaskOutput> OutputOf(TaskContext& task, const arrow::RecordBatch& rows) {
  GNOMON_ASSIGN_OR_RETURN(const auto writer, task.NewOutput(rows.schema()));
  if (rows.num_rows() > 0) GNOMON_RETURN_NOT_OK(writer->Write(rows));
  TaskOutput output;
  GNOMON_ASSIGN_OR_RETURN(output.blocks.emplace_back(), task.Finish(*writer));
  return output;
}

}  // namespace

std::shared_ptr<arrow::Schema> WrittenFilesSchema() {
  return arrow::schema({arrow::field("attempt", arrow::utf8(), false),
                        arrow::field("file", arrow::utf8(), false),
                        arrow::field("rows", arrow::int64(), false)});
}

Result<TaskOutput> WriteWhole(TaskContext& task, const Plan& plan,
                              const ExecutionOptions& options) {
  WriteSpec spec = std::get<WriteSpec>(plan->spec());
  const std::string path = std::exchange(spec.path, AttemptPath(spec.path));
  const std::string attempt_path = spec.path;
  GNOMON_ASSIGN_OR_RETURN(const Plan attempt, MakeNode(std::move(spec), plan->inputs()));
  AttemptGuard guard(attempt_path);
  TaskOutput output;
  GNOMON_ASSIGN_OR_RETURN(const auto rows, Run(task, attempt, options, &output.report));
  GNOMON_ASSIGN_OR_RETURN(const auto paths, Moved(*rows, attempt_path, WithoutSlashes(path)));
  GNOMON_ASSIGN_OR_RETURN(
      const auto final_rows,
      rows->SetColumn(0, rows->schema()->field(0), std::make_shared<arrow::ChunkedArray>(paths)));
  GNOMON_ASSIGN_OR_RETURN(output.commit_token, MakeWriteToken(attempt_path, path, *final_rows));
  guard.Keep();
  return output;
}

Result<TaskOutput> WriteSome(TaskContext& task, const proto::StageFragment& fragment,
                             const Plan& plan, const ExecutionOptions& options) {
  WriteSpec spec = std::get<WriteSpec>(plan->spec());
  if (fragment.has_counts()) {
    GNOMON_ASSIGN_OR_RETURN(const RowPlace place, PlaceOf(task, fragment.counts()));
    const RowRuns runs(place.total_rows, spec.rows_per_file, task.task().num_partitions);
    spec.first_file = runs.FirstRunOf(task.task().partition);
    if (spec.first_file == runs.FirstRunOf(task.task().partition + 1)) {
      GNOMON_ASSIGN_OR_RETURN(const auto none, arrow::RecordBatch::MakeEmpty(WrittenFilesSchema()));
      return OutputOf(task, *none);
    }
  }
  spec.path = AttemptPath(spec.path);
  const std::string attempt_path = spec.path;
  GNOMON_ASSIGN_OR_RETURN(const Plan attempt, MakeNode(std::move(spec), plan->inputs()));
  AttemptGuard guard(attempt_path);
  std::string report;
  GNOMON_ASSIGN_OR_RETURN(const auto table, Run(task, attempt, options, &report));
  GNOMON_ASSIGN_OR_RETURN(const auto rows, table->CombineChunksToBatch());
  arrow::StringBuilder attempts;
  for (int64_t i = 0; i < rows->num_rows(); ++i) {
    GNOMON_RETURN_NOT_OK(attempts.Append(attempt_path));
  }
  GNOMON_ASSIGN_OR_RETURN(const auto attempt_column, attempts.Finish());
  GNOMON_ASSIGN_OR_RETURN(const auto files, Moved(*table, Concat(attempt_path, "/"), ""));
  GNOMON_ASSIGN_OR_RETURN(
      auto output,
      OutputOf(task, *arrow::RecordBatch::Make(WrittenFilesSchema(), rows->num_rows(),
                                               {attempt_column, files, rows->column(1)})));
  output.report = std::move(report);
  guard.Keep();
  return output;
}

Result<TaskOutput> AssembleFiles(const TaskContext& task, const std::string& path,
                                 Execution& written) {
  GNOMON_ASSIGN_OR_RETURN(const auto files, ReadWritten(written));
  const std::string attempt_path = AttemptPath(path);
  AttemptGuard guard(attempt_path);
  GNOMON_RETURN_NOT_OK(MakeFolders(attempt_path));
  arrow::StringBuilder paths;
  arrow::Int64Builder rows;
  for (const WrittenFile& file : files) {
    GNOMON_RETURN_NOT_OK(task.context().Check());
    GNOMON_RETURN_NOT_OK(LinkInto(attempt_path, file));
    GNOMON_RETURN_NOT_OK(paths.Append(Concat(WithoutSlashes(path), "/", file.file)));
    GNOMON_RETURN_NOT_OK(rows.Append(file.rows));
  }
  GNOMON_RETURN_NOT_OK(SyncFoldersBelow(attempt_path));
  GNOMON_ASSIGN_OR_RETURN(const auto path_column, paths.Finish());
  GNOMON_ASSIGN_OR_RETURN(const auto row_column, rows.Finish());
  const auto final_rows =
      arrow::Table::Make(arrow::schema({arrow::field("path", arrow::utf8(), false),
                                        arrow::field("rows", arrow::int64(), false)}),
                         {path_column, row_column});
  TaskOutput output;
  GNOMON_ASSIGN_OR_RETURN(output.commit_token, MakeWriteToken(attempt_path, path, *final_rows));
  output.report = MakeReport(written.Stats());
  guard.Keep();
  return output;
}

}  // namespace gnomon::dataset::internal
