#include <condition_variable>
#include <unistd.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

#include "base/log.h"
#include "base/text.h"
#include "base/time.h"
#include "cli/commands.h"
#include "feature_server/feature_server.h"
#include "model_server/model_server.h"
#include "net/json.h"
#include "net/server.h"

namespace gnomon::cli {
namespace {

struct ServeFlags {
  std::string host;
  int port = -1;
  int workers = 0;
  int ready_fd = -1;
  std::string as_of;
  std::string request_timeout = "30s";
  int materializations = 2;
  std::string tls_cert;
  std::string tls_key;
  bool no_access_log = false;
  std::vector<std::string> models;
};

/// What the flags say, for both servers.
Result<net::ServerOptions> OptionsOf(const Session& session, const ServeFlags& flags) {
  net::ServerOptions options;
  options.workers = flags.workers;
  options.tls_cert_file = flags.tls_cert;
  options.tls_key_file = flags.tls_key;
  options.access_log = !flags.no_access_log;
  options.context.clock = session.context.clock;
  GNOMON_ASSIGN_OR_RETURN(const int64_t timeout, ParseDuration(flags.request_timeout));
  options.request_timeout = std::chrono::milliseconds((timeout + 999) / 1000);
  return options;
}

/// Runs until the stop token fires, then lets requests under way finish.
Status ServeUntilStopped(Session& session, const ServeFlags& flags,
                         const net::ServerOptions& options, net::Router router) {
  GNOMON_ASSIGN_OR_RETURN(auto server,
                          net::HttpServer::Start(options, std::move(router), &session.metrics));
  if (session.json) {
    std::string out;
    net::JsonWriter(&out).BeginObject().Key("url").String(server->url()).EndObject();
    Print(out);
  } else {
    Print(Concat("listening on ", server->url()));
  }
  if (flags.ready_fd >= 0) {
    const std::string line = Concat(server->port(), "\n");
    if (::write(flags.ready_fd, line.data(), line.size()) < 0)
      return ErrnoError(errno, "write to --ready-fd");
    ::close(flags.ready_fd);
  }
  std::mutex mutex;
  std::condition_variable_any stopped;
  std::unique_lock lock(mutex);
  stopped.wait(lock, session.context.stop, [] { return false; });
  LogInfo("cli", "stopping: requests under way may finish");
  return server->Drain(std::chrono::seconds(30));
}

Status ServeFeatures(Session& session, const ServeFlags& flags) {
  GNOMON_ASSIGN_OR_RETURN(auto as_of, ParseOptionalTime(flags.as_of));
  GNOMON_ASSIGN_OR_RETURN(net::ServerOptions options, OptionsOf(session, flags));
  GNOMON_ASSIGN_OR_RETURN(auto store, session.OpenStore());
  const auto& config = store->config().feature_server;
  const feature_server::RouterOptions router{
      .as_of = as_of, .stop = session.context.stop, .materializations = flags.materializations};
  options.name = "gnomon-feature-server";
  options.host = flags.host.empty() ? config.host : flags.host;
  options.port = flags.port < 0 ? config.port : flags.port;
  options.blocking_workers = feature_server::BlockingWorkers(router);
  return ServeUntilStopped(session, flags, options,
                           feature_server::MakeRouter(*store, session.metrics, router));
}

Status ServeModels(Session& session, const ServeFlags& flags) {
  GNOMON_ASSIGN_OR_RETURN(auto as_of, ParseOptionalTime(flags.as_of));
  GNOMON_ASSIGN_OR_RETURN(net::ServerOptions options, OptionsOf(session, flags));
  GNOMON_ASSIGN_OR_RETURN(auto store, session.OpenStore());
  const model::ModelRepository repository(store->config().models);
  GNOMON_ASSIGN_OR_RETURN(auto models, model_server::LoadModels(*store, repository, flags.models));
  options.name = "gnomon-model-server";
  if (!flags.host.empty()) options.host = flags.host;
  options.port = flags.port < 0 ? 8080 : flags.port;
  return ServeUntilStopped(session, flags, options,
                           model_server::MakeRouter(models, session.metrics, as_of));
}

void AddServerFlags(CLI::App* command, ServeFlags* flags, const std::string& default_port) {
  command->add_option("--host", flags->host, "Address to listen on (default: 127.0.0.1)");
  command->add_option("-p,--port", flags->port,
                      Concat("Port; 0 takes a free one (default: ", default_port, ")"));
  command->add_option("-w,--workers", flags->workers, "Threads (default: one per CPU)");
  command->add_option(
      "--as-of", flags->as_of,
      "Instant that TTL and windows count back from (default: the time of each request)");
  command->add_option("--request-timeout", flags->request_timeout,
                      "How long a request may take, such as 500ms; 0: no limit (default: 30s)");
  command->add_option("--tls-cert", flags->tls_cert, "PEM certificate chain: serve https");
  command->add_option("--tls-key", flags->tls_key, "PEM key of the certificate");
  command->add_flag("--no-access-log", flags->no_access_log,
                    "Do not log requests (they are logged at level info)");
  command->add_option("--ready-fd", flags->ready_fd,
                      "Write the port to this file descriptor when ready");
}

}  // namespace

void AddServeCommands(CLI::App& app, Action* action) {
  auto flags = std::make_shared<ServeFlags>();
  CLI::App* serve =
      app.add_subcommand("serve", "Serve online features over HTTP (Feast's protocol)");
  AddServerFlags(serve, flags.get(), "6566");
  serve
      ->add_option("--materializations", flags->materializations,
                   "How many POST /materialize run side by side (default: 2)")
      ->check(CLI::Range(1, 1000));
  serve->callback(
      [=] { *action = [flags](Session& session) { return ServeFeatures(session, *flags); }; });

  CLI::App* models =
      app.add_subcommand("serve-model", "Serve models over HTTP (KServe's V1 protocol)");
  AddServerFlags(models, flags.get(), "8080");
  models->add_option("-m,--model", flags->models, "Only these models (repeatable; default: all)");
  models->callback(
      [=] { *action = [flags](Session& session) { return ServeModels(session, *flags); }; });
}

}  // namespace gnomon::cli
