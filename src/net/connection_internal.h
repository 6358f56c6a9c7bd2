#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "net/http_parser_internal.h"
#include "net/server_state_internal.h"
#include "net/stream_internal.h"

namespace gnomon::net {

class Connection;

/// The thread that a connection lives on.
class ConnectionLoop {
 public:
  virtual ~ConnectionLoop() = default;
  /// Runs `task` on the loop's thread; may be called from any thread.
  virtual void Post(std::function<void()> task) = 0;

  // On the loop's thread.
  virtual void Forget(Connection* connection) = 0;
  virtual std::string_view Date() = 0;  ///< now, as the Date field has it
  virtual uint32_t NextRequestNumber() = 0;
};

/// One client: reads requests, runs their handlers, writes the responses in order. Everything
/// happens on the loop's thread, except that the handler of a blocking route runs on the pool;
/// meanwhile the connection only watches for the client's end of file.
///
/// There is no timer per request: the loop calls Tick now and then, and one deadline says when the
/// present phase is too long.
class Connection : public StreamOwner, public std::enable_shared_from_this<Connection> {
 public:
  Connection(ServerState* state, ConnectionLoop* loop, std::unique_ptr<Stream> stream,
             std::string peer);

  void Start();
  /// `now` is MonotonicSeconds().
  void Tick(double now);
  /// Closes it when no request is under way; otherwise the response will be the last.
  void BeginDrain();

  void OnHandshake(IoResult result) override;
  void OnRead(IoResult result, size_t num_bytes) override;
  void OnWrite(IoResult result) override;
  void OnShutdown() override;

  size_t place_in_loop = 0;  ///< kept by the loop

 private:
  enum class Phase { kReading, kHandling, kWriting, kShuttingDown, kDiscarding, kClosed };
  struct StopForward {
    std::stop_source source;
    void operator()() { source.request_stop(); }
  };

  std::string_view Unread() const { return {in_.data() + begin_, end_ - begin_}; }
  std::shared_ptr<Connection> Self() { return shared_from_this(); }
  bool IsIdle() const;
  bool MakeRoom();
  void ReadMore();
  void SkipBlankLines();
  void Process();
  void Wait();
  std::string NewRequestId();
  bool Dispatch();
  void FillRequest(double now);
  HttpResponse Handle(const Route& route);
  void HandleOnPool(const Route& route);
  void FinishHandling();
  void Answer(HttpResponse response);
  void Refuse(const ParseFailure& failure);
  void LogAccess(const HttpResponse& response, double seconds) const;
  void Flush();
  void BeginClose();
  void Close();

  // Constant after construction.
  ServerState* const state_;
  ConnectionLoop* const loop_;
  const std::unique_ptr<Stream> stream_;
  const std::string peer_;

  Phase phase_ = Phase::kReading;
  double deadline_;       // MonotonicSeconds at which the phase is too long
  bool reading_ = false;  // a read of the stream is pending
  bool ended_ = false;    // the client sends no more
  bool broken_ = false;   // nor receives

  // Bytes received and not yet parsed: [begin_, end_).
  std::vector<char> in_;
  size_t begin_ = 0;
  size_t end_ = 0;

  // The present request.
  RequestParser parser_;
  bool started_ = false;  // a byte of it came
  double started_at_ = 0;
  bool head_seen_ = false;  // before its body was complete
  double head_seen_at_ = 0;
  RouteMatch match_;
  Context context_;
  HttpRequest request_;
  std::string request_id_;
  double handling_since_ = 0;
  HttpResponse response_;  // of a blocking handler
  std::optional<std::stop_source> request_stop_;
  std::optional<std::stop_callback<StopForward>> stop_forward_;

  // Responses to write.
  std::string out_;
  std::string out_body_;  // a large body, after out_
  bool close_after_ = false;
  bool discard_after_ = false;  // the client may still be sending what we refused
};

}  // namespace gnomon::net
