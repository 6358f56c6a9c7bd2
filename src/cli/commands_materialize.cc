#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

#include "base/text.h"
#include "base/time.h"
#include "cli/commands.h"
#include "net/json.h"

namespace gnomon::cli {
namespace {

struct MaterializeFlags {
  std::string start;
  std::string end;
  std::vector<std::string> views;
  bool force = false;
};

Status PrintJob(const Session& session, const feature::MaterializationJob& job) {
  const double seconds = static_cast<double>(job.finished - job.started) / kMicrosPerSecond;
  if (!session.json) {
    Print(Concat("materialized ", job.rows, " rows of ", Join(job.views, ", "), " up to ",
                 FormatTimestamp(job.interval.end), " in ", FormatSeconds(seconds),
                 job.resumed > 0 ? Concat(" (job ", job.id, " taken up again)") : std::string()));
    return Status::OK();
  }
  std::string out;
  net::JsonWriter json(&out);
  json.BeginObject().Key("job").String(job.id).Key("state").String(feature::NameOf(job.state));
  json.Key("views").BeginArray();
  for (const std::string& view : job.views) json.String(view);
  json.EndArray().Key("start").String(FormatTimestamp(job.interval.start));
  json.Key("end").String(FormatTimestamp(job.interval.end)).Key("rows").Int(job.rows);
  json.Key("resumed")
      .Int(job.resumed)
      .Key("skipped_rows")
      .Int(job.skipped_rows)
      .Key("seconds")
      .Double(seconds)
      .EndObject();
  Print(out);
  return Status::OK();
}

Status Materialize(Session& session, const MaterializeFlags& flags) {
  feature::MaterializeRequest request;
  GNOMON_ASSIGN_OR_RETURN(request.start, ParseTimestamp(flags.start));
  GNOMON_ASSIGN_OR_RETURN(request.end, ParseOptionalTime(flags.end));
  request.views = flags.views;
  request.force = flags.force;
  GNOMON_ASSIGN_OR_RETURN(auto store, session.OpenStore());
  GNOMON_ASSIGN_OR_RETURN(auto job, store->Materialize(session.context, request));
  return PrintJob(session, job);
}

Status MaterializeIncremental(Session& session, const MaterializeFlags& flags) {
  GNOMON_ASSIGN_OR_RETURN(auto end, ParseOptionalTime(flags.end));
  GNOMON_ASSIGN_OR_RETURN(auto store, session.OpenStore());
  GNOMON_ASSIGN_OR_RETURN(
      auto job, store->MaterializeIncremental(session.context, end, flags.views, flags.force));
  return PrintJob(session, job);
}

}  // namespace

void AddMaterializeCommands(CLI::App& app, Action* action) {
  auto flags = std::make_shared<MaterializeFlags>();
  CLI::App* whole =
      app.add_subcommand("materialize", "Load features of an interval into the online store");
  whole->add_option("START", flags->start, "Beginning, inclusive: RFC 3339, or a date")->required();
  whole->add_option("END", flags->end, "End, inclusive (default: now)");
  whole->add_option("-v,--views", flags->views, "Only these feature views (repeatable)");
  constexpr const char* kForce = "Even while another job works on the same views and times";
  whole->add_flag("--force", flags->force, kForce);
  whole->callback(
      [=] { *action = [flags](Session& session) { return Materialize(session, *flags); }; });

  CLI::App* rest =
      app.add_subcommand("materialize-incremental",
                         "Load what is new since the last materialization into the online store");
  rest->add_option("END", flags->end, "End, inclusive (default: now)");
  rest->add_option("-v,--views", flags->views, "Only these feature views (repeatable)");
  rest->add_flag("--force", flags->force, kForce);
  rest->callback([=] {
    *action = [flags](Session& session) { return MaterializeIncremental(session, *flags); };
  });
}

}  // namespace gnomon::cli
