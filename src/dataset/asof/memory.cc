#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/text.h"
#include "dataset/asof/memory_internal.h"

namespace gnomon::dataset::internal {

namespace {

std::string SpillFolder(const std::string& folder) {
  if (!folder.empty()) return folder;
  const char* temporary = std::getenv("TMPDIR");
  return temporary != nullptr && *temporary != '\0' ? temporary : "/tmp";
}

/// A file system without unnamed files: a name that is removed at once.
int OpenAndUnlink(const std::string& folder) {
  std::string path = folder + "/gnomon-spill-XXXXXX";
  const int fd = ::mkostemp(path.data(), O_CLOEXEC);
  if (fd >= 0) ::unlink(path.c_str());
  return fd;
}

}  // namespace

int64_t AvailableBytes(const Context& context) {
  if (context.memory == nullptr || context.memory->limit() == 0)
    return std::numeric_limits<int64_t>::max();
  return std::max<int64_t>(0, context.memory->limit() - context.memory->used());
}

bool TryGrowSpare(const Context& context, int64_t bytes, MemoryReservation* memory) {
  const int64_t available = AvailableBytes(context);
  const bool limited = available != std::numeric_limits<int64_t>::max();
  if (limited && available - bytes < context.memory->limit() / 2) return false;
  return memory->TryGrow(bytes);
}

Result<UnnamedFile> UnnamedFile::Create(const std::string& folder) {
  UnnamedFile file;
  file.folder_ = SpillFolder(folder);
  file.fd_ = ::open(file.folder_.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (file.fd_ < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL))
    file.fd_ = OpenAndUnlink(file.folder_);
  if (file.fd_ < 0) return ErrnoError(errno, Concat("spill folder ", file.folder_));
  return file;
}

UnnamedFile& UnnamedFile::operator=(UnnamedFile&& other) noexcept {
  std::swap(folder_, other.folder_);
  std::swap(fd_, other.fd_);
  std::swap(size_, other.size_);
  return *this;
}

UnnamedFile::~UnnamedFile() {
  if (fd_ >= 0) ::close(fd_);
}

Status UnnamedFile::Append(const void* data, int64_t bytes) {
  const auto* rest = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t written = ::pwrite(fd_, rest, static_cast<size_t>(bytes), size_);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return ErrnoError(errno, Concat("spill folder ", folder_));
    rest += written;
    bytes -= written;
    size_ += written;
  }
  return Status::OK();
}

Status UnnamedFile::ReadAt(int64_t offset, void* data, int64_t bytes) const {
  auto* rest = static_cast<char*>(data);
  while (bytes > 0) {
    const ssize_t got = ::pread(fd_, rest, static_cast<size_t>(bytes), offset);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return ErrnoError(errno, Concat("spill folder ", folder_));
    if (got == 0) return Error(ErrorKind::kDataLoss, "a spill file became shorter in ", folder_);
    rest += got;
    bytes -= got;
    offset += got;
  }
  return Status::OK();
}

Result<void*> UnnamedFile::Map(int64_t bytes) {
  if (bytes == 0) return nullptr;
  // Space is set aside first: a full disk is an error here, not a signal later.
  const int error = ::posix_fallocate(fd_, 0, bytes);
  if (error != 0) return ErrnoError(error, Concat("spill folder ", folder_));
  size_ = bytes;
  void* address =
      ::mmap(nullptr, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
  if (address == MAP_FAILED) return ErrnoError(errno, Concat("spill folder ", folder_));
  return address;
}

void Unmap(void* address, int64_t bytes) {
  if (address != nullptr) ::munmap(address, static_cast<size_t>(bytes));
}

}  // namespace gnomon::dataset::internal
