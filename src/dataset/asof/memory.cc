#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/parallel.h"
#include "dataset/asof/memory_internal.h"
#include "runtime/stored_bytes.h"

namespace gnomon::dataset::internal {

namespace {

/// What a thread that reads holds beside what is reserved.
constexpr int64_t kReadingBytes = int64_t{12} << 20;

}  // namespace

int64_t AvailableBytes(const Context& context) {
  if (context.memory == nullptr || context.memory->limit() == 0)
    return std::numeric_limits<int64_t>::max();
  return std::max<int64_t>(0, context.memory->limit() - context.memory->used());
}

Result<MemoryReservation> ReserveForReading(const Context& context) {
  MemoryReservation reading(context.memory);
  if (context.memory != nullptr && context.memory->limit() > 0) {
    GNOMON_RETURN_NOT_OK(
        reading.Grow(std::min(context.memory->limit() / 6, kReadingBytes * NumThreads())));
  }
  return reading;
}

bool TryGrowSpare(const Context& context, int64_t bytes, MemoryReservation* memory) {
  const int64_t available = AvailableBytes(context);
  const bool limited = available != std::numeric_limits<int64_t>::max();
  if (limited && available - bytes < context.memory->limit() / 2) return false;
  return memory->TryGrow(bytes);
}

Result<UnnamedFile> UnnamedFile::Create(const std::string& folder) {
  UnnamedFile file;
  file.folder_ = folder.empty() ? runtime::DefaultSpillFolder() : folder;
  GNOMON_ASSIGN_OR_RETURN(file.file_, runtime::OpenUnnamedFile(file.folder_));
  return file;
}

Status UnnamedFile::Append(const void* data, int64_t bytes) {
  const auto* rest = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t written = ::pwrite(file_.get(), rest, static_cast<size_t>(bytes), size_);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return runtime::SpillError(errno, "cannot write", folder_);
    rest += written;
    bytes -= written;
    size_ += written;
  }
  return Status::OK();
}

Status UnnamedFile::ReadAt(int64_t offset, void* data, int64_t bytes) const {
  auto* rest = static_cast<char*>(data);
  while (bytes > 0) {
    const ssize_t got = ::pread(file_.get(), rest, static_cast<size_t>(bytes), offset);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return runtime::SpillError(errno, "cannot read", folder_);
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
  const int error = ::posix_fallocate(file_.get(), 0, bytes);
  if (error != 0) return runtime::SpillError(error, "cannot write", folder_);
  size_ = bytes;
  void* address = ::mmap(nullptr, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE, MAP_SHARED,
                         file_.get(), 0);
  if (address == MAP_FAILED) return runtime::SpillError(errno, "cannot map a file", folder_);
  return address;
}

void Unmap(void* address, int64_t bytes) {
  if (address != nullptr) ::munmap(address, static_cast<size_t>(bytes));
}

}  // namespace gnomon::dataset::internal
