#include <algorithm>
#include <cstdlib>
#include <random>
#include <string_view>

#include <arrow/filesystem/s3fs.h>

#include "table/s3/s3_library_internal.h"

/// The one file of libgnomon_s3.so: Arrow's S3 file system with our options.
namespace gnomon::table::internal {

namespace {

constexpr double kConnectSeconds = 5;
constexpr int64_t kFirstDelay = 100;             ///< milliseconds
constexpr int64_t kFirstDelayOfThrottled = 500;  ///< milliseconds
constexpr int64_t kLongestDelay = 10'000;        ///< milliseconds

bool IsThrottled(const arrow::fs::S3RetryStrategy::AWSErrorDetail& error) {
  for (const std::string_view word : {"SlowDown", "Throttl", "TooManyRequests", "LimitExceeded"}) {
    if (error.exception_name.find(word) != std::string::npos) return true;
  }
  return false;
}

/// Twice the time after each attempt, of which a random half is slept, so that many clients do not
/// come back together.
class BackOff : public arrow::fs::S3RetryStrategy {
 public:
  explicit BackOff(int max_attempts) : max_attempts_(max_attempts) {}

  bool ShouldRetry(const AWSErrorDetail& error, int64_t attempted_retries) override {
    return attempted_retries + 1 < max_attempts_ && (error.should_retry || IsThrottled(error));
  }

  int64_t CalculateDelayBeforeNextRetry(const AWSErrorDetail& error,
                                        int64_t attempted_retries) override {
    const int64_t first = IsThrottled(error) ? kFirstDelayOfThrottled : kFirstDelay;
    const int64_t doublings = std::clamp<int64_t>(attempted_retries, 0, 16);
    const int64_t delay = std::min(kLongestDelay, first << doublings);
    thread_local std::minstd_rand random(std::random_device{}());
    return delay / 2 + std::uniform_int_distribution<int64_t>(0, delay / 2)(random);
  }

 private:
  const int max_attempts_;
};

arrow::Status Initialize() {
  if (arrow::fs::IsS3Initialized()) return arrow::Status::OK();
  auto options = arrow::fs::S3GlobalOptions::Defaults();
  // Errors come back as statuses; the SDK's own log would say them a second time.
  options.log_level = arrow::fs::S3LogLevel::Off;
  return arrow::fs::InitializeS3(options);
}

arrow::Result<std::shared_ptr<arrow::fs::FileSystem>> Connect(const S3Connection& connection,
                                                              bool* has_credentials) {
  ARROW_RETURN_NOT_OK(Initialize());
  arrow::fs::S3Options options;
  *has_credentials = true;
  switch (connection.credentials) {
    case S3Connection::Credentials::kKeys:
      options.ConfigureAccessKey(connection.access_key_id, connection.secret_access_key,
                                 connection.session_token);
      break;
    case S3Connection::Credentials::kAnonymous:
      options.ConfigureAnonymousCredentials();
      break;
    case S3Connection::Credentials::kProfileOrMetadata:
      options.ConfigureDefaultCredentials();
      *has_credentials = !options.GetAccessKey().empty();
      break;
  }
  options.endpoint_override = connection.endpoint;
  options.scheme = connection.scheme;
  options.region = connection.region;
  options.force_virtual_addressing = !connection.path_style && !connection.endpoint.empty();
  options.connect_timeout = kConnectSeconds;
  options.tls_ca_file_path = connection.ca_file;
  options.retry_strategy = std::make_shared<BackOff>(connection.max_attempts);
  // Small objects are written by one request, and of what is cut off before it nothing is left.
  options.allow_delayed_open = true;
  options.background_writes = true;
  auto file_system = arrow::fs::S3FileSystem::Make(options);
  // Handlers run in the reverse order of their making: after the first client, so that the statics
  // which the client and its threads need are still there.
  static const int registered =
      std::atexit([] { static_cast<void>(arrow::fs::EnsureS3Finalized()); });
  static_cast<void>(registered);
  return file_system;
}

}  // namespace

/// What the program looks up after dlopen.
extern "C" __attribute__((visibility("default"))) ConnectS3 gnomon_connect_s3_v2();
extern "C" ConnectS3 gnomon_connect_s3_v2() { return Connect; }

}  // namespace gnomon::table::internal
