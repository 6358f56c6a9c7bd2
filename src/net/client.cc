#include "net/client.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <utility>

#include "net/client_socket_internal.h"
#include "net/http.h"
#include "net/http_parser_internal.h"

namespace gnomon::net {
namespace {

constexpr size_t kReadSize = 64 << 10;
constexpr size_t kMaxHeaderBytes = 256 << 10;

bool HasControl(std::string_view text) {
  return std::ranges::any_of(text, [](char letter) {
    return (static_cast<unsigned char>(letter) < 0x20 && letter != '\t') || letter == 0x7F;
  });
}

bool HasField(const HttpHeaders& headers, std::string_view name) {
  return std::ranges::any_of(
      headers, [&](const auto& field) { return EqualsIgnoringCase(field.first, name); });
}

bool IsIdempotent(std::string_view method) {
  static constexpr std::array<std::string_view, 5> kIdempotent = {"GET", "HEAD", "PUT", "DELETE",
                                                                  "OPTIONS"};
  return std::ranges::find(kIdempotent, method) != kIdempotent.end();
}

// The request line and the fields; small bodies follow in the same write.
Result<std::string> FormatRequest(std::string_view method, const Url& url,
                                  const HttpHeaders& headers, std::string_view body,
                                  const std::string& user_agent) {
  const bool bad_target = !url.target.starts_with('/') || HasControl(url.target) ||
                          url.target.find(' ') != std::string::npos;
  if (bad_target) return Error(ErrorKind::kUser, "bad path in a URL: ", url.target);
  if (method.empty() || HasControl(method) || method.find(' ') != std::string_view::npos) {
    return Error(ErrorKind::kUser, "bad HTTP method: ", method);
  }
  std::string text = Concat(method, " ", url.target, " HTTP/1.1\r\n");
  const auto append = [&text](std::string_view name, std::string_view value) {
    text.append(name).append(": ").append(value).append("\r\n");
  };
  if (!HasField(headers, "host")) append("Host", url.Authority());
  if (!HasField(headers, "user-agent")) append("User-Agent", user_agent);
  if (!HasField(headers, "accept")) append("Accept", "*/*");
  const bool wants_length =
      !body.empty() || method == "POST" || method == "PUT" || method == "PATCH";
  if (wants_length && !HasField(headers, "content-length")) {
    append("Content-Length", std::to_string(body.size()));
  }
  for (const auto& [name, value] : headers) {
    if (name.empty() || HasControl(name) || name.find_first_of(": ") != std::string::npos ||
        HasControl(value)) {
      return Error(ErrorKind::kUser, "a header with forbidden characters: ", name);
    }
    append(name, value);
  }
  text.append("\r\n");
  return text;
}

}  // namespace

Result<Url> Url::Parse(std::string_view text) {
  const auto bad = [&](std::string_view why) {
    return Error(ErrorKind::kUser, "not an http or https URL: ", text, " (", why, ")");
  };
  Url url;
  const size_t scheme_end = text.find("://");
  if (scheme_end == std::string_view::npos) return bad("no scheme");
  url.scheme = ToLower(text.substr(0, scheme_end));
  if (url.scheme != "http" && url.scheme != "https") return bad("another scheme");
  url.port = url.scheme == "https" ? 443 : 80;
  std::string_view rest = text.substr(scheme_end + 3);
  rest = rest.substr(0, rest.find('#'));
  const size_t authority_end = std::min(rest.find_first_of("/?"), rest.size());
  std::string_view authority = rest.substr(0, authority_end);
  const std::string_view target = rest.substr(authority_end);
  url.target = target.starts_with('/') ? std::string(target) : Concat("/", target);
  if (authority.find('@') != std::string_view::npos) {
    return Error(ErrorKind::kUser, "user names in URLs are not taken; use a header");
  }
  std::string_view port;
  if (authority.starts_with('[')) {
    const size_t close = authority.find(']');
    if (close == std::string_view::npos) return bad("no ']'");
    url.host = authority.substr(1, close - 1);
    port = authority.substr(close + 1);
    if (!port.empty() && !port.starts_with(':')) return bad("text after ']'");
  } else {
    const size_t colon = std::min(authority.find(':'), authority.size());
    url.host = authority.substr(0, colon);
    port = authority.substr(colon);
  }
  if (url.host.empty() || HasControl(url.host) || url.host.find(' ') != std::string::npos) {
    return bad("no host");
  }
  if (port.size() > 1) {
    port.remove_prefix(1);
    const auto parsed = std::from_chars(port.data(), port.data() + port.size(), url.port);
    if (parsed.ec != std::errc() || parsed.ptr != port.data() + port.size() || url.port < 1 ||
        url.port > 65535) {
      return bad("bad port");
    }
  }
  return url;
}

std::string Url::Authority() const {
  const std::string name = host.find(':') == std::string::npos ? host : Concat("[", host, "]");
  const bool usual = port == (scheme == "https" ? 443 : 80);
  return usual ? name : Concat(name, ":", port);
}

std::string_view HttpReply::Header(std::string_view name) const {
  const auto found = std::ranges::find_if(
      headers, [&](const auto& field) { return EqualsIgnoringCase(field.first, name); });
  return found == headers.end() ? std::string_view() : found->second;
}

struct HttpClient::Impl {
  HttpClientOptions options;
  std::map<std::string, std::unique_ptr<ClientSocket>> idle;  // by origin
  std::vector<char> buffer = std::vector<char>(kReadSize);

  struct Outcome {
    HttpReply reply;
    bool keep = false;
  };

  // Sends and receives on an open socket. `*began` says whether a byte of the reply came.
  Result<Outcome> Exchange(const Context& context, ClientSocket& socket, std::string_view method,
                           std::string_view head, std::string_view body, bool* began);
  Result<std::unique_ptr<ClientSocket>> Connect(const Context& context, const Url& url) const;
};

Result<std::unique_ptr<ClientSocket>> HttpClient::Impl::Connect(const Context& context,
                                                                const Url& url) const {
  auto socket = ClientSocket::Connect(context.WithTimeout(options.connect_timeout), url, options);
  if (socket.ok()) return socket;
  // The limit of the connection alone means that the service does not answer.
  if (KindOf(socket.status()) == ErrorKind::kDeadline && context.Check().ok()) {
    return Error(ErrorKind::kUnavailable, "cannot connect to ", url.Authority(), ": no answer");
  }
  return WithContext(socket.status(), Concat("cannot connect to ", url.Authority()));
}

Result<HttpClient::Impl::Outcome> HttpClient::Impl::Exchange(const Context& context,
                                                             ClientSocket& socket,
                                                             std::string_view method,
                                                             std::string_view head,
                                                             std::string_view body, bool* began) {
  Status written = socket.WriteAll(context, head);
  if (written.ok() && !body.empty()) written = socket.WriteAll(context, body);
  // A server that refuses a body answers before it has read all of it: look for the answer first.
  if (!written.ok() && KindOf(written) != ErrorKind::kUnavailable) return written;
  ResponseParser parser(kMaxHeaderBytes, options.max_body_bytes, method == "HEAD");
  size_t begin = 0;
  size_t end = 0;
  while (true) {
    begin += parser.Put({buffer.data() + begin, end - begin});
    if (parser.state() == ParseState::kComplete) {
      if (parser.status() / 100 != 1) break;
      parser = ResponseParser(kMaxHeaderBytes, options.max_body_bytes, method == "HEAD");
      continue;
    }
    if (parser.state() == ParseState::kFailed) {
      const ErrorKind kind =
          parser.failure().status == 413 ? ErrorKind::kExhausted : ErrorKind::kUnavailable;
      return Error(kind, parser.failure().message);
    }
    if (begin > 0) {
      std::copy(buffer.begin() + static_cast<ptrdiff_t>(begin),
                buffer.begin() + static_cast<ptrdiff_t>(end), buffer.begin());
      end -= begin;
      begin = 0;
    }
    if (end == buffer.size()) {
      if (buffer.size() >= 2 * kMaxHeaderBytes) {
        return Error(ErrorKind::kUnavailable, "malformed reply: its header is too long");
      }
      buffer.resize(buffer.size() * 2);
    }
    const auto received = socket.ReadSome(context, std::span(buffer).subspan(end));
    if (!received.ok()) return written.ok() ? received.status() : written;
    if (*received == 0) {
      if (!*began && !written.ok()) return written;
      parser.PutEnd();
    } else {
      *began = true;
      end += *received;
    }
  }
  Outcome outcome;
  outcome.reply.status = parser.status();
  for (const HttpField& field : parser.fields()) {
    outcome.reply.headers.emplace_back(field.name, field.value);
  }
  outcome.reply.body = parser.TakeBody();
  outcome.keep = written.ok() && parser.keep_alive() && begin == end;
  return outcome;
}

HttpClient::HttpClient(HttpClientOptions options) : impl_(std::make_unique<Impl>()) {
  impl_->options = std::move(options);
}
HttpClient::~HttpClient() = default;
HttpClient::HttpClient(HttpClient&&) noexcept = default;
HttpClient& HttpClient::operator=(HttpClient&&) noexcept = default;

Result<HttpReply> HttpClient::Request(const Context& context, std::string_view method,
                                      const Url& url, const HttpHeaders& headers,
                                      std::string_view body) {
  GNOMON_RETURN_NOT_OK(context.Check());
  GNOMON_ASSIGN_OR_RETURN(std::string head,
                          FormatRequest(method, url, headers, body, impl_->options.user_agent));
  if (body.size() <= kReadSize) {
    head.append(body);
    body = {};
  }
  const std::string origin = Concat(url.scheme, "://", url.host, ":", url.port);
  std::unique_ptr<ClientSocket> socket;
  if (const auto kept = impl_->idle.extract(origin); !kept.empty())
    socket = std::move(kept.mapped());
  if (socket != nullptr && !socket->IsIdleAndOpen()) socket.reset();
  bool reused = socket != nullptr;
  while (true) {
    if (socket == nullptr) {
      GNOMON_ASSIGN_OR_RETURN(socket, impl_->Connect(context, url));
    }
    bool began = false;
    auto outcome = impl_->Exchange(context, *socket, method, head, body, &began);
    if (outcome.ok()) {
      if (outcome->keep) impl_->idle[origin] = std::move(socket);
      return std::move(outcome->reply);
    }
    const bool again = reused && !began && IsIdempotent(method) &&
                       KindOf(outcome.status()) == ErrorKind::kUnavailable;
    if (!again) return WithContext(outcome.status(), Concat(method, " ", origin, url.target));
    socket.reset();
    reused = false;
  }
}

Result<HttpReply> HttpClient::Request(const Context& context, std::string_view method,
                                      std::string_view url, const HttpHeaders& headers,
                                      std::string_view body) {
  GNOMON_ASSIGN_OR_RETURN(const Url parsed, Url::Parse(url));
  return Request(context, method, parsed, headers, body);
}

Result<HttpReply> HttpClient::Get(const Context& context, std::string_view url) {
  return Request(context, "GET", url);
}

Result<HttpReply> HttpClient::PostJson(const Context& context, std::string_view url,
                                       std::string_view json) {
  return Request(context, "POST", url, {{"Content-Type", "application/json"}}, json);
}

void HttpClient::Close() { impl_->idle.clear(); }

}  // namespace gnomon::net
