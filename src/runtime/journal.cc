#include "runtime/journal.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <string_view>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/crc.hpp>

#include "base/files.h"
#include "base/text.h"
#include "base/version.h"
#include "runtime/message_internal.h"

namespace gnomon::runtime {

namespace {

constexpr std::string_view kMagic = "GNOMONJL";
constexpr uint32_t kFormatVersion = 2;
constexpr uint32_t kOldestVersion = 1;  // without reports
constexpr size_t kHeaderBytes = 12;     // magic, version
constexpr size_t kFrameBytes = 12;      // length, checksum of the length, checksum of the payload
constexpr uint32_t kMostPayloadBytes = uint32_t{1} << 26;

using Crc32c = boost::crc_optimal<32, 0x1EDC6F41, 0xFFFFFFFF, 0xFFFFFFFF, true, true>;

uint32_t Checksum(std::string_view bytes) {
  Crc32c crc;
  crc.process_bytes(bytes.data(), bytes.size());
  return crc.checksum();
}

void AppendNumber(std::string* out, uint32_t value) {
  for (int shift = 0; shift < 32; shift += 8) out->push_back(static_cast<char>(value >> shift));
}

uint32_t NumberAt(std::string_view bytes, size_t place) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) {
    value |= uint32_t{static_cast<uint8_t>(bytes[place + i])} << (8 * i);
  }
  return value;
}

std::string Header(uint32_t version = kFormatVersion) {
  std::string out(kMagic);
  AppendNumber(&out, version);
  return out;
}

// A header that was not written to its end.
bool IsTornHeader(std::string_view bytes) {
  return bytes.size() < kHeaderBytes &&
         (Header(kFormatVersion).starts_with(bytes) || Header(kOldestVersion).starts_with(bytes));
}

std::string Framed(std::string_view payload) {
  std::string out;
  AppendNumber(&out, static_cast<uint32_t>(payload.size()));
  AppendNumber(&out, Checksum(out));
  AppendNumber(&out, Checksum(payload));
  return out.append(payload);
}

bool IsZero(std::string_view bytes) {
  return std::ranges::all_of(bytes, [](char byte) { return byte == 0; });
}

Status Damaged(const std::string& path, size_t place) {
  return MakeError(ErrorKind::kDataLoss, Concat("journal ", path, " is damaged at byte ", place),
                   {}, "remove it to run the job from the beginning");
}

// The records of a file, up to a torn one.
class JournalParser {
 public:
  JournalParser(std::string_view bytes, const std::string& path) : bytes_(bytes), path_(path) {}

  Status Parse(JournalContents* contents) {
    if (IsTornHeader(bytes_)) return Status::OK();
    if (!bytes_.starts_with(kMagic)) {
      return Error(ErrorKind::kDataLoss, "not a journal: ", path_);
    }
    if (IsZero(bytes_.substr(kMagic.size()))) return Status::OK();
    if (bytes_.size() < kHeaderBytes) return Damaged(path_, kMagic.size());
    version_ = NumberAt(bytes_, kMagic.size());
    if (version_ < kOldestVersion || version_ > kFormatVersion) {
      return Error(ErrorKind::kUnsupported, "journal ", path_, " has format version ", version_,
                   ", this build reads ", kOldestVersion, " and ", kFormatVersion);
    }
    whole_ = kHeaderBytes;
    while (whole_ < bytes_.size()) {
      GNOMON_ASSIGN_OR_RETURN(const bool is_whole, ParseRecord(contents));
      if (!is_whole) return Status::OK();
    }
    return Status::OK();
  }

  // Bytes up to the end of the last whole record.
  size_t whole() const { return whole_; }
  // What a new journal gets when there is none.
  uint32_t version() const { return version_; }

 private:
  Result<bool> ParseRecord(JournalContents* contents) {
    const std::string_view rest = bytes_.substr(whole_);
    // A file that grew but was not written reads as zeros.
    if (rest.size() < kFrameBytes || IsZero(rest)) return false;
    const uint32_t length = NumberAt(rest, 0);
    if (NumberAt(rest, 4) != Checksum(rest.substr(0, 4)) || length > kMostPayloadBytes) {
      return Damaged(path_, whole_);
    }
    if (rest.size() - kFrameBytes < length) return false;
    const std::string_view payload = rest.substr(kFrameBytes, length);
    if (NumberAt(rest, 8) != Checksum(payload)) {
      if (rest.size() == kFrameBytes + length) return false;
      return Damaged(path_, whole_);
    }
    auto entry = ParseMessage<proto::JournalEntry>(payload, "journal");
    if (!entry.ok()) return Damaged(path_, whole_);
    Take(*entry, contents);
    whole_ += kFrameBytes + length;
    return true;
  }

  static JournalCommit CommitOf(const proto::JournalCommit& message) {
    JournalCommit commit{.stage = message.stage(),
                         .partition = message.partition(),
                         .attempt = message.attempt(),
                         .token = message.token()};
    if (message.has_report()) commit.report = message.report();
    return commit;
  }

  static void Take(const proto::JournalEntry& entry, JournalContents* contents) {
    if (entry.has_begin()) {
      contents->job = entry.begin().job();
      contents->fingerprint = entry.begin().fingerprint();
    } else if (entry.has_prepared()) {
      contents->prepared.push_back(CommitOf(entry.prepared()));
    } else if (entry.has_committed()) {
      contents->committed.push_back(CommitOf(entry.committed()));
    } else if (entry.finished()) {
      contents->finished = true;
    }
  }

  const std::string_view bytes_;
  const std::string& path_;
  size_t whole_ = 0;
  uint32_t version_ = kFormatVersion;
};

Result<std::string> ReadAll(int fd, const std::string& path) {
  std::string bytes;
  std::array<char, 65536> chunk;
  while (true) {
    const ssize_t got = ::pread(fd, chunk.data(), chunk.size(), static_cast<off_t>(bytes.size()));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return ErrnoError(errno, Concat("cannot read ", path));
    if (got == 0) return bytes;
    bytes.append(chunk.data(), static_cast<size_t>(got));
  }
}

Result<FileDescriptor> OpenLocked(const std::string& path) {
  FileDescriptor file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  if (!file.is_open()) return ErrnoError(errno, Concat("cannot open journal ", path));
  if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return ErrnoError(errno, Concat("cannot lock journal ", path));
    return MakeError(ErrorKind::kConflict, Concat("journal is in use: ", path), {},
                     "another process runs this job");
  }
  return file;
}

// A new file is only durable once its folder is.
Status SyncFolderOf(const std::string& path) {
  const std::string folder = std::filesystem::path(path).parent_path().string();
  const FileDescriptor descriptor(
      ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (descriptor.is_open() && ::fsync(descriptor.get()) != 0 && errno != EINVAL) {
    return ErrnoError(errno, Concat("cannot sync the folder of ", path));
  }
  return Status::OK();
}

}  // namespace

Result<JournalContents> Journal::Read(const std::string& path) {
  GNOMON_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
  JournalContents contents;
  GNOMON_RETURN_NOT_OK(JournalParser(bytes, path).Parse(&contents));
  return contents;
}

Result<std::unique_ptr<Journal>> Journal::Open(const std::string& path, const std::string& job,
                                               const std::string& fingerprint) {
  GNOMON_ASSIGN_OR_RETURN(FileDescriptor file, OpenLocked(path));
  GNOMON_ASSIGN_OR_RETURN(const std::string bytes, ReadAll(file.get(), path));
  std::unique_ptr<Journal> journal(new Journal(std::move(file), path));
  JournalParser parser(bytes, path);
  GNOMON_RETURN_NOT_OK(parser.Parse(&journal->contents_));
  JournalContents& contents = journal->contents_;
  if (!contents.fingerprint.empty() && contents.fingerprint != fingerprint) {
    return MakeError(
        ErrorKind::kConflict,
        Concat("journal ", path, " belongs to another plan (job ", Quoted(contents.job), ")"), {},
        "remove it, or give this job a journal of its own");
  }
  journal->was_torn_ = parser.whole() < bytes.size();
  if (journal->was_torn_ &&
      ::ftruncate(journal->file_.get(), static_cast<off_t>(parser.whole())) != 0) {
    return ErrnoError(errno, Concat("cannot cut a torn record off ", path));
  }
  journal->version_ = parser.version();
  const MutexLock lock(journal->mutex_);
  journal->size_ = static_cast<int64_t>(parser.whole());
  for (const JournalCommit& commit : contents.prepared) {
    journal->chosen_.emplace(commit.stage, commit.partition);
  }
  if (contents.fingerprint.empty()) {
    proto::JournalEntry entry;
    entry.mutable_begin()->set_job(job);
    entry.mutable_begin()->set_fingerprint(fingerprint);
    entry.mutable_begin()->set_writer_build(kVersion);
    GNOMON_RETURN_NOT_OK(journal->Append(entry.SerializeAsString()));
    GNOMON_RETURN_NOT_OK(SyncFolderOf(path));
    contents.job = job;
    contents.fingerprint = fingerprint;
  }
  return journal;
}

Status Journal::Append(const std::string& payload) {
  if (broken_) return Error(ErrorKind::kUnavailable, "journal ", path_, " could not be written");
  // What no reader takes is not written: the job fails before it commits.
  if (payload.size() > kMostPayloadBytes) {
    return Error(ErrorKind::kExhausted, "a record of journal ", path_, " would have ",
                 payload.size(), " bytes, at most ", kMostPayloadBytes, " are read back");
  }
  std::string bytes = size_ == 0 ? Header() : std::string();
  bytes += Framed(payload);
  // Half a record stays torn until the next opening: nothing may follow it.
  broken_ = true;
  for (size_t done = 0; done < bytes.size();) {
    const ssize_t written = ::pwrite(file_.get(), bytes.data() + done, bytes.size() - done,
                                     size_ + static_cast<int64_t>(done));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return ErrnoError(errno, Concat("cannot write journal ", path_));
    done += static_cast<size_t>(written);
  }
  if (::fdatasync(file_.get()) != 0) {
    return ErrnoError(errno, Concat("cannot sync journal ", path_));
  }
  size_ += static_cast<int64_t>(bytes.size());
  broken_ = false;
  return Status::OK();
}

Status Journal::AppendPrepared(const JournalCommit& commit) {
  const MutexLock lock(mutex_);
  const std::pair<std::string, int32_t> key(commit.stage, commit.partition);
  if (chosen_.contains(key)) {
    return Error(ErrorKind::kInternal, "a second attempt is to be committed: stage ",
                 Quoted(commit.stage), ", partition ", commit.partition);
  }
  proto::JournalEntry entry;
  proto::JournalCommit* message = entry.mutable_prepared();
  message->set_stage(commit.stage);
  message->set_partition(commit.partition);
  message->set_attempt(commit.attempt);
  message->set_token(commit.token);
  // A journal keeps the version that it was begun with.
  if (commit.report.has_value() && version_ > kOldestVersion) message->set_report(*commit.report);
  GNOMON_RETURN_NOT_OK(Append(entry.SerializeAsString()));
  chosen_.insert(key);
  return Status::OK();
}

Status Journal::AppendCommitted(const JournalCommit& commit) {
  const MutexLock lock(mutex_);
  proto::JournalEntry entry;
  proto::JournalCommit* message = entry.mutable_committed();
  message->set_stage(commit.stage);
  message->set_partition(commit.partition);
  message->set_attempt(commit.attempt);
  return Append(entry.SerializeAsString());
}

Status Journal::AppendFinished() {
  const MutexLock lock(mutex_);
  proto::JournalEntry entry;
  entry.set_finished(true);
  return Append(entry.SerializeAsString());
}

}  // namespace gnomon::runtime
