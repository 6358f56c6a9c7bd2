#pragma once

#include <string>
#include <string_view>

#include "net/http.h"

namespace gnomon::net {

/// What the server itself says in every response.
struct ResponseHead {
  std::string_view server;
  std::string_view date;
  std::string_view request_id;
  std::string_view connection;  ///< "close", "keep-alive", or empty: nothing
  bool with_length = true;
};

/// Appends the status line and the fields, with the empty line. A status outside 200 to 599 becomes
/// 500; fields with line breaks are left out.
void AppendResponseHead(const HttpResponse& response, const ResponseHead& head, std::string* out);

}  // namespace gnomon::net
