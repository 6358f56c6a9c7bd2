#include "runtime/stored_bytes.h"

#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <string_view>
#include <sys/mman.h>
#include <unistd.h>
#include <utility>

#include "base/fault.h"
#include "base/text.h"

namespace gnomon::runtime {

namespace {

// What a writer gathers: there may be hundreds of them.
constexpr size_t kPendingBytes = size_t{32} << 10;
constexpr size_t kCopiedBytes = size_t{256} << 10;

// A view of a mapping that keeps its owner alive.
class MappedBuffer : public arrow::Buffer {
 public:
  MappedBuffer(const uint8_t* data, std::shared_ptr<StoredBytes> owner)
      : arrow::Buffer(data, owner->size()), owner_(std::move(owner)) {}

 private:
  std::shared_ptr<StoredBytes> owner_;
};

Result<FileDescriptor> OpenMemory() {
  FileDescriptor file(::memfd_create("gnomon-block", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!file.is_open()) {
    return WithHint(ErrnoError(errno, "cannot make a block in memory"),
                    "raise the limit of open files (ulimit -n)");
  }
  return file;
}

// Writes at the end; the errno of what went wrong, or 0.
int WriteAll(int fd, const char* data, size_t size) {
  while (size > 0) {
    const ssize_t written = ::write(fd, data, size);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno;
    data += written;
    size -= static_cast<size_t>(written);
  }
  return 0;
}

// Copies the whole of `from` to the end of `to`; the errno of what went wrong, or 0.
int CopyAll(int from, int to, int64_t size) {
  std::string chunk(kCopiedBytes, '\0');
  for (int64_t done = 0; done < size;) {
    const ssize_t got = ::pread(from, chunk.data(), chunk.size(), done);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return got < 0 ? errno : EIO;
    if (const int error = WriteAll(to, chunk.data(), static_cast<size_t>(got))) return error;
    done += got;
  }
  return 0;
}

}  // namespace

Status SpillError(int errno_value, std::string_view what, const std::string& folder) {
  std::string hint;
  if (errno_value == ENOSPC || errno_value == EDQUOT) {
    hint = "free space there, or choose another spill folder";
  } else if (errno_value == EMFILE || errno_value == ENFILE) {
    hint = "raise the limit of open files (ulimit -n)";
  } else {
    hint = "choose a spill folder that exists and can be written";
  }
  return WithHint(ErrnoError(errno_value, Concat(what, " in spill folder ", Quoted(folder))),
                  std::move(hint));
}

std::string DefaultSpillFolder() {
  const char* variable = std::getenv("TMPDIR");
  return variable != nullptr && *variable != 0 ? variable : "/var/tmp";
}

Result<FileDescriptor> OpenUnnamedFile(const std::string& folder) {
  FileDescriptor file(::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (file.is_open()) return file;
  // File systems without O_TMPFILE say EOPNOTSUPP, kernels without it EISDIR.
  if (errno == EOPNOTSUPP || errno == EISDIR) {
    std::string path = folder + "/.gnomon-spill-XXXXXX";
    file = FileDescriptor(::mkostemp(path.data(), O_CLOEXEC));
    if (file.is_open()) {
      ::unlink(path.c_str());
      return file;
    }
  }
  return SpillError(errno, "cannot make a file", folder);
}

StoredBytes::StoredBytes(FileDescriptor file, int64_t size, bool spilled, MemoryBudget* memory,
                         int64_t reserved)
    : file_(std::move(file)),
      size_(size),
      spilled_(spilled),
      memory_(memory),
      reserved_(reserved) {}

StoredBytes::~StoredBytes() {
  if (mapping_ != nullptr) {
    ::munmap(const_cast<uint8_t*>(mapping_), static_cast<size_t>(size_));
  }
  if (memory_ != nullptr && reserved_ > 0) memory_->Release(reserved_);
}

Result<std::shared_ptr<arrow::Buffer>> StoredBytes::Map() {
  const MutexLock lock(mutex_);
  if (mapping_ == nullptr && size_ > 0) {
    void* mapping =
        ::mmap(nullptr, static_cast<size_t>(size_), PROT_READ, MAP_SHARED, file_.get(), 0);
    if (mapping == MAP_FAILED) return ErrnoError(errno, "cannot map a block");
    mapping_ = static_cast<const uint8_t*>(mapping);
  }
  return std::make_shared<MappedBuffer>(mapping_, shared_from_this());
}

StoredBytesWriter::StoredBytesWriter(Place place, MemoryBudget* memory, std::string spill_folder)
    : place_(place), memory_(memory), spill_folder_(std::move(spill_folder)) {}

StoredBytesWriter::~StoredBytesWriter() {
  if (memory_ != nullptr && reserved_ > 0) memory_->Release(reserved_);
}

Status StoredBytesWriter::Write(const void* data, int64_t size) {
  if (closed_) return Error(ErrorKind::kInternal, "write to a finished block");
  const std::string_view bytes(static_cast<const char*>(data), static_cast<size_t>(size));
  if (pending_.size() + bytes.size() > kPendingBytes) {
    GNOMON_RETURN_NOT_OK(FlushPending());
    if (bytes.size() >= kPendingBytes) return Store(bytes);
  }
  pending_.append(bytes);
  return Status::OK();
}

Result<int64_t> StoredBytesWriter::Tell() const {
  return written_ + static_cast<int64_t>(pending_.size());
}

Status StoredBytesWriter::Close() {
  closed_ = true;
  return Status::OK();
}

Status StoredBytesWriter::MakeRoom(int64_t size) {
  if (!file_.is_open()) {
    spilled_ = place_ == Place::kFile;
    GNOMON_ASSIGN_OR_RETURN(file_, spilled_ ? OpenUnnamedFile(spill_folder_) : OpenMemory());
  }
  if (spilled_ || memory_ == nullptr) return Status::OK();
  if (!memory_->TryReserve(size)) return MoveToFile();
  reserved_ += size;
  return Status::OK();
}

Status StoredBytesWriter::MoveToFile() {
  GNOMON_ASSIGN_OR_RETURN(FileDescriptor file, OpenUnnamedFile(spill_folder_));
  if (const int error = CopyAll(file_.get(), file.get(), written_)) {
    return SpillError(error, "cannot write a block", spill_folder_);
  }
  file_ = std::move(file);
  spilled_ = true;
  if (memory_ != nullptr) memory_->Release(std::exchange(reserved_, 0));
  return Status::OK();
}

Status StoredBytesWriter::FlushPending() {
  if (pending_.empty()) return Status::OK();
  GNOMON_RETURN_NOT_OK(Store(pending_));
  pending_.clear();
  return Status::OK();
}

Status StoredBytesWriter::Store(std::string_view bytes) {
  GNOMON_RETURN_NOT_OK(MakeRoom(static_cast<int64_t>(bytes.size())));
  if (spilled_) {
    GNOMON_RETURN_NOT_OK(WithContext(
        FaultPoint("spill.write"), Concat("cannot write in spill folder ", Quoted(spill_folder_))));
  }
  int error = WriteAll(file_.get(), bytes.data(), bytes.size());
  if (error != 0 && !spilled_ && (error == ENOSPC || error == ENOMEM)) {
    // Memory for shared pages has its own bound in some containers: that is a refusal, too. The
    // failed write may have left a part behind, which MoveToFile does not copy.
    GNOMON_RETURN_NOT_OK(MoveToFile());
    error = WriteAll(file_.get(), bytes.data(), bytes.size());
  }
  if (error != 0) return SpillError(error, "cannot write a block", spill_folder_);
  written_ += static_cast<int64_t>(bytes.size());
  return Status::OK();
}

Result<std::shared_ptr<StoredBytes>> StoredBytesWriter::Finish() {
  GNOMON_CHECK(!closed_, "a block is finished once");
  GNOMON_RETURN_NOT_OK(FlushPending());
  GNOMON_RETURN_NOT_OK(MakeRoom(0));
  closed_ = true;
  // Sealed bytes cannot change or shrink, so that another process may map them without fear.
  if (!spilled_ &&
      ::fcntl(file_.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) != 0) {
    return ErrnoError(errno, "cannot seal a block");
  }
  return std::make_shared<StoredBytes>(std::move(file_), written_, spilled_, memory_,
                                       std::exchange(reserved_, 0));
}

}  // namespace gnomon::runtime
