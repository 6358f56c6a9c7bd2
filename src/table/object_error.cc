#include <algorithm>
#include <array>
#include <cerrno>
#include <string_view>

#include <arrow/util/io_util.h>

#include "base/text.h"
#include "table/object_store_internal.h"

/// Arrow's client says "When reading information for key 'k' in bucket 'b': AWS Error ACCESS_DENIED
/// during HeadObject operation: text". Of that the code decides; the text is the service's own.
namespace gnomon::table::internal {

namespace {

enum class Trouble {
  kMissing,
  kDenied,
  kKeys,
  kClock,
  kRegion,
  kBusy,
  kCertificate,
  kNetwork,
  kOther
};

struct Code {
  std::string_view word;
  Trouble trouble;
};

/// In the order in which they are looked for: as Arrow spells what it knows, and as services do.
constexpr std::array kCodes = {
    Code{"NO_SUCH_BUCKET", Trouble::kMissing},
    Code{"NO_SUCH_KEY", Trouble::kMissing},
    Code{"NO_SUCH_UPLOAD", Trouble::kMissing},
    Code{"RESOURCE_NOT_FOUND", Trouble::kMissing},
    Code{"INVALID_ACCESS_KEY_ID", Trouble::kKeys},
    Code{"InvalidAccessKeyId", Trouble::kKeys},
    Code{"SIGNATURE_DOES_NOT_MATCH", Trouble::kKeys},
    Code{"SignatureDoesNotMatch", Trouble::kKeys},
    Code{"INVALID_CLIENT_TOKEN_ID", Trouble::kKeys},
    Code{"UNRECOGNIZED_CLIENT", Trouble::kKeys},
    Code{"INCOMPLETE_SIGNATURE", Trouble::kKeys},
    Code{"MISSING_AUTHENTICATION_TOKEN", Trouble::kKeys},
    Code{"INVALID_SIGNATURE", Trouble::kKeys},
    Code{"ExpiredToken", Trouble::kKeys},
    Code{"InvalidToken", Trouble::kKeys},
    Code{"REQUEST_TIME_TOO_SKEWED", Trouble::kClock},
    Code{"RequestTimeTooSkewed", Trouble::kClock},
    Code{"REQUEST_EXPIRED", Trouble::kClock},
    Code{"PermanentRedirect", Trouble::kRegion},
    Code{"AuthorizationHeaderMalformed", Trouble::kRegion},
    Code{"Looks like the configured region", Trouble::kRegion},
    Code{"ACCESS_DENIED", Trouble::kDenied},
    Code{"AllAccessDisabled", Trouble::kDenied},
    Code{"SLOW_DOWN", Trouble::kBusy},
    Code{"THROTTLING", Trouble::kBusy},
    Code{"SERVICE_UNAVAILABLE", Trouble::kBusy},
    Code{"INTERNAL_FAILURE", Trouble::kBusy},
    Code{"REQUEST_TIMEOUT", Trouble::kBusy},
    Code{"peer certificate", Trouble::kCertificate},
    Code{"SSL CA cert", Trouble::kCertificate},
    Code{"NETWORK_CONNECTION", Trouble::kNetwork},
};

Trouble TroubleOf(const Status& status, std::string_view text) {
  if (arrow::internal::ErrnoFromStatus(status) == ENOENT) return Trouble::kMissing;
  for (const Code& code : kCodes) {
    if (text.find(code.word) != std::string_view::npos) return code.trouble;
  }
  return Trouble::kOther;
}

std::string_view Between(std::string_view text, std::string_view before, std::string_view after) {
  const size_t begin = text.find(before);
  if (begin == std::string_view::npos) return {};
  const size_t from = begin + before.size();
  const size_t end = text.find(after, from);
  return text.substr(from, end == std::string_view::npos ? end : end - from);
}

/// What the service or the network said, in brackets; without ids of requests.
std::string Said(std::string_view text) {
  std::string_view code = Between(text, "AWS Error ", " during ");
  std::string_view said = Between(text, " operation: ", " (Request ID");
  if (const std::string_view details = Between(said, "Details: ", "\n"); !details.empty())
    said = details;
  if (const std::string_view name = Between(said, "ExceptionName: ", " Message"); !name.empty())
    code = name;
  if (const std::string_view message = Between(said, " Message: ", "\n"); !message.empty())
    said = message;
  said = Trim(said);
  if (said.starts_with("No response body")) said = {};
  if (code.empty()) return Concat(" (", Trim(text), ")");
  return said.empty() ? Concat(" (", code, ")") : Concat(" (", code, ": ", said, ")");
}

constexpr const char* kKeysHint =
    "the keys are those of s3: in feature_store.yaml, else AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY, else MINIO_ACCESS_KEY and MINIO_SECRET_KEY, else of the shared "
    "credentials file";

}  // namespace

Status ObjectError(const Status& status, const std::string& what, const std::string& endpoint) {
  if (status.ok() || dynamic_cast<const ErrorDetail*>(status.detail().get()) != nullptr)
    return status;
  if (status.IsCancelled()) return Error(ErrorKind::kCancelled, what, ": ", status.message());
  if (status.IsOutOfMemory()) return Error(ErrorKind::kExhausted, what, ": ", status.message());
  const std::string text = status.message();
  const std::string at = endpoint == "AWS" ? "" : Concat(" at ", endpoint);
  switch (TroubleOf(status, text)) {
    case Trouble::kMissing:
      if (text.find("NO_SUCH_BUCKET") != std::string::npos)
        return Error(ErrorKind::kNotFound, "there is no such bucket", at, ": ", what);
      return Error(ErrorKind::kNotFound, "there is no such object", at, ": ", what);
    case Trouble::kDenied:
      return MakeError(
          ErrorKind::kDenied, Concat("access to ", what, " is refused", at, Said(text)), {},
          Concat("the bucket's policy does not allow this to these credentials; ", kKeysHint));
    case Trouble::kKeys:
      return MakeError(ErrorKind::kUnauthenticated,
                       Concat("the credentials for ", what, " are not accepted", at, Said(text)),
                       {}, kKeysHint);
    case Trouble::kClock:
      return MakeError(ErrorKind::kUnauthenticated,
                       Concat("the request for ", what, " is out of date", at, Said(text)), {},
                       "set the clock of this machine");
    case Trouble::kRegion:
      return MakeError(ErrorKind::kUser,
                       Concat("the bucket of ", what, " lies in another region", at, Said(text)),
                       {}, "set region of s3: in feature_store.yaml, or AWS_REGION");
    case Trouble::kBusy:
      return MakeError(ErrorKind::kUnavailable,
                       Concat("the S3 service does not answer for ", what, at, Said(text)), {},
                       "every request was tried several times; run it again later, or with a "
                       "higher AWS_MAX_ATTEMPTS");
    case Trouble::kCertificate:
      return MakeError(ErrorKind::kUnauthenticated,
                       Concat("the certificate of the S3 service is not trusted", at,
                              ", asked for ", what, Said(text)),
                       {},
                       "name the file of who signed it: ca_file of s3: in feature_store.yaml, or "
                       "AWS_CA_BUNDLE");
    case Trouble::kNetwork:
      return MakeError(ErrorKind::kUnavailable,
                       Concat("the S3 service cannot be reached for ", what, at, Said(text)), {},
                       "is the endpoint right (endpoint_url of s3: in feature_store.yaml, "
                       "AWS_ENDPOINT_URL, MINIO_ENDPOINT), and does the service run?");
    case Trouble::kOther:
      break;
  }
  return Error(ErrorKind::kUnavailable, "the S3 service refuses a request for ", what, at,
               Said(text));
}

}  // namespace gnomon::table::internal
