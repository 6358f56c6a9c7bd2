// How s3:// paths are reached, and what is said when they are not.

#include <map>

#include <doctest/doctest.h>

#include "table/object_store_internal.h"
#include "tests/support/status.h"

namespace gnomon::table::internal {

using test::ValueOf;

namespace {

Environment EnvironmentOf(std::map<std::string, std::string> values) {
  return [values = std::move(values)](const std::string& name) {
    const auto found = values.find(name);
    return found == values.end() ? std::nullopt : std::optional(found->second);
  };
}

Status AwsError(const std::string& code, const std::string& message) {
  return Status::IOError("When reading information for key 'k' in bucket 'b': AWS Error ", code,
                         " during GetObject operation: ", message, " (Request ID: ABC)");
}

constexpr const char* kObject = "s3://b/k";
constexpr const char* kEndpoint = "http://127.0.0.1:9000";

}  // namespace

TEST_CASE("keys are those of the settings, then AWS_*, then MINIO_*, then of the profile") {
  using Credentials = S3Connection::Credentials;
  std::map<std::string, std::string> all = {{"AWS_ACCESS_KEY_ID", "aws"},
                                            {"AWS_SECRET_ACCESS_KEY", "aws-secret"},
                                            {"AWS_SESSION_TOKEN", "token"},
                                            {"MINIO_ACCESS_KEY", "minio"},
                                            {"MINIO_SECRET_KEY", "minio-key"},
                                            {"MINIO_ROOT_USER", "root"},
                                            {"MINIO_ROOT_PASSWORD", "root-password"}};
  const S3Settings settings = {.access_key_id = "yaml", .secret_access_key = Secret("yaml-secret")};
  const auto of_yaml = ValueOf(ResolveS3(settings, EnvironmentOf(all)));
  CHECK(of_yaml.access_key_id == "yaml");
  CHECK(of_yaml.secret_access_key == "yaml-secret");
  CHECK(of_yaml.session_token.empty());
  CHECK(of_yaml.credentials == Credentials::kKeys);
  const auto of_aws = ValueOf(ResolveS3({}, EnvironmentOf(all)));
  CHECK(of_aws.access_key_id == "aws");
  CHECK(of_aws.session_token == "token");
  all.erase("AWS_ACCESS_KEY_ID");
  CHECK_ERROR(ResolveS3({}, EnvironmentOf(all)), ErrorKind::kUser, "AWS_ACCESS_KEY_ID is not set");
  all.erase("AWS_SECRET_ACCESS_KEY");
  const auto of_minio = ValueOf(ResolveS3({}, EnvironmentOf(all)));
  CHECK(of_minio.access_key_id == "minio");
  CHECK(of_minio.secret_access_key == "minio-key");
  CHECK(of_minio.session_token.empty());
  all.erase("MINIO_ACCESS_KEY");
  all.erase("MINIO_SECRET_KEY");
  CHECK(ValueOf(ResolveS3({}, EnvironmentOf(all))).access_key_id == "root");
  CHECK(ValueOf(ResolveS3({}, EnvironmentOf({}))).credentials == Credentials::kProfileOrMetadata);
  CHECK(ValueOf(ResolveS3({.anonymous = true}, EnvironmentOf(all))).credentials ==
        Credentials::kAnonymous);
  CHECK_ERROR(ResolveS3({.access_key_id = "half"}, EnvironmentOf({})), ErrorKind::kUser,
              "secret_access_key of s3 is not set");
}

TEST_CASE("an endpoint is a URL or a host with a scheme, and decides region and style") {
  const auto aws = ValueOf(ResolveS3({}, EnvironmentOf({})));
  CHECK(aws.endpoint.empty());
  CHECK(aws.scheme == "https");
  CHECK(aws.region.empty());
  CHECK(!aws.path_style);
  CHECK(EndpointOf(aws) == "AWS");
  const auto minio =
      ValueOf(ResolveS3({}, EnvironmentOf({{"MINIO_ENDPOINT", "http://localhost:9000/"}})));
  CHECK(minio.endpoint == "localhost:9000");
  CHECK(minio.scheme == "http");
  CHECK(minio.region == "us-east-1");
  CHECK(minio.path_style);
  CHECK(EndpointOf(minio) == "http://localhost:9000");
  const std::map<std::string, std::string> both = {{"AWS_ENDPOINT_URL", "https://aws.example"},
                                                   {"MINIO_ENDPOINT", "http://minio.example"},
                                                   {"AWS_DEFAULT_REGION", "eu-west-1"}};
  const auto first = ValueOf(ResolveS3({}, EnvironmentOf(both)));
  CHECK(first.endpoint == "aws.example");
  CHECK(first.region == "eu-west-1");
  const S3Settings settings = {
      .endpoint_url = "store:9000", .scheme = "http", .region = "here", .path_style = false};
  const auto own = ValueOf(ResolveS3(settings, EnvironmentOf(both)));
  CHECK(EndpointOf(own) == "http://store:9000");
  CHECK(own.region == "here");
  CHECK(!own.path_style);
  for (const std::string bad : {"ftp://host", "http://host/bucket", "http://", "http://a@host"}) {
    CAPTURE(bad);
    CHECK_ERROR(ResolveS3({.endpoint_url = bad}, EnvironmentOf({})), ErrorKind::kUser, bad);
  }
  CHECK(ValueOf(ResolveS3({}, EnvironmentOf({{"AWS_CA_BUNDLE", "a.pem"}}))).ca_file == "a.pem");
  CHECK(ValueOf(ResolveS3({.ca_file = "b.pem"}, EnvironmentOf({{"AWS_CA_BUNDLE", "a.pem"}})))
            .ca_file == "b.pem");
  CHECK(ValueOf(ResolveS3({}, EnvironmentOf({{"AWS_MAX_ATTEMPTS", "3"}}))).max_attempts == 3);
  CHECK_ERROR(ResolveS3({}, EnvironmentOf({{"AWS_MAX_ATTEMPTS", "0"}})), ErrorKind::kUser,
              "AWS_MAX_ATTEMPTS");
}

TEST_CASE("an error of the service has a kind, the path, and no dump of the client") {
  struct Case {
    std::string code;
    std::string message;
    ErrorKind kind;
    std::string says;
  };
  const std::vector<Case> cases = {
      {"NO_SUCH_BUCKET", "The bucket does not exist", ErrorKind::kNotFound, "no such bucket"},
      {"NO_SUCH_KEY", "The key does not exist", ErrorKind::kNotFound, "no such object"},
      {"ACCESS_DENIED", "Access Denied", ErrorKind::kDenied, "ACCESS_DENIED: Access Denied"},
      {"INVALID_ACCESS_KEY_ID", "not in our records", ErrorKind::kUnauthenticated, "our records"},
      {"SIGNATURE_DOES_NOT_MATCH", "no match", ErrorKind::kUnauthenticated, "not accepted"},
      {"UNKNOWN", "Unable to parse ExceptionName: ExpiredToken Message: The token is old",
       ErrorKind::kUnauthenticated, "ExpiredToken: The token is old"},
      {"SLOW_DOWN", "Please reduce your request rate.", ErrorKind::kUnavailable, "does not answer"},
      {"INTERNAL_FAILURE", "We encountered an internal error", ErrorKind::kUnavailable, "internal"},
      {"NETWORK_CONNECTION", "curlCode: 7, no; Details: Failed to connect to 127.0.0.1",
       ErrorKind::kUnavailable, "NETWORK_CONNECTION: Failed to connect to 127.0.0.1"},
      {"UNKNOWN", "Unable to parse ExceptionName: PermanentRedirect Message: elsewhere",
       ErrorKind::kUser, "another region"},
      {"STRANGE", "what is this", ErrorKind::kUnavailable, "STRANGE: what is this"},
  };
  for (const Case& each : cases) {
    CAPTURE(each.code);
    const Status error = ObjectError(AwsError(each.code, each.message), kObject, kEndpoint);
    CHECK_ERROR(error, each.kind, each.says);
    CHECK(error.message().find(kObject) != std::string::npos);
    CHECK(error.message().find(kEndpoint) != std::string::npos);
    for (const char* dump : {"AWS Error", "Request ID", "curlCode", "ExceptionName"})
      CHECK(error.message().find(dump) == std::string::npos);
  }
  CHECK_OK(ObjectError(Status::OK(), kObject, kEndpoint));
  const Status ours = Error(ErrorKind::kConflict, "ours");
  CHECK(ObjectError(ours, kObject, kEndpoint).Equals(ours));
}

TEST_CASE("a path below a folder leaves addresses and absolute paths as they are") {
  CHECK(PathBelow("/repo", "data/a.parquet") == "/repo/data/a.parquet");
  CHECK(PathBelow("/repo", "/data/a.parquet") == "/data/a.parquet");
  CHECK(PathBelow("/repo", "s3://bucket/a//b.parquet") == "s3://bucket/a//b.parquet");
  CHECK(PathBelow("/repo", "file:///data/a.parquet") == "file:///data/a.parquet");
  CHECK(IsObjectPath("S3://bucket/key"));
  CHECK(!IsObjectPath("/s3://bucket"));
  CHECK(!IsObjectPath("s3"));
  CHECK_ERROR(LocalPath("s3a://bucket/key"), ErrorKind::kUnsupported, "s3a://");
}

}  // namespace gnomon::table::internal
