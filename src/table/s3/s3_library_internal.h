#pragma once

#include <memory>
#include <string>

#include <arrow/filesystem/type_fwd.h>
#include <arrow/result.h>

/// The seam to Arrow's S3 client: what libgnomon_s3.so, opened at the first s3:// path, gives to
/// object_store.cc.
namespace gnomon::table::internal {

/// How to reach a service; nothing is looked up any more, but what `credentials` says.
struct S3Connection {
  enum class Credentials {
    kKeys,
    kAnonymous,
    kProfileOrMetadata,  ///< the shared credentials file, then the metadata service
  };
  std::string endpoint;  ///< host and port; empty: AWS
  std::string scheme = "https";
  std::string region;  ///< empty: of the profile, or the SDK's default
  bool path_style = false;
  Credentials credentials = Credentials::kProfileOrMetadata;
  std::string access_key_id;
  std::string secret_access_key;
  std::string session_token;
  int max_attempts = 6;  ///< of each request
  std::string ca_file;   ///< whom to trust with https, in PEM; empty: whom the system trusts
  bool operator==(const S3Connection&) const = default;
};

/// The function of the library; kConnectS3 is its name, whose version changes with it.
/// `has_credentials` is false when none were found where `credentials` says. The client's threads
/// end by themselves when the process does.
using ConnectS3 = arrow::Result<std::shared_ptr<arrow::fs::FileSystem>> (*)(
    const S3Connection& connection, bool* has_credentials);

inline constexpr const char* kConnectS3 = "gnomon_connect_s3_v2";

}  // namespace gnomon::table::internal
