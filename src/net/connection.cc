#include <algorithm>
#include <cstring>
#include <exception>
#include <limits>
#include <utility>

#include "base/log.h"
#include "net/connection_internal.h"
#include "net/response_head_internal.h"

namespace gnomon::net {
namespace {

constexpr size_t kFirstBuffer = 8 << 10;
constexpr size_t kLargestBuffer = 64 << 10;
constexpr size_t kLargeBody = 32 << 10;  // written from where it is instead of being copied
constexpr size_t kFlushAt = 64 << 10;    // of responses to pipelined requests
constexpr size_t kLargestRequestId = 128;
constexpr double kDiscardSeconds = 2;
constexpr double kNever = std::numeric_limits<double>::infinity();

double Seconds(std::chrono::milliseconds span) { return static_cast<double>(span.count()) / 1e3; }

bool IsGoodRequestId(std::string_view id) {
  return !id.empty() && id.size() <= kLargestRequestId &&
         std::ranges::all_of(id, [](char letter) { return letter > 0x20 && letter < 0x7F; });
}

std::string_view KindOfHttpStatus(int status) {
  switch (status) {
    case 404:
      return NameOf(ErrorKind::kNotFound);
    case 408:
      return NameOf(ErrorKind::kDeadline);
    case 413:
    case 429:
    case 431:
      return NameOf(ErrorKind::kExhausted);
    case 501:
    case 505:
      return NameOf(ErrorKind::kUnsupported);
    case 500:
      return NameOf(ErrorKind::kInternal);
    default:
      return NameOf(ErrorKind::kUser);
  }
}

HttpResponse ProtocolError(int status, std::string_view message) {
  return HttpErrorResponse(status, message, KindOfHttpStatus(status));
}

}  // namespace

Connection::Connection(ServerState* state, ConnectionLoop* loop, std::unique_ptr<Stream> stream,
                       std::string peer)
    : state_(state),
      loop_(loop),
      stream_(std::move(stream)),
      peer_(std::move(peer)),
      deadline_(MonotonicSeconds() + Seconds(state->options.header_timeout)),
      in_(kFirstBuffer),
      parser_(state->options.max_header_bytes, state->options.max_body_bytes),
      context_(state->base_context) {}

void Connection::Start() {
  if (state_->draining.load()) return Close();
  stream_->Handshake(Self());
}

void Connection::OnHandshake(IoResult result) {
  if (phase_ == Phase::kClosed) return;
  if (result != IoResult::kOk) return Close();
  ReadMore();
}

bool Connection::IsIdle() const { return phase_ == Phase::kReading && !started_ && begin_ == end_; }

void Connection::BeginDrain() {
  if (IsIdle()) Close();
}

void Connection::Tick(double now) {
  if (now < deadline_) return;
  if (phase_ != Phase::kReading || !started_) return Close();
  const bool has_head = parser_.state() == ParseState::kBody;
  Refuse({408, has_head ? "the request's body did not come in time"
                        : "the request's header did not come in time"});
}

// Makes free space behind end_; false when the buffer is as large as it may be.
bool Connection::MakeRoom() {
  if (begin_ == end_) begin_ = end_ = 0;
  if (end_ < in_.size()) return true;
  if (begin_ > 0) {
    std::memmove(in_.data(), in_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
    return true;
  }
  const size_t largest = std::max(kLargestBuffer, state_->options.max_header_bytes + kFirstBuffer);
  if (in_.size() >= largest) return false;
  in_.resize(std::min(in_.size() * 2, largest));
  return true;
}

void Connection::ReadMore() {
  if (reading_ || ended_ || !MakeRoom()) return;
  reading_ = true;
  stream_->Read(std::span(in_).subspan(end_), Self());
}

void Connection::OnRead(IoResult result, size_t num_bytes) {
  reading_ = false;
  if (phase_ == Phase::kClosed) return;
  if (phase_ == Phase::kDiscarding) {
    if (result != IoResult::kOk) return Close();
    reading_ = true;
    return stream_->ReadRaw(in_, Self());
  }
  end_ += num_bytes;
  if (result != IoResult::kOk) {
    ended_ = true;
    broken_ = result == IoResult::kError;
    if (request_stop_) request_stop_->request_stop();
  }
  if (phase_ == Phase::kHandling) return ReadMore();
  if (phase_ == Phase::kReading) Process();
}

// Empty lines before a request are to be ignored (RFC 9112, 2.2).
void Connection::SkipBlankLines() {
  if (parser_.state() != ParseState::kHead || started_) return;
  while (begin_ < end_ && (in_[begin_] == '\r' || in_[begin_] == '\n')) ++begin_;
  if (begin_ == end_) return;
  started_ = true;
  started_at_ = MonotonicSeconds();
}

// Takes requests out of the buffer until one is incomplete, blocks, or there is enough to write.
void Connection::Process() {
  phase_ = Phase::kReading;
  while (true) {
    SkipBlankLines();
    if (started_) begin_ += parser_.Put(Unread());
    if (parser_.state() == ParseState::kFailed) return Refuse(parser_.failure());
    if (parser_.state() != ParseState::kComplete) return Wait();
    if (!Dispatch()) return;
    parser_.Reset();
    started_ = false;
    head_seen_ = false;
    if (close_after_ || out_.size() >= kFlushAt || !out_body_.empty()) return Flush();
  }
}

// The present request is incomplete: writes what is ready, or reads on.
void Connection::Wait() {
  if (!out_.empty()) return Flush();
  if (ended_) return Close();
  const double now = MonotonicSeconds();
  if (!started_) {
    if (state_->draining.load()) return Close();
    deadline_ = now + Seconds(state_->options.idle_timeout);
  } else if (parser_.state() == ParseState::kHead) {
    deadline_ = started_at_ + Seconds(state_->options.header_timeout);
  } else {
    if (!head_seen_) {
      head_seen_ = true;
      head_seen_at_ = now;
      if (parser_.expects_continue()) {
        out_ = "HTTP/1.1 100 Continue\r\n\r\n";
        return Flush();
      }
    }
    deadline_ = head_seen_at_ + Seconds(state_->options.body_timeout);
  }
  if (reading_) return;
  if (MakeRoom()) return ReadMore();
  Refuse(parser_.state() == ParseState::kBody
             ? ParseFailure{400, "malformed request: a chunk's header is too long"}
             : ParseFailure{431, "the request's header is too long"});
}

std::string Connection::NewRequestId() {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string id = state_->id_prefix;
  const uint32_t number = loop_->NextRequestNumber();
  for (int shift = 28; shift >= 0; shift -= 4) id.push_back(kHex[(number >> shift) & 15]);
  return id;
}

void Connection::FillRequest(double now) {
  request_.method = parser_.method();
  request_.path = parser_.path();
  request_.query = parser_.query();
  request_.body = parser_.body();
  request_.peer = peer_;
  request_.headers = parser_.fields();
  request_.params = match_.params;
  const std::string_view sent_id = request_.Header("x-request-id");
  request_id_ = IsGoodRequestId(sent_id) ? std::string(sent_id) : NewRequestId();
  request_.request_id = request_id_;
  context_.trace_id = request_id_;
  if (state_->options.request_timeout.count() > 0) {
    const double end = now + Seconds(state_->options.request_timeout);
    context_.deadline = std::min(state_->base_context.deadline.value_or(end), end);
  }
  handling_since_ = now;
}

// Answers the complete request, or gives it to the pool. False when it is not answered yet.
bool Connection::Dispatch() {
  state_->router.Find(parser_.method(), parser_.raw_path(), &match_);
  const Route* route = match_.route == RouteMatch::kNone
                           ? nullptr
                           : &state_->router.routes()[static_cast<size_t>(match_.route)];
  if (route != nullptr && route->options.blocking && !out_.empty()) {
    // Earlier responses do not wait for this one; Process comes back here after the write.
    Flush();
    return false;
  }
  FillRequest(MonotonicSeconds());
  if (!parser_.keep_alive() || state_->draining.load()) close_after_ = true;
  if (route == nullptr) {
    if (match_.allow.empty()) {
      Answer(ProtocolError(404, Concat("no such path: ", request_.path)));
    } else {
      HttpResponse response =
          ProtocolError(405, Concat("this path does not know the method ", request_.method));
      response.headers.emplace_back("Allow", match_.allow);
      Answer(std::move(response));
    }
    return true;
  }
  if (state_->in_flight.fetch_add(1) >= state_->options.max_in_flight &&
      !route->options.unlimited) {
    state_->in_flight.fetch_sub(1);
    state_->request_metrics.Reject("in_flight");
    HttpResponse response = ProtocolError(429, "too many requests at once");
    response.headers.emplace_back("Retry-After", "1");
    Answer(std::move(response));
    return true;
  }
  if (route->options.blocking) {
    HandleOnPool(*route);
    return false;
  }
  HttpResponse response = Handle(*route);
  state_->in_flight.fetch_sub(1);
  Answer(std::move(response));
  return true;
}

HttpResponse Connection::Handle(const Route& route) {
  std::string problem;
  try {
    return route.handler(context_, request_);
  } catch (const std::exception& error) {
    problem = error.what();
  } catch (...) {
    problem = "unknown exception";
  }
  LogError("net", "a handler threw",
           {{"route", route.pattern}, {"problem", problem}, {"request_id", request_id_}});
  return ProtocolError(500, "internal error");
}

void Connection::HandleOnPool(const Route& route) {
  phase_ = Phase::kHandling;
  deadline_ = kNever;
  request_stop_.emplace();
  if (ended_) request_stop_->request_stop();
  stop_forward_.emplace(state_->base_context.stop, StopForward{*request_stop_});
  context_.stop = request_stop_->get_token();
  ReadMore();  // to see the client go
  state_->pool.Submit([self = Self(), &route] {
    self->response_ = self->Handle(route);
    self->state_->in_flight.fetch_sub(1);
    self->loop_->Post([self] { self->FinishHandling(); });
  });
}

void Connection::FinishHandling() {
  if (phase_ == Phase::kClosed) return;
  stop_forward_.reset();
  request_stop_.reset();
  context_.stop = state_->base_context.stop;
  if (state_->draining.load()) close_after_ = true;
  Answer(std::move(response_));
  if (broken_) return Close();
  parser_.Reset();
  started_ = false;
  head_seen_ = false;
  Flush();
}

void Connection::Answer(HttpResponse response) {
  const double seconds = MonotonicSeconds() - handling_since_;
  state_->request_metrics.Observe(match_.route, request_.method, response.status, seconds);
  if (state_->options.access_log) LogAccess(response, seconds);
  const bool without_body = response.status == 204 || response.status == 304;
  const bool keeps_1_0 = !close_after_ && parser_.http_1_0();
  AppendResponseHead(response,
                     {.server = state_->options.name,
                      .date = loop_->Date(),
                      .request_id = request_id_,
                      .connection = close_after_ ? "close"
                                    : keeps_1_0  ? "keep-alive"
                                                 : "",
                      .with_length = !without_body},
                     &out_);
  if (without_body || request_.method == "HEAD") return;
  if (response.body.size() < kLargeBody) {
    out_.append(response.body);
  } else {
    out_body_ = std::move(response.body);
  }
}

void Connection::LogAccess(const HttpResponse& response, double seconds) const {
  if (!LogEnabled(LogLevel::kInfo)) return;
  LogInfo("net", "request",
          {{"method", request_.method},
           {"path", request_.path},
           {"status", Concat(response.status)},
           {"seconds", Concat(seconds)},
           {"bytes", Concat(response.body.size())},
           {"peer", request_.peer},
           {"request_id", request_id_}});
}

// Answers a request that is not valid or not complete; the connection cannot go on after it.
void Connection::Refuse(const ParseFailure& failure) {
  match_.route = RouteMatch::kNone;
  match_.params.clear();
  const bool has_head = parser_.state() == ParseState::kBody;
  if (has_head) {
    FillRequest(started_at_);
    request_.body = {};
  } else {
    request_ = {};
    request_.method = "unknown";
    request_.peer = peer_;
    request_id_ = NewRequestId();
    request_.request_id = request_id_;
    handling_since_ = started_at_;
  }
  if (failure.status == 408) state_->request_metrics.Reject("timeout");
  if (failure.status == 413) state_->request_metrics.Reject("body_bytes");
  if (failure.status == 431) state_->request_metrics.Reject("header_bytes");
  close_after_ = true;
  discard_after_ = true;
  Answer(ProtocolError(failure.status, failure.message));
  Flush();
}

void Connection::Flush() {
  phase_ = Phase::kWriting;
  deadline_ = MonotonicSeconds() + Seconds(state_->options.write_timeout);
  stream_->Write(out_, out_body_, Self());
}

void Connection::OnWrite(IoResult result) {
  if (phase_ == Phase::kClosed) return;
  out_.clear();
  if (out_.capacity() > 2 * kFlushAt) out_.shrink_to_fit();
  out_body_ = {};
  if (result != IoResult::kOk) return Close();
  if (close_after_) return BeginClose();
  Process();
}

void Connection::BeginClose() {
  if (ended_ || (reading_ && !discard_after_)) return Close();
  deadline_ = MonotonicSeconds() + kDiscardSeconds;
  if (reading_) {  // what the pending read brings is thrown away
    phase_ = Phase::kDiscarding;
    return stream_->ShutdownRaw();
  }
  phase_ = Phase::kShuttingDown;
  stream_->Shutdown(Self());
}

// A socket that is closed with unread bytes in it sends a reset, which may overtake the response.
// So after a refusal what the client still sends is read and thrown away, for a short time.
void Connection::OnShutdown() {
  if (phase_ == Phase::kClosed) return;
  if (!discard_after_ && begin_ == end_) return Close();
  phase_ = Phase::kDiscarding;
  reading_ = true;
  stream_->ReadRaw(in_, Self());
}

void Connection::Close() {
  if (phase_ == Phase::kClosed) return;
  phase_ = Phase::kClosed;
  if (request_stop_) request_stop_->request_stop();
  stream_->Close();
  loop_->Forget(this);
}

}  // namespace gnomon::net
