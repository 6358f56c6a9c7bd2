#include "net/http.h"

#include <algorithm>

#include "base/text.h"
#include "net/json.h"

namespace gnomon::net {
namespace {

constexpr char kJson[] = "application/json";

char LowerAscii(char letter) {
  return letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter - 'A' + 'a') : letter;
}

int HexDigit(char digit) {
  if (digit >= '0' && digit <= '9') return digit - '0';
  const char lower = LowerAscii(digit);
  if (lower >= 'a' && lower <= 'f') return lower - 'a' + 10;
  return -1;
}

}  // namespace

bool EqualsIgnoringCase(std::string_view left, std::string_view right) {
  return std::ranges::equal(left, right, {}, LowerAscii, LowerAscii);
}

std::string_view HttpRequest::Header(std::string_view name) const {
  const auto found = std::ranges::find_if(
      headers, [&](const HttpField& field) { return EqualsIgnoringCase(field.name, name); });
  return found == headers.end() ? std::string_view() : found->value;
}

std::string_view HttpRequest::Param(std::string_view name) const {
  const auto found = std::ranges::find(params, name, &HttpField::name);
  return found == params.end() ? std::string_view() : found->value;
}

std::optional<std::string> HttpRequest::QueryParam(std::string_view name) const {
  for (const std::string& pair : Split(query, '&')) {
    const size_t equals = std::min(pair.find('='), pair.size());
    const std::string_view text = pair;
    const auto key = PercentDecode(text.substr(0, equals), true);
    if (!key || *key != name) continue;
    return PercentDecode(text.substr(std::min(equals + 1, text.size())), true);
  }
  return std::nullopt;
}

HttpResponse JsonResponse(int status, std::string json) {
  return {.status = status, .content_type = kJson, .body = std::move(json), .headers = {}};
}

HttpResponse TextResponse(int status, std::string text) {
  return {.status = status,
          .content_type = "text/plain; charset=utf-8",
          .body = std::move(text),
          .headers = {}};
}

HttpResponse ErrorResponse(const Status& status) {
  const ErrorKind kind = KindOf(status);
  std::string json;
  JsonWriter writer(&json);
  writer.BeginObject().Key("error").String(status.message()).Key("kind").String(NameOf(kind));
  if (const std::string hint = HintOf(status); !hint.empty()) writer.Key("hint").String(hint);
  writer.EndObject();
  HttpResponse response = JsonResponse(HttpStatusOf(kind), std::move(json));
  if (IsRetryable(status)) response.headers.emplace_back("Retry-After", "1");
  return response;
}

HttpResponse HttpErrorResponse(int status, std::string_view message, std::string_view kind) {
  std::string json;
  JsonWriter(&json).BeginObject().Key("error").String(message).Key("kind").String(kind).EndObject();
  return JsonResponse(status, std::move(json));
}

std::string_view ReasonOf(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 201:
      return "Created";
    case 202:
      return "Accepted";
    case 204:
      return "No Content";
    case 206:
      return "Partial Content";
    case 301:
      return "Moved Permanently";
    case 302:
      return "Found";
    case 303:
      return "See Other";
    case 304:
      return "Not Modified";
    case 307:
      return "Temporary Redirect";
    case 308:
      return "Permanent Redirect";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 406:
      return "Not Acceptable";
    case 408:
      return "Request Timeout";
    case 409:
      return "Conflict";
    case 411:
      return "Length Required";
    case 412:
      return "Precondition Failed";
    case 413:
      return "Content Too Large";
    case 415:
      return "Unsupported Media Type";
    case 417:
      return "Expectation Failed";
    case 422:
      return "Unprocessable Content";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 499:
      return "Client Closed Request";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 502:
      return "Bad Gateway";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    case 505:
      return "HTTP Version Not Supported";
    default:
      return "Unknown";
  }
}

std::optional<std::string> PercentDecode(std::string_view text, bool plus_is_blank) {
  std::string decoded;
  decoded.reserve(text.size());
  for (size_t index = 0; index < text.size(); ++index) {
    if (text[index] == '+' && plus_is_blank) {
      decoded.push_back(' ');
    } else if (text[index] != '%') {
      decoded.push_back(text[index]);
    } else {
      if (text.size() - index < 3) return std::nullopt;
      const int high = HexDigit(text[index + 1]);
      const int low = HexDigit(text[index + 2]);
      if (high < 0 || low < 0 || high + low == 0) return std::nullopt;
      decoded.push_back(static_cast<char>(high * 16 + low));
      index += 2;
    }
  }
  return decoded;
}

std::string PercentEncode(std::string_view text) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string encoded;
  encoded.reserve(text.size());
  for (const char letter : text) {
    const char lower = LowerAscii(letter);
    const bool unreserved = (lower >= 'a' && lower <= 'z') || (letter >= '0' && letter <= '9') ||
                            std::string_view("-._~").find(letter) != std::string_view::npos;
    if (unreserved) {
      encoded.push_back(letter);
    } else {
      const auto value = static_cast<unsigned char>(letter);
      encoded.append({'%', kHex[value >> 4], kHex[value & 15]});
    }
  }
  return encoded;
}

}  // namespace gnomon::net
