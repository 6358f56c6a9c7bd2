#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <poll.h>
#include <sys/socket.h>
#include <utility>

#include "base/text.h"
#include "runtime/local/frame_internal.h"

namespace gnomon::runtime {

namespace {

constexpr size_t kHeadBytes = 8;
constexpr uint32_t kMostPayloadBytes = uint32_t{1} << 30;
constexpr uint32_t kMostFiles = 1 << 20;
// The kernel takes at most 253 descriptors with one message.
constexpr size_t kFilesPerMessage = 250;

struct ControlBuffer {
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kFilesPerMessage * sizeof(int))> bytes;
};

void PutNumber(char* out, uint32_t value) {
  for (size_t i = 0; i < 4; ++i) out[i] = static_cast<char>(value >> (8 * i));
}

uint32_t GetNumber(const char* bytes) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) value |= uint32_t{static_cast<uint8_t>(bytes[i])} << (8 * i);
  return value;
}

int FlagsFor(const FrameWait& wait) { return wait ? MSG_DONTWAIT : 0; }

bool WouldBlock(int error) { return error == EAGAIN; }

// Sends some of `bytes`, and all `files` with the first of them.
Result<size_t> SendSome(int socket, std::string_view bytes, std::span<const FileDescriptor> files,
                        const FrameWait& wait) {
  iovec part{.iov_base = const_cast<char*>(bytes.data()), .iov_len = bytes.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  ControlBuffer control{};
  if (!files.empty()) {
    message.msg_control = control.bytes.data();
    message.msg_controllen = CMSG_SPACE(files.size() * sizeof(int));
    cmsghdr* head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(files.size() * sizeof(int));
    std::array<int, kFilesPerMessage> numbers{};
    std::ranges::transform(files, numbers.begin(), &FileDescriptor::get);
    std::memcpy(CMSG_DATA(head), numbers.data(), files.size() * sizeof(int));
  }
  while (true) {
    const ssize_t sent = ::sendmsg(socket, &message, MSG_NOSIGNAL | FlagsFor(wait));
    if (sent >= 0) return static_cast<size_t>(sent);
    if (wait && WouldBlock(errno)) {
      GNOMON_RETURN_NOT_OK(wait(POLLOUT));
    } else if (errno == ETOOMANYREFS) {
      return MakeError(ErrorKind::kExhausted, "too many open files are on their way", {},
                       "raise the limit of open files (ulimit -n)");
    } else if (errno != EINTR) {
      return ErrnoError(errno, "cannot send to the other process");
    }
  }
}

Status SendBytes(int socket, std::string_view bytes, std::span<const FileDescriptor> files,
                 const FrameWait& wait) {
  while (!bytes.empty()) {
    GNOMON_ASSIGN_OR_RETURN(const size_t sent, SendSome(socket, bytes, files, wait));
    bytes.remove_prefix(sent);
    files = {};
  }
  return Status::OK();
}

// Receives at least one byte into `out`, and what files come with it; 0 at the end of the stream.
Result<size_t> ReceiveSome(int socket, char* out, size_t size, std::vector<FileDescriptor>* files,
                           const FrameWait& wait) {
  iovec part{.iov_base = out, .iov_len = size};
  ControlBuffer control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes.data();
  message.msg_controllen = control.bytes.size();
  ssize_t got = 0;
  while (true) {
    got = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC | FlagsFor(wait));
    if (got >= 0) break;
    if (wait && WouldBlock(errno)) {
      GNOMON_RETURN_NOT_OK(wait(POLLIN));
    } else if (errno != EINTR) {
      break;
    }
  }
  if (got < 0 && errno == ECONNRESET) return size_t{0};
  if (got < 0) return ErrnoError(errno, "cannot receive from the other process");
  for (cmsghdr* head = CMSG_FIRSTHDR(&message); head != nullptr;
       head = CMSG_NXTHDR(&message, head)) {
    if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    std::array<int, kFilesPerMessage + 3> numbers{};
    std::memcpy(numbers.data(), CMSG_DATA(head), std::min(count, numbers.size()) * sizeof(int));
    for (size_t i = 0; i < std::min(count, numbers.size()); ++i) files->emplace_back(numbers[i]);
  }
  if ((message.msg_flags & MSG_CTRUNC) != 0) {
    return MakeError(ErrorKind::kExhausted, "no room for the open files of a message", {},
                     "raise the limit of open files (ulimit -n)");
  }
  return static_cast<size_t>(got);
}

Status EndedInside() {
  return Error(ErrorKind::kUnavailable, "the other process ended in a frame");
}

Status ReceiveBytes(int socket, char* out, size_t size, std::vector<FileDescriptor>* files,
                    const FrameWait& wait) {
  for (size_t done = 0; done < size;) {
    GNOMON_ASSIGN_OR_RETURN(const size_t got,
                            ReceiveSome(socket, out + done, size - done, files, wait));
    if (got == 0) return EndedInside();
    done += got;
  }
  return Status::OK();
}

}  // namespace

Status SendFrame(int socket, std::string_view payload, std::span<const FileDescriptor> files,
                 const FrameWait& wait) {
  if (payload.size() > kMostPayloadBytes || files.size() > kMostFiles) {
    return Error(ErrorKind::kExhausted, "a message is too large: ", payload.size(), " bytes, ",
                 files.size(), " files");
  }
  std::array<char, kHeadBytes> head;
  PutNumber(head.data(), static_cast<uint32_t>(payload.size()));
  PutNumber(head.data() + 4, static_cast<uint32_t>(files.size()));
  auto first = files.first(std::min(files.size(), kFilesPerMessage));
  GNOMON_RETURN_NOT_OK(SendBytes(socket, std::string_view(head.data(), head.size()), first, wait));
  for (files = files.subspan(first.size()); !files.empty();
       files = files.subspan(std::min(files.size(), kFilesPerMessage))) {
    GNOMON_RETURN_NOT_OK(
        SendBytes(socket, "f", files.first(std::min(files.size(), kFilesPerMessage)), wait));
  }
  return SendBytes(socket, payload, {}, wait);
}

Result<std::optional<Frame>> ReceiveFrame(int socket, const FrameWait& wait) {
  Frame frame;
  std::array<char, kHeadBytes> head;
  GNOMON_ASSIGN_OR_RETURN(const size_t got,
                          ReceiveSome(socket, head.data(), head.size(), &frame.files, wait));
  if (got == 0) return std::nullopt;
  GNOMON_RETURN_NOT_OK(
      ReceiveBytes(socket, head.data() + got, head.size() - got, &frame.files, wait));
  const uint32_t size = GetNumber(head.data());
  const uint32_t num_files = GetNumber(head.data() + 4);
  if (size > kMostPayloadBytes || num_files > kMostFiles) {
    return Error(ErrorKind::kDataLoss, "not a frame of a worker");
  }
  const size_t num_fillers = num_files <= kFilesPerMessage ? 0 : (num_files - 1) / kFilesPerMessage;
  for (size_t i = 0; i < num_fillers; ++i) {
    char filler = 0;
    GNOMON_RETURN_NOT_OK(ReceiveBytes(socket, &filler, 1, &frame.files, wait));
  }
  frame.payload.resize(size);
  GNOMON_RETURN_NOT_OK(ReceiveBytes(socket, frame.payload.data(), size, &frame.files, wait));
  if (frame.files.size() != num_files) {
    return Error(ErrorKind::kDataLoss, "a frame came with ", frame.files.size(), " files of ",
                 num_files);
  }
  return frame;
}

}  // namespace gnomon::runtime
