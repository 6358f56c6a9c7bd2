#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/context.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/memory_reservation.h"
#include "runtime/file_descriptor.h"

/// What is left of a budget, and files where what the budget refuses goes.
namespace gnomon::dataset::internal {

/// Bytes that can still be reserved; INT64_MAX without a limit.
int64_t AvailableBytes(const Context& context);

/// For pages, decoded batches and what the allocators keep of them, which are not reserved one by
/// one: of every thread that reads. Nothing without a limit.
Result<MemoryReservation> ReserveForReading(const Context& context);

/// Takes `bytes` when half of the budget's limit stays free for what cannot be spilled.
bool TryGrowSpare(const Context& context, int64_t bytes, MemoryReservation* memory);

/// A file without a name: nothing is left of it after a crash. Append is not thread-safe, ReadAt
/// is.
class UnnamedFile {
 public:
  /// An empty `folder` is runtime::DefaultSpillFolder(). Errors name the folder.
  static Result<UnnamedFile> Create(const std::string& folder);

  bool is_open() const { return file_.is_open(); }
  int64_t size() const { return size_; }
  /// kExhausted when the disk is full.
  Status Append(const void* data, int64_t bytes);
  Status ReadAt(int64_t offset, void* data, int64_t bytes) const;
  /// The first `bytes` (zeros at first) as shared memory, with disk space set aside for them.
  Result<void*> Map(int64_t bytes);

 private:
  std::string folder_;
  runtime::FileDescriptor file_;
  int64_t size_ = 0;
};

void Unmap(void* address, int64_t bytes);

/// A fixed number of values: on the heap when the budget allows it, else in a mapped unnamed file,
/// whose pages the system may write out. Best read and written in order.
template <typename T>
class SpillableArray {
 public:
  static Result<SpillableArray> Make(const Context& context, const std::string& folder,
                                     int64_t length) {
    SpillableArray array;
    const int64_t bytes = length * static_cast<int64_t>(sizeof(T));
    array.memory_ = MemoryReservation(context.memory);
    if (TryGrowSpare(context, bytes, &array.memory_)) {
      array.heap_.resize(static_cast<size_t>(length));
      array.values_ = array.heap_;
      return array;
    }
    GNOMON_ASSIGN_OR_RETURN(array.file_, UnnamedFile::Create(folder));
    GNOMON_ASSIGN_OR_RETURN(array.mapping_.address, array.file_.Map(bytes));
    array.mapping_.bytes = bytes;
    array.values_ = {static_cast<T*>(array.mapping_.address), static_cast<size_t>(length)};
    return array;
  }
  SpillableArray() = default;
  SpillableArray(SpillableArray&&) noexcept = default;
  SpillableArray& operator=(SpillableArray&&) noexcept = default;

  std::span<T> values() { return values_; }
  std::span<const T> values() const { return values_; }
  int64_t spilled_bytes() const { return mapping_.bytes; }

 private:
  struct Mapping {
    void* address = nullptr;
    int64_t bytes = 0;

    Mapping() = default;
    Mapping(Mapping&& other) noexcept
        : address(std::exchange(other.address, nullptr)), bytes(std::exchange(other.bytes, 0)) {}
    Mapping& operator=(Mapping&& other) noexcept {
      std::swap(address, other.address);
      std::swap(bytes, other.bytes);
      return *this;
    }
    ~Mapping() { Unmap(address, bytes); }
  };

  MemoryReservation memory_;
  std::vector<T> heap_;
  UnnamedFile file_;
  Mapping mapping_;
  std::span<T> values_;
};

}  // namespace gnomon::dataset::internal
