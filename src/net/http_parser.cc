#include <algorithm>
#include <limits>
#include <optional>
#include <utility>

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/basic_parser.hpp>

#include "base/text.h"
#include "net/http_parser_internal.h"

namespace gnomon::net {
namespace {

namespace http = boost::beast::http;
using boost::beast::error_code;
using BeastView = boost::beast::string_view;

constexpr size_t kFirstReserve = size_t{1} << 20;
constexpr size_t kKeptCapacity = size_t{1} << 20;

std::string_view View(BeastView text) { return {text.data(), text.size()}; }

// Stores what Beast's parser finds: names and values in one string, the body in another.
template <bool is_request>
class Collector : public http::basic_parser<is_request> {
 public:
  struct Place {
    size_t name_size;
    size_t value_size;
  };
  struct Stored {
    std::string text;           // method, target, name, value, name, value, ...
    std::vector<Place> places;  // of the fields, in order
    std::vector<HttpField> fields;
    std::string body;
    size_t method_size = 0;
    size_t target_size = 0;
    int version = 11;
    int status = 0;
    bool head_done = false;
  };

  explicit Collector(Stored* stored) : stored_(stored) {}

 private:
  void on_request_impl(http::verb, BeastView method, BeastView target, int version,
                       error_code& ec) override {
    ec = {};
    stored_->method_size = method.size();
    stored_->target_size = target.size();
    stored_->text.append(View(method)).append(View(target));
    stored_->version = version;
  }
  void on_response_impl(int status, BeastView, int version, error_code& ec) override {
    ec = {};
    stored_->status = status;
    stored_->version = version;
  }
  void on_field_impl(http::field, BeastView name, BeastView value, error_code& ec) override {
    ec = {};
    if (stored_->head_done) return;  // a trailer
    stored_->text.append(View(name)).append(View(value));
    stored_->places.push_back({name.size(), value.size()});
  }
  void on_header_impl(error_code& ec) override {
    ec = {};
    stored_->head_done = true;
    std::string_view rest = stored_->text;
    rest.remove_prefix(stored_->method_size + stored_->target_size);
    for (const Place& place : stored_->places) {
      stored_->fields.push_back(
          {rest.substr(0, place.name_size), rest.substr(place.name_size, place.value_size)});
      rest.remove_prefix(place.name_size + place.value_size);
    }
  }
  void on_body_init_impl(const boost::optional<std::uint64_t>& length, error_code& ec) override {
    ec = {};
    // A length that is only announced reserves no more than this.
    const auto announced = static_cast<size_t>(length.value_or(0));
    stored_->body.reserve(std::min(announced, kFirstReserve) + kBodyPadding);
  }
  std::size_t on_body_impl(BeastView part, error_code& ec) override {
    ec = {};
    stored_->body.append(View(part));
    return part.size();
  }
  void on_chunk_header_impl(std::uint64_t, BeastView, error_code& ec) override { ec = {}; }
  std::size_t on_chunk_body_impl(std::uint64_t, BeastView part, error_code& ec) override {
    return on_body_impl(part, ec);
  }
  void on_finish_impl(error_code& ec) override { ec = {}; }

  Stored* stored_;
};

template <bool is_request>
void Clear(typename Collector<is_request>::Stored* stored) {
  stored->text.clear();
  stored->places.clear();
  stored->fields.clear();
  stored->body.clear();
  if (stored->body.capacity() > kKeptCapacity) stored->body.shrink_to_fit();
  stored->head_done = false;
}

uint32_t HeaderLimit(size_t max_header_bytes) {
  return static_cast<uint32_t>(
      std::min<size_t>(max_header_bytes, std::numeric_limits<int32_t>::max()));
}

ParseFailure FailureOf(const error_code& ec, std::string_view what) {
  if (ec == http::error::header_limit) return {431, Concat("the ", what, "'s header is too long")};
  if (ec == http::error::body_limit) return {413, Concat("the ", what, "'s body is too long")};
  if (ec == http::error::bad_version && what == "request") {
    return {505, "only HTTP/1.0 and HTTP/1.1 are spoken here"};
  }
  return {400, Concat("malformed ", what, ": ", ec.message())};
}

// Runs the parser over `data`; returns the bytes consumed and sets `state`.
template <typename Parser>
size_t Run(Parser* parser, std::string_view data, bool head_done, ParseState* state,
           ParseFailure* failure, std::string_view what) {
  if (data.empty()) return 0;
  error_code ec;
  const size_t used = parser->put(boost::asio::const_buffer(data.data(), data.size()), ec);
  if (ec && ec != http::error::need_more) {
    *state = ParseState::kFailed;
    *failure = FailureOf(ec, what);
  } else if (parser->is_done()) {
    *state = ParseState::kComplete;
  } else if (head_done || parser->is_header_done()) {
    *state = ParseState::kBody;
  }
  return used;
}

}  // namespace

struct RequestParser::Impl {
  Collector<true>::Stored stored;
  std::optional<Collector<true>> parser;
  size_t max_header_bytes = 0;
  size_t max_body_bytes = 0;
  ParseState state = ParseState::kHead;
  ParseFailure failure;
  std::string_view method;
  std::string_view raw_path;
  std::string_view path;
  std::string_view query;
  std::string decoded_path;
  bool expects_continue = false;

  void Fail(int status, std::string message) {
    state = ParseState::kFailed;
    failure = {status, std::move(message)};
  }

  // What Beast leaves to its user: the target's form, Host, and codings other than chunked.
  void FinishHead() {
    const std::string_view text = stored.text;
    method = text.substr(0, stored.method_size);
    std::string_view target = text.substr(stored.method_size, stored.target_size);
    for (const std::string_view scheme : {"http://", "https://"}) {
      if (!target.starts_with(scheme)) continue;
      target.remove_prefix(scheme.size());
      target.remove_prefix(std::min(target.find_first_of("/?"), target.size()));
      if (target.empty()) target = "/";
      break;
    }
    const size_t path_end = std::min(target.find('?'), target.size());
    raw_path = target.substr(0, path_end);
    query = target.substr(std::min(path_end + 1, target.size()));
    if (!raw_path.starts_with('/') && target != "*")
      return Fail(400, "malformed request: bad target");
    path = raw_path;
    if (raw_path.find('%') != std::string_view::npos) {
      auto decoded = PercentDecode(raw_path);
      if (!decoded) return Fail(400, "malformed request: bad percent-encoding in the path");
      decoded_path = std::move(*decoded);
      path = decoded_path;
    }
    int num_hosts = 0;
    bool has_coding = false;
    bool has_length = false;
    expects_continue = false;
    for (const HttpField& field : stored.fields) {
      if (EqualsIgnoringCase(field.name, "host")) {
        ++num_hosts;
      } else if (EqualsIgnoringCase(field.name, "transfer-encoding")) {
        has_coding = true;
      } else if (EqualsIgnoringCase(field.name, "content-length")) {
        has_length = true;
      } else if (EqualsIgnoringCase(field.name, "expect")) {
        if (!EqualsIgnoringCase(field.value, "100-continue")) {
          return Fail(417, "the only expectation known is 100-continue");
        }
        expects_continue = stored.version >= 11;
      }
    }
    if (num_hosts > 1 || (num_hosts == 0 && stored.version >= 11)) {
      return Fail(400, "malformed request: one Host field is needed");
    }
    if (has_coding && (has_length || stored.version < 11)) {
      return Fail(400, "malformed request: ambiguous length of the body");
    }
    if (has_coding && !parser->chunked()) {
      return Fail(501, "the only transfer coding known is chunked");
    }
  }
};

RequestParser::RequestParser(size_t max_header_bytes, size_t max_body_bytes)
    : impl_(std::make_unique<Impl>()) {
  impl_->max_header_bytes = max_header_bytes;
  impl_->max_body_bytes = max_body_bytes;
  Reset();
}
RequestParser::~RequestParser() = default;
RequestParser::RequestParser(RequestParser&&) noexcept = default;

void RequestParser::Reset() {
  Impl& impl = *impl_;
  Clear<true>(&impl.stored);
  impl.parser.emplace(&impl.stored);
  impl.parser->eager(true);
  impl.parser->header_limit(HeaderLimit(impl.max_header_bytes));
  impl.parser->body_limit(impl.max_body_bytes);
  impl.state = ParseState::kHead;
}

size_t RequestParser::Put(std::string_view data) {
  Impl& impl = *impl_;
  if (impl.state == ParseState::kComplete || impl.state == ParseState::kFailed) return 0;
  const bool had_head = impl.stored.head_done;
  const size_t used = Run(&*impl.parser, data, had_head, &impl.state, &impl.failure, "request");
  if (impl.stored.head_done && !had_head) impl.FinishHead();  // its failure goes before the body's
  if (impl.state == ParseState::kComplete) {
    impl.stored.body.reserve(impl.stored.body.size() + kBodyPadding);
  }
  return used;
}

ParseState RequestParser::state() const { return impl_->state; }
const ParseFailure& RequestParser::failure() const { return impl_->failure; }
std::string_view RequestParser::method() const { return impl_->method; }
std::string_view RequestParser::raw_path() const { return impl_->raw_path; }
std::string_view RequestParser::path() const { return impl_->path; }
std::string_view RequestParser::query() const { return impl_->query; }
std::span<const HttpField> RequestParser::fields() const { return impl_->stored.fields; }
bool RequestParser::keep_alive() const { return impl_->parser->keep_alive(); }
bool RequestParser::http_1_0() const { return impl_->stored.version < 11; }
bool RequestParser::expects_continue() const { return impl_->expects_continue; }
std::string_view RequestParser::body() const { return impl_->stored.body; }

struct ResponseParser::Impl {
  Collector<false>::Stored stored;
  Collector<false> parser{&stored};
  ParseState state = ParseState::kHead;
  ParseFailure failure;
  bool ended = false;
};

ResponseParser::ResponseParser(size_t max_header_bytes, size_t max_body_bytes, bool head_request)
    : impl_(std::make_unique<Impl>()) {
  impl_->parser.eager(true);
  impl_->parser.header_limit(HeaderLimit(max_header_bytes));
  impl_->parser.body_limit(max_body_bytes);
  impl_->parser.skip(head_request);
}
ResponseParser::~ResponseParser() = default;
ResponseParser::ResponseParser(ResponseParser&&) noexcept = default;
ResponseParser& ResponseParser::operator=(ResponseParser&&) noexcept = default;

size_t ResponseParser::Put(std::string_view data) {
  Impl& impl = *impl_;
  if (impl.state == ParseState::kComplete || impl.state == ParseState::kFailed) return 0;
  return Run(&impl.parser, data, impl.stored.head_done, &impl.state, &impl.failure, "reply");
}

void ResponseParser::PutEnd() {
  Impl& impl = *impl_;
  if (impl.state == ParseState::kComplete || impl.state == ParseState::kFailed) return;
  impl.ended = true;
  error_code ec = http::error::partial_message;
  if (impl.state == ParseState::kBody) impl.parser.put_eof(ec);
  impl.state = ec ? ParseState::kFailed : ParseState::kComplete;
  if (ec) impl.failure = {400, "the connection was closed in the middle of a reply"};
}

ParseState ResponseParser::state() const { return impl_->state; }
const ParseFailure& ResponseParser::failure() const { return impl_->failure; }
int ResponseParser::status() const { return impl_->stored.status; }
std::span<const HttpField> ResponseParser::fields() const { return impl_->stored.fields; }
bool ResponseParser::keep_alive() const { return !impl_->ended && impl_->parser.keep_alive(); }
std::string ResponseParser::TakeBody() { return std::move(impl_->stored.body); }

}  // namespace gnomon::net
