#include <algorithm>
#include <utility>

#include "base/text.h"
#include "feature_server/request_internal.h"
#include "net/json.h"

namespace gnomon::feature_server {

Result<net::JsonDocument> ParseBody(const net::HttpRequest& request,
                                    const std::vector<std::string>& known) {
  if (request.body.empty())
    return Error(ErrorKind::kUser, "the request has no body; send a JSON object");
  GNOMON_ASSIGN_OR_RETURN(
      auto document,
      net::JsonDocument::Parse(request.body, request.body.size() + net::kBodyPadding));
  GNOMON_ASSIGN_OR_RETURN(auto members, document.Members());
  for (const std::string& member : members) {
    if (std::ranges::find(known, member) == known.end()) {
      return MakeError(ErrorKind::kUser, Concat("unknown member ", Quoted(member)), {},
                       DidYouMean(member, known));
    }
  }
  return document;
}

net::HttpResponse FeastErrorResponse(const Status& status, std::string_view not_found) {
  const ErrorKind kind = KindOf(status);
  std::string_view feast_class = "FeastError";
  if (kind == ErrorKind::kNotFound) feast_class = not_found;
  if (kind == ErrorKind::kDenied) feast_class = "FeastPermissionError";
  std::string message = status.message();
  if (const std::string hint = HintOf(status); !hint.empty()) message += Concat("; ", hint);
  std::string detail;
  net::JsonWriter(&detail)
      .BeginObject()
      .Key("module")
      .String("feast.errors")
      .Key("class")
      .String(feast_class)
      .Key("message")
      .String(message)
      .Key("kind")
      .String(NameOf(kind))
      .EndObject();
  std::string body;
  net::AppendJsonString(&body, detail);
  net::HttpResponse response = net::JsonResponse(HttpStatusOf(kind), std::move(body));
  if (IsRetryable(status)) response.headers.emplace_back("Retry-After", "1");
  return response;
}

}  // namespace gnomon::feature_server
