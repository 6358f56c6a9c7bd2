#include <cerrno>
#include <chrono>
#include <fcntl.h>
#include <filesystem>
#include <optional>
#include <sys/file.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>
#include <utility>

#include <google/protobuf/stubs/logging.h>

#include "base/fault.h"
#include "base/files.h"
#include "base/ids.h"
#include "base/version.h"
#include "feature/registry/feast_message_internal.h"
#include "feature/registry/registry_backend_internal.h"

namespace gnomon::feature {

namespace {

// The side file: magic, format version (little-endian), SHA-256 of the payload in hex, payload
// (SideRegistry).
constexpr std::string_view kMagic = "GNOMONRG";
constexpr uint32_t kFormat = 1;
constexpr uint32_t kOldestFormat = 1;
constexpr size_t kDigestSize = 64;
constexpr size_t kHeaderSize = 8 + 4 + kDigestSize;
constexpr std::string_view kFeastSchemaVersion = "1";

std::string SidePath(const std::string& path) { return path + ".gnomon"; }

Status Damaged(const std::string& path, std::string_view what) {
  return MakeError(ErrorKind::kDataLoss, Concat("registry ", path, ": ", what), {path},
                   "restore the file from a backup, or move it away and run `gnomon apply` again "
                   "(materialization history is lost with it)");
}

Result<std::optional<std::string>> ReadIfThere(const std::string& path) {
  auto bytes = ReadFile(path);
  if (bytes.ok()) return std::optional<std::string>(std::move(*bytes));
  if (KindOf(bytes.status()) == ErrorKind::kNotFound) return std::nullopt;
  return bytes.status();
}

Status ParseRegistry(const std::string& path, const std::string& bytes,
                     feast::core::Registry* registry) {
  if (bytes.empty()) return Damaged(path, "the file is empty");
  const google::protobuf::LogSilencer silencer;  // the error below says it
  if (!registry->ParseFromString(bytes)) {
    return Damaged(path, "the file is truncated or no Feast registry");
  }
  if (registry->registry_schema_version().empty() || registry->version_id().empty()) {
    return Damaged(path, "the file is truncated or no Feast registry: it has no version");
  }
  if (registry->registry_schema_version() != kFeastSchemaVersion) {
    return MakeError(ErrorKind::kUnsupported,
                     Concat("registry ", path, " has schema version ",
                            Quoted(registry->registry_schema_version()), "; this build reads ",
                            Quoted(kFeastSchemaVersion)),
                     {path});
  }
  return Status::OK();
}

std::string FormatSide(const gnomon::proto::SideRegistry& side) {
  const std::string payload = SerializeMessage(side);
  std::string bytes(kMagic);
  for (uint32_t shift = 0; shift < 32; shift += 8) {
    bytes.push_back(static_cast<char>(static_cast<unsigned char>(kFormat >> shift)));
  }
  return bytes + Sha256Hex(payload) + payload;
}

Result<gnomon::proto::SideRegistry> ParseSide(const std::string& path, const std::string& bytes) {
  if (bytes.size() < kHeaderSize || !bytes.starts_with(kMagic)) {
    return Damaged(path, "the file is truncated or was not written by gnomon");
  }
  uint32_t format = 0;
  for (size_t i = 0; i < 4; ++i) {
    const auto byte = static_cast<unsigned char>(bytes[kMagic.size() + i]);
    format |= static_cast<uint32_t>(byte) << (8 * i);
  }
  const std::string payload = bytes.substr(kHeaderSize);
  const bool intact = Sha256Hex(payload) == bytes.substr(kMagic.size() + 4, kDigestSize);
  const google::protobuf::LogSilencer silencer;  // the error below says it
  gnomon::proto::SideRegistry side;
  const bool parsed = intact && side.ParseFromString(payload);
  if (format > kFormat || format < kOldestFormat) {
    const std::string writer =
        side.writer_build().empty() ? "another build" : Concat("gnomon ", side.writer_build());
    return MakeError(ErrorKind::kUnsupported,
                     Concat(path, " was written by ", writer, " in format ", format,
                            "; this build (", kVersion, ") reads ", kOldestFormat, " to ", kFormat),
                     {path}, "use a newer gnomon");
  }
  if (!parsed) return Damaged(path, "the file is truncated or damaged");
  return side;
}

// The generation of the registry's version; without one the newest, marked as older.
void ChooseGeneration(const gnomon::proto::SideRegistry& side, RegistryContent* content) {
  for (const auto& generation : side.generations()) {
    if (generation.version_id() != content->registry.version_id()) continue;
    content->side = generation;
    content->side_is_older = false;
    return;
  }
  if (side.generations_size() == 0 || !content->stamp.exists) return;
  content->side = side.generations(side.generations_size() - 1);
  content->side_is_older = true;
}

class FileBackend : public RegistryBackend {
 public:
  explicit FileBackend(std::string path) : path_(std::move(path)) {}

  const std::string& place() const override { return path_; }
  Result<RegistryContent> Read(const Context&) override { return ReadRegistry(path_); }

  Result<bool> MayHaveChanged(const Context&, const RegistryContent& known) override {
    GNOMON_ASSIGN_OR_RETURN(const FileStamp stamp, StampOf(path_));
    return stamp != known.stamp;
  }

  Status Write(const Context& context, const RegistryContent& before,
               RegistryContent* after) override {
    GNOMON_ASSIGN_OR_RETURN(const auto file_lock, RegistryLock::Acquire(context, path_));
    GNOMON_RETURN_NOT_OK(CheckVersion(before));
    after->registry.set_registry_schema_version(std::string(kFeastSchemaVersion));
    after->registry.set_version_id(RandomUuid());
    return WriteRegistry(path_, before, after);
  }

 private:
  Status CheckVersion(const RegistryContent& known) const {
    GNOMON_ASSIGN_OR_RETURN(const FileStamp stamp, StampOf(path_));
    if (stamp == known.stamp) return Status::OK();
    GNOMON_ASSIGN_OR_RETURN(const RegistryContent now, ReadRegistry(path_));
    if (now.registry.version_id() == known.registry.version_id()) return Status::OK();
    return WrittenMeanwhile(path_);
  }

  const std::string path_;
};

}  // namespace

Result<FileStamp> StampOf(const std::string& path) {
  struct stat status = {};
  if (::stat(path.c_str(), &status) != 0) {
    if (errno == ENOENT || errno == ENOTDIR) return FileStamp{};
    return ErrnoError(errno, path);
  }
  constexpr int64_t kNanos = 1'000'000'000;
  return FileStamp{true, status.st_size, status.st_mtim.tv_sec * kNanos + status.st_mtim.tv_nsec,
                   status.st_ino};
}

Result<RegistryContent> ReadRegistry(const std::string& path) {
  // A writer may replace both files while they are read; then the side file has moved on, and so
  // has the registry.
  constexpr int kMaxTries = 8;
  for (int attempt = 1;; ++attempt) {
    RegistryContent content;
    GNOMON_ASSIGN_OR_RETURN(content.stamp, StampOf(path));
    GNOMON_ASSIGN_OR_RETURN(const auto bytes, ReadIfThere(path));
    if (bytes) {
      content.stamp.exists = true;
      GNOMON_RETURN_NOT_OK(ParseRegistry(path, *bytes, &content.registry));
    }
    GNOMON_ASSIGN_OR_RETURN(const auto side_bytes, ReadIfThere(SidePath(path)));
    if (!side_bytes) return content;
    GNOMON_ASSIGN_OR_RETURN(const auto side, ParseSide(SidePath(path), *side_bytes));
    ChooseGeneration(side, &content);
    if (content.side_is_older && attempt < kMaxTries) {
      GNOMON_ASSIGN_OR_RETURN(const FileStamp now, StampOf(path));
      if (now != content.stamp) continue;
    }
    const std::string& digest = content.side.registry_sha256();
    if (bytes && !content.side_is_older && !digest.empty() && Sha256Hex(*bytes) != digest) {
      return Damaged(path,
                     "the file is truncated or damaged: its contents are not those of its version");
    }
    return content;
  }
}

Status WriteRegistry(const std::string& path, const RegistryContent& before,
                     RegistryContent* after) {
  const google::protobuf::LogSilencer silencer;
  const std::string bytes = SerializeMessage(after->registry);
  if (feast::core::Registry check; !check.ParseFromString(bytes)) {
    return Error(ErrorKind::kUser, "the definitions hold a text that is not valid UTF-8");
  }
  after->side.set_version_id(after->registry.version_id());
  after->side.set_registry_sha256(Sha256Hex(bytes));
  after->side_is_older = false;
  gnomon::proto::SideRegistry side;
  side.set_writer_build(kVersion);
  auto* previous = side.add_generations();
  *previous = before.side;
  if (previous->version_id() != before.registry.version_id()) previous->clear_registry_sha256();
  previous->set_version_id(before.registry.version_id());
  *side.add_generations() = after->side;
  // From here on both versions of the registry find their part in the side file, so it does not
  // matter whether the second file is reached.
  GNOMON_RETURN_NOT_OK(FaultPoint("registry.before_write"));
  GNOMON_RETURN_NOT_OK(WriteFileAtomic(SidePath(path), FormatSide(side)));
  GNOMON_RETURN_NOT_OK(FaultPoint("registry.before_write"));
  GNOMON_RETURN_NOT_OK(WriteFileAtomic(path, bytes));
  GNOMON_ASSIGN_OR_RETURN(after->stamp, StampOf(path));
  return Status::OK();
}

Result<RegistryLock> RegistryLock::Acquire(const Context& context, const std::string& path) {
  const std::string parent = std::filesystem::path(path).parent_path().string();
  if (!parent.empty()) GNOMON_RETURN_NOT_OK(MakeFolders(parent));
  const std::string lock_path = path + ".lock";
  RegistryLock lock(::open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666));
  if (lock.fd_ < 0) return ErrnoError(errno, lock_path);
  while (::flock(lock.fd_, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) return ErrnoError(errno, lock_path);
    GNOMON_RETURN_NOT_OK(context.Check());
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return lock;
}

RegistryLock::RegistryLock(RegistryLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

RegistryLock& RegistryLock::operator=(RegistryLock&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

RegistryLock::~RegistryLock() {
  if (fd_ >= 0) ::close(fd_);
}

Status WrittenMeanwhile(const std::string& place) {
  return MakeError(ErrorKind::kConflict,
                   Concat("registry ", place, " was written by somebody else meanwhile"), {place},
                   "load it again and repeat");
}

std::unique_ptr<RegistryBackend> MakeFileBackend(std::string path) {
  return std::make_unique<FileBackend>(std::move(path));
}

}  // namespace gnomon::feature
