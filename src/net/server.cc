#include "net/server.h"

#include <algorithm>
#include <csignal>
#include <ctime>
#include <exception>
#include <fcntl.h>
#include <mutex>
#include <optional>
#include <pthread.h>
#include <stop_token>
#include <thread>
#include <utility>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>

#include "base/log.h"
#include "base/parallel.h"
#include "net/io_loop_internal.h"
#include "net/server_state_internal.h"
#include "net/socket_stream_internal.h"

namespace gnomon::net {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;
using std::chrono::milliseconds;

constexpr milliseconds kAcceptPause{50};  // when descriptors or memory ran out
constexpr int kBacklog = 4096;

constexpr std::string_view kFullResponse =
    "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: 53\r\n"
    "Retry-After: 1\r\nConnection: close\r\n\r\n"
    R"({"error":"too many connections","kind":"unavailable"})";

void CloseOnExec(int descriptor) {
  fcntl(descriptor, F_SETFD, fcntl(descriptor, F_GETFD) | FD_CLOEXEC);
}

// While it lives, threads that are started do not receive signals: those are the caller's.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_;
};

Status Validate(const ServerOptions& options) {
  if (options.port < 0 || options.port > 65535) {
    return Error(ErrorKind::kUser, "the port must lie in 0 to 65535: ", options.port);
  }
  if (options.tls_cert_file.empty() != options.tls_key_file.empty()) {
    return Error(ErrorKind::kUser, "TLS needs both a certificate file and a key file");
  }
  if (options.workers < 0 || options.blocking_workers < 0) {
    return Error(ErrorKind::kUser, "the number of threads cannot be negative");
  }
  if (options.max_connections < 1 || options.max_in_flight < 1 || options.max_header_bytes < 256) {
    return Error(ErrorKind::kUser, "max_connections and max_in_flight must be at least 1, ",
                 "max_header_bytes at least 256");
  }
  if (std::min({options.header_timeout, options.body_timeout, options.write_timeout,
                options.idle_timeout}) <= milliseconds(0)) {
    return Error(ErrorKind::kUser, "the time limits of a server must be positive");
  }
  return Status::OK();
}

}  // namespace

struct HttpServer::Impl {
  Impl(ServerOptions options, Router router, Metrics* metrics)
      : state(std::move(options), std::move(router), metrics) {}

  Status Listen();
  void Run();
  void Accept();
  void Accepted(const error_code& ec, tcp::socket socket, IoLoop* loop);
  void Stop();
  Status Drain(milliseconds timeout);

  ServerState state;
  std::shared_ptr<const TlsContext> tls;
  std::vector<std::unique_ptr<IoLoop>> loops;
  std::optional<tcp::acceptor> acceptor;  // on the first loop's thread once it runs
  std::optional<asio::steady_timer> accept_pause;
  size_t next_loop = 0;
  int port = 0;
  std::mutex stop_mutex;
  std::vector<std::jthread> threads;  // guarded by stop_mutex
  bool stopped = false;               // guarded by stop_mutex

  struct StopForward {
    std::stop_source source;
    void operator()() { source.request_stop(); }
  };
  std::optional<std::stop_callback<StopForward>> stop_forward;  // from the caller's Context
};

Status HttpServer::Impl::Listen() {
  const ServerOptions& options = state.options;
  error_code ec;
  tcp::resolver resolver(loops.front()->io());
  const auto endpoints =
      resolver.resolve(options.host, std::to_string(options.port), tcp::resolver::passive, ec);
  if (ec || endpoints.empty()) {
    return Error(ErrorKind::kUser, "cannot resolve the host ", options.host, ": ", ec.message());
  }
  const tcp::endpoint endpoint = endpoints.begin()->endpoint();
  acceptor.emplace(loops.front()->io());
  accept_pause.emplace(loops.front()->io());
  const auto failed = [&]() -> Status {
    if (ec == asio::error::address_in_use) {
      return MakeError(ErrorKind::kConflict,
                       Concat("port ", options.port, " of ", options.host, " is in use"), {},
                       "stop the process that has it, or choose another port (0: any free one)");
    }
    const Status status =
        ErrnoError(ec.value(), Concat("listen on ", options.host, ":", options.port));
    return ec == asio::error::access_denied
               ? WithHint(status, "ports below 1024 need a privilege; choose a higher one")
               : status;
  };
  if (acceptor->open(endpoint.protocol(), ec)) return failed();
  CloseOnExec(acceptor->native_handle());
  // A port whose last server just ended can be taken at once; one with a living listener still
  // cannot.
  if (acceptor->set_option(tcp::acceptor::reuse_address(true), ec)) return failed();
  if (acceptor->bind(endpoint, ec)) return failed();
  if (acceptor->listen(kBacklog, ec)) return failed();
  port = acceptor->local_endpoint(ec).port();
  return Status::OK();
}

void HttpServer::Impl::Run() {
  const SignalsBlocked signals_blocked;
  const auto& routes = state.router.routes();
  if (std::ranges::any_of(routes, [](const Route& route) { return route.options.blocking; })) {
    const int asked = state.options.blocking_workers;
    state.pool.Start(asked > 0 ? asked : std::max(4, 2 * NumCpus()));
  }
  Accept();
  for (const auto& loop : loops) {
    threads.emplace_back([&loop = *loop] {
      pthread_setname_np(pthread_self(), "gnomon-net");
      loop.Run();
    });
  }
}

// Connections go to the loops in turn: even with few of them, no thread has more than its share
// (SO_REUSEPORT's hash would not see to that).
void HttpServer::Impl::Accept() {
  IoLoop* loop = loops[next_loop].get();
  next_loop = (next_loop + 1) % loops.size();
  acceptor->async_accept(loop->io(), [this, loop](const error_code& ec, tcp::socket socket) {
    Accepted(ec, std::move(socket), loop);
  });
}

void HttpServer::Impl::Accepted(const error_code& ec, tcp::socket socket, IoLoop* loop) {
  if (ec == asio::error::operation_aborted || !acceptor->is_open()) return;
  if (ec == asio::error::no_descriptors || ec == asio::error::no_buffer_space ||
      ec == asio::error::no_memory) {
    state.request_metrics.Reject("descriptors");
    LogWarning("net", "cannot accept a connection", {{"problem", ec.message()}});
    accept_pause->expires_after(kAcceptPause);
    accept_pause->async_wait([this](const error_code& aborted) {
      if (!aborted && acceptor->is_open()) Accept();
    });
    return;
  }
  error_code problem = ec;
  tcp::endpoint peer;
  if (!problem) peer = socket.remote_endpoint(problem);
  if (!problem) socket.set_option(tcp::no_delay(true), problem);
  if (!problem && state.connections.load() >= state.options.max_connections) {
    state.request_metrics.Reject("connections");
    if (tls == nullptr) {
      socket.non_blocking(true, problem);
      socket.write_some(asio::buffer(kFullResponse.data(), kFullResponse.size()), problem);
      socket.shutdown(tcp::socket::shutdown_send, problem);
    }
  } else if (!problem) {
    CloseOnExec(socket.native_handle());
    state.connections.fetch_add(1);
    asio::post(loop->io(), [loop, address = peer.address().to_string(),
                            stream = MakeSocketStream(std::move(socket), tls)]() mutable {
      loop->Add(std::move(stream), std::move(address));
    });
  }
  Accept();
}

void HttpServer::Impl::Stop() {
  const std::lock_guard lock(stop_mutex);
  if (stopped) return;
  stopped = true;
  state.draining.store(true);
  stop_forward.reset();
  state.stop.request_stop();
  state.pool.Stop();
  for (const auto& loop : loops) loop->io().stop();
  threads.clear();  // joins
  state.pool.Discard();
  acceptor.reset();
  accept_pause.reset();
  for (const auto& loop : loops) loop->Clear();
  state.connections.store(0);
  state.in_flight.store(0);
}

Status HttpServer::Impl::Drain(milliseconds timeout) {
  state.draining.store(true);
  bool closed = true;
  {
    const std::lock_guard lock(stop_mutex);
    if (stopped) return Status::OK();
    loops.front()->Post([this] {
      error_code ignored;
      acceptor->close(ignored);
      accept_pause->cancel();
      // Connections accepted before were posted to their loops before these.
      for (const auto& loop : loops) loop->Post([&loop = *loop] { loop.Drain(); });
    });
  }
  closed = state.WaitUntilClosed(timeout);
  const int cut = state.connections.load();
  Stop();
  if (closed) return Status::OK();
  return Error(ErrorKind::kDeadline, "connections were cut off by the end of draining: ", cut);
}

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpServer::~HttpServer() { Stop(); }

Result<std::unique_ptr<HttpServer>> HttpServer::Start(const ServerOptions& options, Router router,
                                                      Metrics* metrics) {
  GNOMON_RETURN_NOT_OK(Validate(options));
  const auto state_slot = std::make_shared<ServerState*>(nullptr);
  if (options.metrics_route && metrics != nullptr && !router.Has("GET", "/metrics")) {
    router.Get("/metrics",
               [state_slot, metrics](const Context&, const HttpRequest&) {
                 (*state_slot)->RefreshGauges();
                 HttpResponse response = TextResponse(200, metrics->Expose());
                 response.content_type = "text/plain; version=0.0.4; charset=utf-8";
                 return response;
               },
               {.unlimited = true});
  }
  auto impl = std::make_unique<Impl>(options, std::move(router), metrics);
  *state_slot = &impl->state;
  if (!options.tls_cert_file.empty()) {
    GNOMON_ASSIGN_OR_RETURN(impl->tls,
                            TlsContext::Load(options.tls_cert_file, options.tls_key_file));
  }
  const auto num_loops = static_cast<uint32_t>(options.workers > 0 ? options.workers : NumCpus());
  for (uint32_t index = 0; index < num_loops; ++index) {
    impl->loops.push_back(std::make_unique<IoLoop>(&impl->state, index, num_loops));
  }
  GNOMON_RETURN_NOT_OK(impl->Listen());
  impl->stop_forward.emplace(options.context.stop, Impl::StopForward{impl->state.stop});
  impl->Run();
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
}

int HttpServer::port() const { return impl_->port; }

std::string HttpServer::url() const {
  const ServerOptions& options = impl_->state.options;
  std::string host = options.host;
  if (host == "0.0.0.0") host = "127.0.0.1";
  if (host == "::") host = "::1";
  if (host.find(':') != std::string::npos) host = Concat("[", host, "]");
  return Concat(impl_->tls == nullptr ? "http://" : "https://", host, ":", impl_->port);
}

int HttpServer::in_flight() const { return impl_->state.in_flight.load(); }
int HttpServer::connections() const { return impl_->state.connections.load(); }
bool HttpServer::draining() const { return impl_->state.draining.load(); }

Status HttpServer::Drain(milliseconds timeout) { return impl_->Drain(timeout); }
void HttpServer::Stop() { impl_->Stop(); }

}  // namespace gnomon::net
