#include <cerrno>
#include <filesystem>
#include <sys/stat.h>
#include <system_error>

#include <arrow/io/file.h>
#include <glob.h>

#include "base/files.h"
#include "base/text.h"
#include "table/file_internal.h"
#include "table/file_system_internal.h"

namespace gnomon::table::internal {

namespace {

namespace fs = std::filesystem;

Status ListFolder(const fs::path& folder, std::vector<std::string>* files) {
  std::error_code error;
  fs::recursive_directory_iterator entry(folder, fs::directory_options::follow_directory_symlink,
                                         error);
  for (; !error && entry != fs::recursive_directory_iterator(); entry.increment(error)) {
    if (IsLeftOut(entry->path().filename().string())) {
      entry.disable_recursion_pending();
    } else if (entry->is_regular_file()) {
      files->push_back(entry->path().string());
    }
  }
  return error ? ErrnoError(error.value(), folder.string()) : Status::OK();
}

Status ListPath(const std::string& path, std::vector<std::string>* files) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (status.type() == fs::file_type::directory) return ListFolder(path, files);
  if (status.type() == fs::file_type::not_found) return Status::OK();
  if (error) return ErrnoError(error.value(), path);
  files->push_back(path);
  return Status::OK();
}

Status ListGlob(const std::string& pattern, std::vector<std::string>* files) {
  glob_t matches = {};
  const int code = ::glob(pattern.c_str(), GLOB_ERR, nullptr, &matches);
  Status status;
  if (code != 0 && code != GLOB_NOMATCH) {
    status = Error(ErrorKind::kUnavailable, "cannot read the folders of the pattern: ", pattern);
  }
  for (size_t i = 0; status.ok() && i < matches.gl_pathc; ++i) {
    const std::string match = matches.gl_pathv[i];
    if (!IsLeftOut(fs::path(match).filename().string())) status = ListPath(match, files);
  }
  ::globfree(&matches);
  return status;
}

class LocalOutput : public AtomicOutput {
 public:
  static Result<std::unique_ptr<AtomicOutput>> Create(const std::string& path) {
    GNOMON_ASSIGN_OR_RETURN(auto file, AtomicFile::Create(path));
    auto stream = arrow::io::FileOutputStream::Open(file.temporary_path());
    if (!stream.ok()) return FileError(stream.status(), path, ErrorKind::kUnavailable);
    return std::make_unique<LocalOutput>(std::move(file), *std::move(stream));
  }
  LocalOutput(AtomicFile file, std::shared_ptr<arrow::io::OutputStream> stream)
      : file_(std::move(file)), stream_(std::move(stream)) {}

  const std::shared_ptr<arrow::io::OutputStream>& stream() const override { return stream_; }
  Status Commit() override {
    GNOMON_RETURN_NOT_OK(stream_->Close());
    return file_.Commit();
  }

 private:
  AtomicFile file_;  ///< removed after the stream is closed
  const std::shared_ptr<arrow::io::OutputStream> stream_;
};

class Local : public FileSystem {
 public:
  Result<std::vector<std::string>> List(const std::string& path) override {
    std::vector<std::string> files;
    std::error_code error;
    if (fs::exists(path, error)) {
      GNOMON_RETURN_NOT_OK(ListPath(path, &files));
      if (files.empty())
        return Error(ErrorKind::kNotFound, "the folder holds no data files: ", path);
    } else {
      GNOMON_RETURN_NOT_OK(ListGlob(path, &files));
      if (files.empty()) return Error(ErrorKind::kNotFound, "no such file or folder: ", path);
    }
    return files;
  }

  Result<bool> IsFile(const std::string& path) override {
    std::error_code ignored;
    return fs::is_regular_file(path, ignored);
  }

  Result<FileVersion> Version(const std::string& path) override {
    struct stat status = {};
    if (::stat(path.c_str(), &status) != 0) return ErrnoError(errno, path);
    return FileVersion{
        .device = status.st_dev,
        .inode = status.st_ino,
        .size = status.st_size,
        .modified = int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec,
        .etag = {}};
  }

  Result<std::shared_ptr<arrow::io::RandomAccessFile>> Open(const std::string& path) override {
    auto file = arrow::io::ReadableFile::Open(path);
    if (!file.ok()) return FileError(file.status(), path, ErrorKind::kUnavailable);
    return *std::move(file);
  }

  Result<std::unique_ptr<AtomicOutput>> Create(const std::string& path) override {
    return LocalOutput::Create(path);
  }

  Status Delete(const std::string& path) override {
    std::error_code error;
    if (fs::remove(path, error)) return Status::OK();
    return ErrnoError(error ? error.value() : ENOENT, path);
  }
};

}  // namespace

std::shared_ptr<FileSystem> LocalFileSystem() {
  static const auto local = std::make_shared<Local>();
  return local;
}

}  // namespace gnomon::table::internal
