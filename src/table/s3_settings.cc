#include <array>
#include <charconv>

#include "base/text.h"
#include "table/object_store_internal.h"

namespace gnomon::table::internal {

namespace {

/// What MinIO and most of its kind call their only region.
constexpr const char* kDefaultRegion = "us-east-1";
constexpr int kMostAttempts = 100;

std::string First(const Environment& environment, std::initializer_list<const char*> names) {
  for (const char* name : names) {
    const auto value = environment(name);
    if (value && !Trim(*value).empty()) return std::string(Trim(*value));
  }
  return {};
}

/// Cuts "http://host:9000/" into a scheme and "host:9000".
Status SetEndpoint(const std::string& url, const std::string& scheme, S3Connection* connection) {
  const auto refused = [&] {
    return MakeError(ErrorKind::kUser, Concat("not an S3 endpoint: ", Quoted(url)), {},
                     "give it as http://host:port or https://host");
  };
  std::string rest = url;
  connection->scheme = scheme.empty() ? "https" : ToLower(scheme);
  if (const size_t colon = url.find("://"); colon != std::string::npos) {
    connection->scheme = ToLower(url.substr(0, colon));
    rest = url.substr(colon + 3);
  }
  while (rest.ends_with('/')) rest.pop_back();
  if (connection->scheme != "http" && connection->scheme != "https") return refused();
  if (rest.find_first_of("/@? \t") != std::string::npos) return refused();
  if (rest.empty() && !url.empty()) return refused();
  connection->endpoint = rest;
  return Status::OK();
}

struct KeyPair {
  const char* id;
  const char* secret;
};
constexpr std::array kKeyPairs = {KeyPair{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"},
                                  KeyPair{"MINIO_ACCESS_KEY", "MINIO_SECRET_KEY"},
                                  KeyPair{"MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD"}};

Status RefuseHalf(const std::string& id, const std::string& secret, const char* id_name,
                  const char* secret_name) {
  if (id.empty() == secret.empty()) return Status::OK();
  return MakeError(ErrorKind::kUser,
                   Concat(id.empty() ? id_name : secret_name, " is not set, but ",
                          id.empty() ? secret_name : id_name, " is"),
                   {}, "S3 needs both keys");
}

Status SetKeys(const S3Settings& settings, const Environment& environment,
               S3Connection* connection) {
  using Credentials = S3Connection::Credentials;
  if (settings.anonymous) {
    connection->credentials = Credentials::kAnonymous;
    return Status::OK();
  }
  connection->access_key_id = settings.access_key_id;
  connection->secret_access_key = settings.secret_access_key.Reveal();
  connection->session_token = settings.session_token.Reveal();
  GNOMON_RETURN_NOT_OK(RefuseHalf(connection->access_key_id, connection->secret_access_key,
                                  "access_key_id of s3", "secret_access_key of s3"));
  for (const auto& [id, secret] : kKeyPairs) {
    if (!connection->access_key_id.empty()) break;
    connection->access_key_id = First(environment, {id});
    connection->secret_access_key = First(environment, {secret});
    GNOMON_RETURN_NOT_OK(
        RefuseHalf(connection->access_key_id, connection->secret_access_key, id, secret));
    if (id == kKeyPairs[0].id && !connection->access_key_id.empty())
      connection->session_token = First(environment, {"AWS_SESSION_TOKEN"});
  }
  connection->credentials =
      connection->access_key_id.empty() ? Credentials::kProfileOrMetadata : Credentials::kKeys;
  return Status::OK();
}

Status SetAttempts(const Environment& environment, S3Connection* connection) {
  const std::string text = First(environment, {"AWS_MAX_ATTEMPTS"});
  if (text.empty()) return Status::OK();
  int attempts = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), attempts);
  if (error != std::errc() || end != text.data() + text.size() || attempts < 1 ||
      attempts > kMostAttempts) {
    return Error(ErrorKind::kUser, "AWS_MAX_ATTEMPTS must be between 1 and ", kMostAttempts,
                 ", not ", Quoted(text));
  }
  connection->max_attempts = attempts;
  return Status::OK();
}

}  // namespace

Result<S3Connection> ResolveS3(const S3Settings& settings, const Environment& environment) {
  S3Connection connection;
  std::string url = settings.endpoint_url;
  if (url.empty())
    url = First(environment, {"AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "MINIO_ENDPOINT"});
  GNOMON_RETURN_NOT_OK(SetEndpoint(url, settings.scheme, &connection));
  connection.region = settings.region;
  if (connection.region.empty())
    connection.region = First(environment, {"AWS_REGION", "AWS_DEFAULT_REGION"});
  // Without an endpoint it is the profile's.
  if (connection.region.empty() && !url.empty()) connection.region = kDefaultRegion;
  connection.path_style = settings.path_style.value_or(!url.empty());
  GNOMON_RETURN_NOT_OK(SetKeys(settings, environment, &connection));
  GNOMON_RETURN_NOT_OK(SetAttempts(environment, &connection));
  connection.ca_file =
      settings.ca_file.empty() ? First(environment, {"AWS_CA_BUNDLE"}) : settings.ca_file;
  return connection;
}

std::string EndpointOf(const S3Connection& connection) {
  return connection.endpoint.empty() ? "AWS"
                                     : Concat(connection.scheme, "://", connection.endpoint);
}

}  // namespace gnomon::table::internal
