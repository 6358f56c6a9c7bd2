#pragma once

#include <memory>
#include <string>
#include <vector>

#include <arrow/filesystem/type_fwd.h>
#include <arrow/io/interfaces.h>

#include "base/config.h"
#include "table/file_system_internal.h"
#include "table/s3/s3_library_internal.h"

/// Objects of an S3 service as files.
namespace gnomon::table::internal {

/// What the settings leave open is taken from `environment`, in the order of docs/guide/s3.md.
/// kUser for an endpoint that is none and for half a pair of keys.
Result<S3Connection> ResolveS3(const S3Settings& settings, const Environment& environment);

/// For messages: "http://127.0.0.1:9000", or "AWS".
std::string EndpointOf(const S3Connection& connection);

/// An error of Arrow's S3 client in our words and kinds. `what` is the thing that was asked for:
/// "s3://bucket/key". Our own errors pass unchanged, and so does success.
Status ObjectError(const Status& status, const std::string& what, const std::string& endpoint);

/// The objects that `store` holds, under s3:// paths. `endpoint` is for messages.
std::shared_ptr<FileSystem> MakeObjectFileSystem(std::shared_ptr<arrow::fs::FileSystem> store,
                                                 std::string endpoint);

/// The file system of an s3:// path, by what UseS3 and the environment say.
Result<std::shared_ptr<FileSystem>> ObjectFileSystemOf(const std::string& path);

/// An object open for reading: what is asked of its end (a footer) is read at once, and parts that
/// were announced are read together. Thread-safe, but for Read and Seek.
class ObjectFile : public arrow::io::RandomAccessFile {
 public:
  /// Parts that are wanted together, as one row group's column chunks are, cut into requests.
  struct Part {
    std::vector<arrow::io::ReadRange> requests;
    int64_t reads = 0;  ///< after so many reads the part is dropped
  };

  /// The parts are read on Arrow's I/O threads when the first byte of them is asked for.
  virtual void Announce(std::vector<Part> parts) = 0;
  virtual const FileVersion& version() const = 0;
};

/// `file` may read bytes of any state of the object; `version` is the one that its size is of.
std::shared_ptr<ObjectFile> MakeObjectFile(std::shared_ptr<arrow::io::RandomAccessFile> file,
                                           std::string path, std::string endpoint,
                                           FileVersion version);

/// Puts one object; without Commit the upload is given up.
std::unique_ptr<AtomicOutput> MakeObjectOutput(std::shared_ptr<arrow::io::OutputStream> upload,
                                               std::string path, std::string endpoint);

}  // namespace gnomon::table::internal
