#include "base/files.h"

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <utility>

#include "base/fault.h"
#include "base/ids.h"

namespace gnomon {

namespace {

// An open descriptor.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

  // Closes and reports what close() says: some file systems report a full disk only here.
  Status Close(std::string_view what) {
    const int fd = std::exchange(fd_, -1);
    // After EINTR the descriptor is closed on Linux.
    if (::close(fd) != 0 && errno != EINTR) return ErrnoError(errno, what);
    return Status::OK();
  }

 private:
  int fd_;
};

std::string FolderOf(const std::string& path) {
  const std::string folder = std::filesystem::path(path).parent_path().string();
  return folder.empty() ? "." : folder;
}

Status WriteAll(int fd, std::string_view contents, const std::string& path) {
  while (!contents.empty()) {
    const ssize_t written = ::write(fd, contents.data(), contents.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      return ErrnoError(errno, Concat("cannot write ", path));
    }
    contents.remove_prefix(static_cast<size_t>(written));
  }
  return Status::OK();
}

Status SyncFile(const std::string& path, const std::string& shown_path) {
  const std::string what = Concat("cannot sync ", shown_path);
  Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0 || ::fsync(file.get()) != 0) return ErrnoError(errno, what);
  return file.Close(what);
}

Status SyncFolder(const std::string& folder) {
  const Descriptor descriptor(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  // A folder that we may write but not read, and file systems that cannot sync a folder, are left
  // as they are.
  if (descriptor.get() < 0 && errno == EACCES) return Status::OK();
  if (descriptor.get() < 0 || (::fsync(descriptor.get()) != 0 && errno != EINVAL)) {
    return ErrnoError(errno, Concat("cannot sync ", folder));
  }
  return Status::OK();
}

void RemoveQuietly(const std::string& path) {
  if (!path.empty()) ::unlink(path.c_str());
}

void RemoveFolderQuietly(const std::string& path) {
  std::error_code ignored;
  if (!path.empty()) std::filesystem::remove_all(path, ignored);
}

}  // namespace

Result<std::string> ReadFile(const std::string& path, int64_t max_bytes) {
  const std::string what = Concat("cannot read ", path);
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) return ErrnoError(errno, what);
  struct stat info {};
  if (::fstat(file.get(), &info) != 0) return ErrnoError(errno, what);
  if (S_ISDIR(info.st_mode)) return Error(ErrorKind::kUser, what, ": it is a folder");

  const auto too_large = [&] {
    return Error(ErrorKind::kExhausted, what, ": it is larger than ", max_bytes, " bytes");
  };
  if (info.st_size > max_bytes) return too_large();
  // The size is a guess only: files of /proc have none, and others may grow meanwhile.
  std::string contents;
  constexpr size_t kStep = 64 * 1024;
  size_t size = 0;
  contents.resize(static_cast<size_t>(info.st_size) + 1);
  for (;;) {
    if (size == contents.size()) contents.resize(size + std::max(kStep, size));
    const ssize_t got = ::read(file.get(), contents.data() + size, contents.size() - size);
    if (got < 0) {
      if (errno == EINTR) continue;
      return ErrnoError(errno, what);
    }
    if (got == 0) break;
    size += static_cast<size_t>(got);
    if (size > static_cast<size_t>(max_bytes)) return too_large();
  }
  contents.resize(size);
  return contents;
}

Status WriteFileAtomic(const std::string& path, std::string_view contents) {
  GNOMON_ASSIGN_OR_RETURN(AtomicFile atomic, AtomicFile::Create(path));
  GNOMON_RETURN_NOT_OK(FaultPoint("file.write"));
  const std::string what = Concat("cannot write ", path);
  Descriptor file(::open(atomic.temporary_path().c_str(), O_WRONLY | O_CLOEXEC));
  if (file.get() < 0) return ErrnoError(errno, what);
  GNOMON_RETURN_NOT_OK(WriteAll(file.get(), contents, path));
  GNOMON_RETURN_NOT_OK(file.Close(what));
  return atomic.Commit();
}

Result<AtomicFile> AtomicFile::Create(const std::string& path) {
  const std::filesystem::path target(path);
  const std::string name = target.filename().string();
  if (name.empty() || name == "." || name == "..") {
    return Error(ErrorKind::kUser, "not the name of a file: ", Quoted(path));
  }
  const std::string folder = FolderOf(path);
  GNOMON_RETURN_NOT_OK(MakeFolders(folder));

  AtomicFile file;
  file.path_ = path;
  // Long names leave no room for the suffix; the random part alone makes the name unique.
  const std::string random = RunId::Random().value.substr(0, 12);
  const std::string temporary_name =
      Concat('.', name.substr(0, 200), '.', static_cast<int64_t>(::getpid()), '.', random, ".tmp");
  const std::string temporary_path = (std::filesystem::path(folder) / temporary_name).string();
  const Descriptor created(
      ::open(temporary_path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
  if (created.get() < 0) return ErrnoError(errno, Concat("cannot create ", path));
  file.temporary_path_ = temporary_path;
  // A file that only its owner may read stays so.
  struct stat old {};
  if (::stat(path.c_str(), &old) == 0) {
    if (S_ISDIR(old.st_mode)) {
      return Error(ErrorKind::kUser, "cannot write ", path, ": it is a folder");
    }
    if (::fchmod(created.get(), old.st_mode & 07777) != 0) {
      return ErrnoError(errno, Concat("cannot create ", path));
    }
  }
  return file;
}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept
    : path_(std::exchange(other.path_, {})),
      temporary_path_(std::exchange(other.temporary_path_, {})) {}

AtomicFile& AtomicFile::operator=(AtomicFile&& other) noexcept {
  if (this != &other) {
    RemoveQuietly(temporary_path_);
    path_ = std::exchange(other.path_, {});
    temporary_path_ = std::exchange(other.temporary_path_, {});
  }
  return *this;
}

AtomicFile::~AtomicFile() { RemoveQuietly(temporary_path_); }

Status AtomicFile::Commit() {
  GNOMON_CHECK(!temporary_path_.empty(), "committed twice, or moved from");
  GNOMON_RETURN_NOT_OK(SyncFile(temporary_path_, path_));
  GNOMON_RETURN_NOT_OK(FaultPoint("file.before_rename"));
  if (::rename(temporary_path_.c_str(), path_.c_str()) != 0) {
    return ErrnoError(errno, Concat("cannot write ", path_));
  }
  temporary_path_.clear();
  return SyncFolder(FolderOf(path_));
}

Status MakeFolders(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) return ErrnoError(error.value(), Concat("cannot make folder ", path));
  // create_directories is silent when a file of that name stands there.
  if (!std::filesystem::is_directory(path, error)) {
    return Error(ErrorKind::kConflict, "cannot make folder ", path, ": a file has that name");
  }
  return Status::OK();
}

Result<TemporaryFolder> TemporaryFolder::Make(std::string_view prefix) {
  const char* base = std::getenv("TMPDIR");
  std::string path = Concat(base == nullptr || *base == 0 ? "/tmp" : base, '/', prefix, ".XXXXXX");
  if (::mkdtemp(path.data()) == nullptr) {
    return ErrnoError(errno, Concat("cannot make folder ", path));
  }
  TemporaryFolder folder;
  folder.path_ = std::move(path);
  return folder;
}

TemporaryFolder::TemporaryFolder(TemporaryFolder&& other) noexcept
    : path_(std::exchange(other.path_, {})) {}

TemporaryFolder& TemporaryFolder::operator=(TemporaryFolder&& other) noexcept {
  if (this != &other) {
    RemoveFolderQuietly(path_);
    path_ = std::exchange(other.path_, {});
  }
  return *this;
}

TemporaryFolder::~TemporaryFolder() { RemoveFolderQuietly(path_); }

}  // namespace gnomon
