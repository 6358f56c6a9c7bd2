#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <filesystem>
#include <string_view>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <utility>
#include <vector>

#include <arrow/buffer.h>
#include <arrow/io/memory.h>
#include <arrow/ipc/reader.h>
#include <arrow/ipc/writer.h>
#include <arrow/table.h>

#include "base/ids.h"
#include "base/text.h"
#include "dataset/distributed/file_sink_internal.h"
#include "gnomon/stage_plan.pb.h"
#include "runtime/file_descriptor.h"

namespace gnomon::dataset::internal {

namespace {

namespace fs = std::filesystem;

// "a/b" for "a/b/".
fs::path WithoutSlash(const std::string& path) {
  const fs::path given(path);
  return given.has_filename() ? given : given.parent_path();
}

std::string MarkOf(const fs::path& path) {
  return Concat(".", path.filename().string(), ".gnomon-");
}

Result<proto::WriteToken> ParseToken(std::string_view bytes) {
  proto::WriteToken token;
  if (!token.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return Error(ErrorKind::kDataLoss, "not the token of a write");
  }
  return token;
}

// Attempts, and the temporary files of their writers (AtomicFile), of the path with this mark.
bool BelongsTo(std::string_view name, const std::string& mark) {
  return name.starts_with(mark) || (name.starts_with('.') && name.substr(1).starts_with(mark));
}

bool IsAttempt(const std::string& path, const proto::WriteToken& token) {
  struct stat status {};
  return ::lstat(path.c_str(), &status) == 0 && status.st_dev == token.device() &&
         status.st_ino == token.inode();
}

Status RemoveAll(const std::string& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) return ErrnoError(error.value(), Concat("cannot remove ", path));
  return Status::OK();
}

Status SyncFolderOf(const fs::path& path) {
  const fs::path folder = path.parent_path();
  const runtime::FileDescriptor descriptor(
      ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (descriptor.is_open() && ::fsync(descriptor.get()) != 0 && errno != EINVAL) {
    return ErrnoError(errno, Concat("cannot sync the folder of ", path.string()));
  }
  return Status::OK();
}

class FileSink : public runtime::Sink {
 public:
  explicit FileSink(fs::path path) : path_(std::move(path)) {}

  Status Commit(const Context& context, std::string_view bytes) override {
    GNOMON_RETURN_NOT_OK(context.Check());
    GNOMON_ASSIGN_OR_RETURN(const auto token, ParseToken(bytes));
    const std::string& attempt = token.attempt_path();
    const std::string& path = token.path();
    if (!IsAttempt(path, token)) {
      if (!IsAttempt(attempt, token)) {
        return Error(ErrorKind::kDataLoss, "the attempt to write ", path, " is gone: ", attempt);
      }
      // A folder cannot be renamed over another one: they change places.
      if (::rename(attempt.c_str(), path.c_str()) != 0 &&
          ::renameat2(AT_FDCWD, attempt.c_str(), AT_FDCWD, path.c_str(), RENAME_EXCHANGE) != 0) {
        return ErrnoError(errno, Concat("cannot write ", path));
      }
      GNOMON_RETURN_NOT_OK(SyncFolderOf(path));
    }
    // What stood at the path before.
    return RemoveAll(attempt);
  }

  Status Abort(const Context& /*context*/, std::string_view bytes) override {
    GNOMON_ASSIGN_OR_RETURN(const auto token, ParseToken(bytes));
    return RemoveAll(token.attempt_path());
  }

  Status Clean(const Context& /*context*/, std::span<const std::string> pending) override {
    std::vector<std::string> kept;
    for (const std::string& bytes : pending) {
      GNOMON_ASSIGN_OR_RETURN(const auto token, ParseToken(bytes));
      kept.push_back(fs::path(token.attempt_path()).filename().string());
    }
    const fs::path folder = path_.has_parent_path() ? path_.parent_path() : fs::path(".");
    const std::string mark = MarkOf(path_);
    std::error_code error;
    std::vector<std::string> left;
    for (const auto& entry : fs::directory_iterator(folder, error)) {
      const std::string name = entry.path().filename().string();
      if (BelongsTo(name, mark) && std::ranges::find(kept, name) == kept.end()) {
        left.push_back(entry.path().string());
      }
    }
    for (const std::string& path : left) GNOMON_RETURN_NOT_OK(RemoveAll(path));
    return Status::OK();
  }

 private:
  const fs::path path_;
};

}  // namespace

std::string AttemptPath(const std::string& path) {
  const fs::path file = WithoutSlash(path);
  return (file.parent_path() / Concat(MarkOf(file), RandomUuid())).string();
}

Result<std::string> MakeWriteToken(const std::string& attempt_path, const std::string& path,
                                   const arrow::Table& rows) {
  struct stat status {};
  if (::lstat(attempt_path.c_str(), &status) != 0) {
    return ErrnoError(errno, Concat("cannot find ", attempt_path));
  }
  GNOMON_ASSIGN_OR_RETURN(const auto stream, arrow::io::BufferOutputStream::Create());
  GNOMON_ASSIGN_OR_RETURN(const auto writer, arrow::ipc::MakeStreamWriter(stream, rows.schema()));
  GNOMON_RETURN_NOT_OK(writer->WriteTable(rows));
  GNOMON_RETURN_NOT_OK(writer->Close());
  GNOMON_ASSIGN_OR_RETURN(const auto buffer, stream->Finish());
  proto::WriteToken token;
  token.set_attempt_path(attempt_path);
  token.set_path(WithoutSlash(path).string());
  token.set_device(status.st_dev);
  token.set_inode(status.st_ino);
  token.set_rows(buffer->ToString());
  return token.SerializeAsString();
}

Result<std::shared_ptr<arrow::Table>> RowsOfWriteToken(std::string_view bytes) {
  GNOMON_ASSIGN_OR_RETURN(const auto token, ParseToken(bytes));
  GNOMON_ASSIGN_OR_RETURN(
      const auto reader,
      arrow::ipc::RecordBatchStreamReader::Open(
          std::make_shared<arrow::io::BufferReader>(arrow::Buffer::FromString(token.rows()))));
  return reader->ToTable();
}

std::shared_ptr<runtime::Sink> MakeFileSink(const std::string& path) {
  return std::make_shared<FileSink>(WithoutSlash(path));
}

}  // namespace gnomon::dataset::internal
