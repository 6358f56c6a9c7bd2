// The sink of stage_fixture_internal.h.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <utility>

#include <arrow/array.h>
#include <arrow/record_batch.h>

#include "base/files.h"
#include "base/ids.h"
#include "base/text.h"
#include "runtime/stage_fixture_internal.h"

namespace gnomon::runtime::test {

namespace {

namespace fs = std::filesystem;

class FolderAttempt {
 public:
  FolderAttempt(fs::path staging, int partition)
      : path_(staging / RandomUuid()), partition_(partition), file_(path_) {}
  ~FolderAttempt() {
    if (!finished_) fs::remove(path_);
  }

  Status Write(const Context& context, const arrow::RecordBatch& batch) {
    GNOMON_RETURN_NOT_OK(context.Check());
    const auto& keys = static_cast<const arrow::Int64Array&>(*batch.column(0));
    const auto& values = static_cast<const arrow::Int64Array&>(*batch.column(1));
    for (int64_t i = 0; i < batch.num_rows(); ++i) {
      file_ << keys.Value(i) << ' ' << values.Value(i) << '\n';
    }
    return Status::OK();
  }

  std::string Finish() {
    file_.close();
    finished_ = true;
    return Concat(partition_, " ", path_.filename().string());
  }

 private:
  const fs::path path_;
  const int partition_;
  std::ofstream file_;
  bool finished_ = false;
};

class FolderSink : public Sink {
 public:
  explicit FolderSink(fs::path folder) : folder_(std::move(folder)) {
    fs::create_directories(folder_ / ".staging");
  }

  Status Commit(const Context& context, std::string_view token) override {
    GNOMON_RETURN_NOT_OK(context.Check());
    const auto parts = Split(token, ' ');
    const fs::path target = folder_ / ("part-" + parts.at(0));
    const fs::path staged = folder_ / ".staging" / parts.at(1);
    if (!fs::exists(staged)) {
      if (fs::exists(target)) return Status::OK();
      return Error(ErrorKind::kDataLoss, "the attempt is gone: ", staged.string());
    }
    if (fs::exists(target)) return Error(ErrorKind::kInternal, "committed twice: ", token);
    fs::rename(staged, target);
    std::ofstream(folder_ / ".commits", std::ios::app) << token << '\n';
    return Status::OK();
  }

  Status Abort(const Context&, std::string_view token) override {
    fs::remove(folder_ / ".staging" / Split(token, ' ').at(1));
    return Status::OK();
  }

  Status Clean(const Context&, std::span<const std::string> pending) override {
    std::set<std::string> kept;
    for (const std::string& token : pending) kept.insert(Split(token, ' ').at(1));
    for (const auto& entry : fs::directory_iterator(folder_ / ".staging")) {
      if (!kept.contains(entry.path().filename().string())) fs::remove(entry.path());
    }
    return Status::OK();
  }

 private:
  const fs::path folder_;
};

}  // namespace

Result<std::string> WriteToFolder(const Context& context, const std::string& folder, int partition,
                                  const std::vector<Row>& rows) {
  fs::create_directories(fs::path(folder) / ".staging");
  FolderAttempt attempt(fs::path(folder) / ".staging", partition);
  GNOMON_RETURN_NOT_OK(attempt.Write(context, *BatchOf(rows)));
  return attempt.Finish();
}

std::shared_ptr<Sink> MakeFolderSink(const std::string& folder) {
  return std::make_shared<FolderSink>(folder);
}

FolderContents ReadFolder(const std::string& folder) {
  FolderContents contents;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with("part-")) continue;
    contents.names.push_back(name);
    std::ifstream file(entry.path());
    for (Row row; file >> row.key >> row.value;) contents.rows.push_back(row);
  }
  std::ranges::sort(contents.names);
  std::ranges::sort(contents.rows);
  std::ifstream commits(fs::path(folder) / ".commits");
  for (std::string line; std::getline(commits, line);) contents.commits += 1;
  contents.staged = std::distance(fs::directory_iterator(fs::path(folder) / ".staging"), {});
  return contents;
}

}  // namespace gnomon::runtime::test
