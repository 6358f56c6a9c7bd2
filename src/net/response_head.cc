#include <array>
#include <charconv>

#include "net/response_head_internal.h"

namespace gnomon::net {
namespace {

void AppendNumber(std::string* out, size_t number) {
  std::array<char, 24> text;
  out->append(text.data(), std::to_chars(text.data(), text.data() + text.size(), number).ptr);
}

bool HasLineBreak(std::string_view text) {
  return text.find_first_of(std::string_view("\r\n\0", 3)) != std::string_view::npos;
}

}  // namespace

void AppendResponseHead(const HttpResponse& response, const ResponseHead& head, std::string* out) {
  const int status = response.status >= 200 && response.status <= 599 ? response.status : 500;
  out->append("HTTP/1.1 ");
  AppendNumber(out, static_cast<size_t>(status));
  out->push_back(' ');
  out->append(ReasonOf(status));
  out->append("\r\nServer: ").append(head.server);
  out->append("\r\nDate: ").append(head.date);
  if (!response.content_type.empty() && !HasLineBreak(response.content_type)) {
    out->append("\r\nContent-Type: ").append(response.content_type);
  }
  if (head.with_length) {
    out->append("\r\nContent-Length: ");
    AppendNumber(out, response.body.size());
  }
  out->append("\r\nX-Request-Id: ").append(head.request_id);
  for (const auto& [name, value] : response.headers) {
    if (HasLineBreak(name) || HasLineBreak(value)) continue;
    out->append("\r\n").append(name).append(": ").append(value);
  }
  if (!head.connection.empty()) out->append("\r\nConnection: ").append(head.connection);
  out->append("\r\n\r\n");
}

}  // namespace gnomon::net
