#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>

#include "base/config.h"
#include "base/error.h"

/// Where data files lie: on this machine, or as objects of an S3 service under s3://bucket/key. All
/// readers and writers of this module take either; docs/guide/s3.md tells what differs.
namespace gnomon::table {

/// Is it an s3:// address? The text after it is the bucket and the key as they are: nothing is
/// decoded.
bool IsObjectPath(std::string_view path);

/// `path` below `folder`, unless it is absolute or an address with a scheme, which stay as they
/// are.
std::string PathBelow(const std::string& folder, const std::string& path);

/// Is there a file (an object) of exactly this name? Folders, globs and names of nothing are not.
Result<bool> IsFile(const std::string& path);

/// Removes one file; kNotFound when there is none.
Status DeleteFile(const std::string& path);

/// What tells one state of a file from a later one.
struct FileStamp {
  int64_t size = 0;
  int64_t state = 0;  ///< nanoseconds of the last change; of an object, a number made of its ETag
  bool operator==(const FileStamp&) const = default;
};
Result<FileStamp> StampOf(const std::string& path);

/// How s3:// paths are reached. What is empty here is taken from the environment, then from the
/// shared credentials file, then from the instance's metadata service.
struct S3Settings {
  /// "http://127.0.0.1:9000", or a host (and port) that is reached by `scheme`; empty: AWS.
  std::string endpoint_url = {};
  std::string scheme = {};  ///< http or https; for an endpoint without one
  std::string region = {};
  std::string access_key_id = {};
  Secret secret_access_key = {};
  Secret session_token = {};
  /// true: http://host/bucket/key, false: http://bucket.host/key. Absent: the first where an
  /// endpoint is given.
  std::optional<bool> path_style = {};
  bool anonymous = false;  ///< unsigned requests, for public buckets
  /// Certificates in PEM of those whom https trusts; empty: those whom the system trusts.
  std::string ca_file = {};
};

/// Says how the paths that begin with `prefix` ("s3://" stands for all) are reached from now on;
/// the longest prefix holds, member by member, before the environment. Open files stay as they are.
/// Thread-safe.
void UseS3(const std::string& prefix, S3Settings settings);

/// What UseS3 was told, by prefix: for processes that are to reach the same. Thread-safe.
std::map<std::string, S3Settings> S3InUse();

/// Says that the process is to end when `stop` is requested: whoever waits for an S3 service, on
/// any thread, then gets kCancelled at once, and the exit of the process waits for no request. For
/// the program's main function; the tokens of contexts are asked between requests.
void StopObjectRequests(std::stop_token stop);

}  // namespace gnomon::table
