#pragma once

#include <string>
#include <utility>

#include "base/error.h"

namespace gnomon::runtime {

/// An open descriptor, closed at the end of its life.
class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept;
  ~FileDescriptor() { Close(); }

  int get() const { return fd_; }
  bool is_open() const { return fd_ >= 0; }
  void Close();
  /// A second descriptor of the same open file.
  Result<FileDescriptor> Duplicate() const;

 private:
  int fd_ = -1;
};

/// Lets this process open as many files as its hard limit allows: each block is one descriptor.
/// Called by what makes blocks: backends and workers.
void RaiseOpenFileLimit();

}  // namespace gnomon::runtime
