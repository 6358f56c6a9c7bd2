#include <algorithm>
#include <cstring>
#include <map>

#include <arrow/buffer.h>
#include <arrow/buffer_builder.h>
#include <arrow/io/caching.h>
#include <arrow/util/future.h>

#include "base/mutex.h"
#include "base/text.h"
#include "table/object_request_internal.h"
#include "table/object_store_internal.h"

namespace gnomon::table::internal {

namespace {

/// A footer mostly lies in it, and many a file as a whole.
constexpr int64_t kTailBytes = int64_t{64} * 1024;

using BufferFuture = arrow::Future<std::shared_ptr<arrow::Buffer>>;

class RangedFile : public ObjectFile {
 public:
  RangedFile(std::shared_ptr<arrow::io::RandomAccessFile> file, std::string path,
             std::string endpoint, FileVersion version)
      : file_(std::move(file)),
        path_(std::move(path)),
        endpoint_(std::move(endpoint)),
        version_(std::move(version)) {
    set_mode(arrow::io::FileMode::READ);
  }

  const FileVersion& version() const override { return version_; }

  void Announce(std::vector<Part> parts) override {
    const MutexLock lock(mutex_);
    for (Part& part : parts) {
      const auto wanted = std::make_shared<WantedPart>(WantedPart{.part = std::move(part)});
      for (size_t i = 0; i < wanted->part.requests.size(); ++i)
        requests_[wanted->part.requests[i].offset] = {wanted, i};
    }
  }

  Status Close() override { return file_->Close(); }
  bool closed() const override { return file_->closed(); }
  Result<int64_t> Tell() const override { return position_; }
  Status Seek(int64_t position) override {
    position_ = position;
    return Status::OK();
  }
  Result<int64_t> GetSize() override { return version_.size; }

  using arrow::io::RandomAccessFile::ReadAt;
  Result<std::shared_ptr<arrow::Buffer>> ReadAt(int64_t position, int64_t nbytes) override {
    if (position < 0 || nbytes < 0 || position > version_.size)
      return Error(ErrorKind::kDataLoss, path_, ": a read beyond the end of the object");
    nbytes = std::min(nbytes, version_.size - position);
    if (nbytes == 0) return std::make_shared<arrow::Buffer>(nullptr, 0);
    GNOMON_ASSIGN_OR_RETURN(auto announced, FromParts(position, nbytes));
    if (announced != nullptr) return announced;
    if (position >= version_.size - kTailBytes) return FromTail(position, nbytes);
    return Whole(RangeOf(position, nbytes), nbytes);
  }

  Result<int64_t> ReadAt(int64_t position, int64_t nbytes, void* out) override {
    GNOMON_ASSIGN_OR_RETURN(const auto bytes, RangedFile::ReadAt(position, nbytes));
    if (bytes->size() > 0) std::memcpy(out, bytes->data(), static_cast<size_t>(bytes->size()));
    return bytes->size();
  }

  Result<int64_t> Read(int64_t nbytes, void* out) override {
    GNOMON_ASSIGN_OR_RETURN(const int64_t read, RangedFile::ReadAt(position_, nbytes, out));
    position_ += read;
    return read;
  }
  Result<std::shared_ptr<arrow::Buffer>> Read(int64_t nbytes) override {
    GNOMON_ASSIGN_OR_RETURN(auto bytes, RangedFile::ReadAt(position_, nbytes));
    position_ += bytes->size();
    return bytes;
  }

 private:
  struct WantedPart {
    Part part;
    std::vector<BufferFuture> bytes = {};  ///< of each request, from the first read on
  };
  struct Request {
    std::shared_ptr<WantedPart> part;
    size_t index = 0;
  };

  Result<std::shared_ptr<arrow::Buffer>> RangeOf(int64_t position, int64_t nbytes) const {
    return Requested(path_,
                     [file = file_, position, nbytes] { return file->ReadAt(position, nbytes); });
  }

  /// The service may send fewer bytes than were asked for when the object has become shorter.
  Result<std::shared_ptr<arrow::Buffer>> Whole(Result<std::shared_ptr<arrow::Buffer>> bytes,
                                               int64_t nbytes) const {
    if (!bytes.ok()) return ObjectError(bytes.status(), path_, endpoint_);
    if ((*bytes)->size() != nbytes)
      return Error(ErrorKind::kDataLoss, "the object ends early: ", path_);
    return bytes;
  }

  /// Null when no announced request holds the bytes.
  Result<std::shared_ptr<arrow::Buffer>> FromParts(int64_t position, int64_t nbytes) {
    BufferFuture future;
    arrow::io::ReadRange range;
    {
      const MutexLock lock(mutex_);
      auto found = requests_.upper_bound(position);
      if (found == requests_.begin()) return nullptr;
      --found;
      const Request request = found->second;
      WantedPart& wanted = *request.part;
      range = wanted.part.requests[request.index];
      if (position + nbytes > range.offset + range.length) return nullptr;
      if (wanted.bytes.empty()) {
        for (const auto& each : wanted.part.requests)
          wanted.bytes.push_back(file_->ReadAsync(file_->io_context(), each.offset, each.length));
      }
      future = wanted.bytes[request.index];
      if (--wanted.part.reads == 0) {
        for (const auto& each : wanted.part.requests) requests_.erase(each.offset);
      }
    }
    GNOMON_ASSIGN_OR_RETURN(auto bytes, Whole(Awaited(future, path_), range.length));
    return arrow::SliceBuffer(std::move(bytes), position - range.offset, nbytes);
  }

  Result<std::shared_ptr<arrow::Buffer>> FromTail(int64_t position, int64_t nbytes) {
    const MutexLock lock(tail_mutex_);
    const int64_t begin = std::max<int64_t>(0, version_.size - kTailBytes);
    if (tail_ == nullptr) {
      const int64_t length = version_.size - begin;
      GNOMON_ASSIGN_OR_RETURN(tail_, Whole(RangeOf(begin, length), length));
    }
    return arrow::SliceBuffer(tail_, position - begin, nbytes);
  }

  const std::shared_ptr<arrow::io::RandomAccessFile> file_;
  const std::string path_;
  const std::string endpoint_;
  const FileVersion version_;
  int64_t position_ = 0;  ///< of Read
  Mutex mutex_;
  std::map<int64_t, Request> requests_ GNOMON_GUARDED_BY(mutex_);  ///< by their first byte
  Mutex tail_mutex_;
  std::shared_ptr<arrow::Buffer> tail_ GNOMON_GUARDED_BY(tail_mutex_);
};

/// Bytes that may wait to be sent; more would be memory that no budget knows.
constexpr int64_t kMostPending = int64_t{64} << 20;
/// Small writes are given to the upload together.
constexpr int64_t kPieceBytes = int64_t{1} << 20;
/// How long the service has for giving an upload up when the process is to end.
constexpr double kGiveUpSeconds = 1;

/// One request at a time: one that was abandoned is waited for by the next.
struct Upload {
  std::shared_ptr<arrow::io::OutputStream> stream;
  Mutex mutex;
};

/// What is written goes to the upload; closing it leaves the upload open.
class UploadStream : public arrow::io::OutputStream {
 public:
  UploadStream(std::shared_ptr<arrow::io::OutputStream> upload, std::string path,
               std::string endpoint)
      : upload_(std::make_shared<Upload>()),
        path_(std::move(path)),
        endpoint_(std::move(endpoint)) {
    upload_->stream = std::move(upload);
    set_mode(arrow::io::FileMode::WRITE);
  }

  Status Write(const void* data, int64_t nbytes) override {
    if (given_up_) return Status::OK();
    GNOMON_RETURN_NOT_OK(failed_);
    failed_ = piece_.Append(data, nbytes);
    written_ += nbytes;
    return piece_.length() < kPieceBytes ? failed_ : SendPiece();
  }
  Status Write(const std::shared_ptr<arrow::Buffer>& data) override {
    if (given_up_ || data->size() < kPieceBytes) return Write(data->data(), data->size());
    GNOMON_RETURN_NOT_OK(SendPiece());
    written_ += data->size();
    return Send(data);
  }
  Status Flush() override { return Status::OK(); }
  Status Close() override {
    closed_ = true;
    return Status::OK();
  }
  bool closed() const override { return closed_; }
  Result<int64_t> Tell() const override { return written_; }

  /// Makes the object appear.
  Status Complete() {
    GNOMON_RETURN_NOT_OK(SendPiece());
    // Arrow forgets an upload whose Close fails, so that it cannot be given up any more: parts that
    // failed are told before.
    failed_ = Ask([](arrow::io::OutputStream& stream) { return stream.Flush(); });
    GNOMON_RETURN_NOT_OK(failed_);
    failed_ = Ask([](arrow::io::OutputStream& stream) { return stream.Close(); });
    completed_ = failed_.ok();
    return failed_;
  }

  void GiveUp() {
    // What is still written, by destructors of formats, goes nowhere.
    given_up_ = true;
    if (completed_) return;
    static_cast<void>(
        Ask([](arrow::io::OutputStream& stream) { return stream.Abort(); }, kGiveUpSeconds));
  }

 private:
  Status SendPiece() {
    GNOMON_RETURN_NOT_OK(failed_);
    if (piece_.length() == 0) return Status::OK();
    auto piece = piece_.Finish();
    failed_ = piece.status();
    return failed_.ok() ? Send(*std::move(piece)) : failed_;
  }

  Status Send(const std::shared_ptr<arrow::Buffer>& bytes) {
    failed_ = Ask([bytes](arrow::io::OutputStream& stream) { return stream.Write(bytes); });
    pending_ += bytes->size();
    if (failed_.ok() && pending_ >= kMostPending) {
      pending_ = 0;
      failed_ = Ask([](arrow::io::OutputStream& stream) { return stream.Flush(); });
    }
    return failed_;
  }

  template <typename Request>
  Status Ask(Request request, double patience = 0) const {
    const Status answer = Requested(
        path_,
        [upload = upload_, request = std::move(request)] {
          const MutexLock lock(upload->mutex);
          return request(*upload->stream);
        },
        patience);
    return ObjectError(answer, path_, endpoint_);
  }

  const std::shared_ptr<Upload> upload_;
  const std::string path_;
  const std::string endpoint_;
  Status failed_;  ///< the first error, given again by all that follows
  arrow::BufferBuilder piece_;
  int64_t written_ = 0;
  int64_t pending_ = 0;
  bool closed_ = false;
  bool completed_ = false;
  bool given_up_ = false;
};

class ObjectOutput : public AtomicOutput {
 public:
  explicit ObjectOutput(std::shared_ptr<UploadStream> upload)
      : upload_(std::move(upload)), stream_(upload_) {}
  ~ObjectOutput() override { upload_->GiveUp(); }
  ObjectOutput(const ObjectOutput&) = delete;
  ObjectOutput& operator=(const ObjectOutput&) = delete;

  const std::shared_ptr<arrow::io::OutputStream>& stream() const override { return stream_; }
  Status Commit() override { return upload_->Complete(); }

 private:
  const std::shared_ptr<UploadStream> upload_;
  const std::shared_ptr<arrow::io::OutputStream> stream_;
};

}  // namespace

std::shared_ptr<ObjectFile> MakeObjectFile(std::shared_ptr<arrow::io::RandomAccessFile> file,
                                           std::string path, std::string endpoint,
                                           FileVersion version) {
  return std::make_shared<RangedFile>(std::move(file), std::move(path), std::move(endpoint),
                                      std::move(version));
}

std::unique_ptr<AtomicOutput> MakeObjectOutput(std::shared_ptr<arrow::io::OutputStream> upload,
                                               std::string path, std::string endpoint) {
  return std::make_unique<ObjectOutput>(
      std::make_shared<UploadStream>(std::move(upload), std::move(path), std::move(endpoint)));
}

}  // namespace gnomon::table::internal
