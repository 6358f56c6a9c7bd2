#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "net/http.h"
#include "net/json_columns.h"

/// What the routes have in common: bodies in, Feast's errors out.
namespace gnomon::feature_server {

// Classes of feast.errors.
inline constexpr std::string_view kFeastNotFound = "FeastObjectNotFoundException";
inline constexpr std::string_view kFeastViewNotFound = "FeatureViewNotFoundException";
inline constexpr std::string_view kFeastServiceNotFound = "FeatureServiceNotFoundException";
inline constexpr std::string_view kFeastPushSourceNotFound = "PushSourceNotFoundException";

/// The body as a JSON object with no other members than `known`.
Result<net::JsonDocument> ParseBody(const net::HttpRequest& request,
                                    const std::vector<std::string>& known);

/// A member that a request must have: its absence is the caller's mistake, not a thing that was not
/// found.
template <typename Value>
Result<Value> Required(Result<Value> member) {
  if (member.ok() || KindOf(member.status()) != ErrorKind::kNotFound) return member;
  return Error(ErrorKind::kUser, member.status().message());
}

/// HttpStatusOf the error's kind and, as Feast's servers answer, a JSON string that holds a JSON
/// object: {"module": "feast.errors", "class": ..., "message": ..., "kind": ...}. Feast's clients
/// raise this class. It is `not_found` for kNotFound. The message ends with the hint.
net::HttpResponse FeastErrorResponse(const Status& status,
                                     std::string_view not_found = kFeastNotFound);

}  // namespace gnomon::feature_server
