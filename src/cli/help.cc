#include "cli/help.h"

#include <algorithm>
#include <array>
#include <string>
#include <string_view>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

#include "base/error.h"
#include "base/text.h"

namespace gnomon::cli {
namespace {

constexpr const char* kRepository = "Repository";
constexpr const char* kDefinitions = "Definitions";
constexpr const char* kFeatures = "Features";
constexpr const char* kModels = "Models";
constexpr const char* kMore = "More";

struct CommandHelp {
  std::string_view command;
  const char* group;
  std::string_view examples;  ///< one a line
};

constexpr std::array<CommandHelp, 29> kCommands = {{
    {"init", kRepository, "gnomon init my_repo\ngnomon init my_repo --template sales"},
    {"apply", kRepository, "gnomon -c my_repo apply\ngnomon -c my_repo apply --yes"},
    {"plan", kRepository, "gnomon -c my_repo plan\ngnomon -c my_repo plan --json"},
    {"validate", kRepository, "gnomon -c my_repo validate"},
    {"teardown", kRepository, "gnomon -c my_repo teardown"},
    {"registry-dump", kRepository, "gnomon -c my_repo registry-dump"},
    {"status", kRepository, "gnomon -c my_repo status"},
    {"import", kRepository,
     "gnomon -c my_repo import --out my_repo/features.yaml\n"
     "gnomon import --registry sqlite:///registry.db --project rides --out -"},
    {"doctor", kRepository, "gnomon -c my_repo doctor\ngnomon -c my_repo doctor --json"},
    {"entities", kDefinitions, "gnomon entities list\ngnomon entities describe driver"},
    {"data-sources", kDefinitions, "gnomon data-sources list"},
    {"feature-views", kDefinitions,
     "gnomon feature-views list\ngnomon feature-views describe driver_stats"},
    {"on-demand-feature-views", kDefinitions, "gnomon on-demand-feature-views list"},
    {"feature-services", kDefinitions, "gnomon feature-services list --json"},
    {"plugins", kDefinitions, "gnomon plugins list\ngnomon plugins list --json"},
    {"materialize", kFeatures,
     "gnomon materialize 2026-01-01 2026-01-03\n"
     "gnomon materialize 2026-01-01T00:00:00Z -v driver_stats"},
    {"materialize-incremental", kFeatures,
     "gnomon materialize-incremental\ngnomon materialize-incremental 2026-01-04"},
    {"materializations", kFeatures,
     "gnomon materializations list --state interrupted\n"
     "gnomon materializations show 0190a1b2\ngnomon materializations cancel 0190a1b2 --wait 30\n"
     "gnomon materializations resume 0190a1b2"},
    {"get-historical-features", kFeatures,
     "gnomon get-historical-features --entities data/trips.csv --feature-service driver_activity "
     "--out training.parquet\n"
     "gnomon get-historical-features -f driver_stats:conv_rate --start 2026-01-01 --end "
     "2026-01-02 --out rows.csv"},
    {"saved-datasets", kFeatures,
     "gnomon get-historical-features --feature-service driver_activity --entities data/trips.csv "
     "--out may.parquet --save-as may\n"
     "gnomon saved-datasets describe may\ngnomon saved-datasets verify may"},
    {"get-online-features", kFeatures,
     "gnomon get-online-features -f driver_stats:conv_rate,driver_stats:acc_rate "
     "-e '[{\"driver_id\": 1001}]'\n"
     "gnomon get-online-features --feature-service driver_activity -e '{\"driver_id\": [1001, "
     "1002]}' --json"},
    {"serve", kFeatures, "gnomon serve --port 6566"},
    {"serve-model", kModels, "gnomon serve-model --model sales-model --port 8080"},
    {"train", kModels, "gnomon train training.yaml"},
    {"predict", kModels,
     "gnomon predict --model sales-model --instances '[{\"store\": 1, \"dept\": 3}]'\n"
     "gnomon predict --model sales-model --entities data/labels.parquet --out predictions.parquet"},
    {"runs", kModels, "gnomon runs list\ngnomon runs compare RUN1 RUN2"},
    {"asof", kMore,
     "gnomon asof --left labels.parquet --right features.parquet --by entity --on event_timestamp "
     "--tolerance 7d --out joined.parquet\n"
     "gnomon asof --left labels.parquet --right 'prices/*.parquet' --right news.csv --by shop,item "
     "--on ts --explain"},
    {"demo", kMore, "gnomon demo sales\ngnomon demo flights --dir /tmp/flights"},
    {"version", kMore, "gnomon version --json"},
}};

constexpr std::string_view kExamples =
    "gnomon init my_repo && cd my_repo && gnomon apply\n"
    "gnomon get-historical-features --entities data/trips.csv --feature-service driver_activity "
    "--out training.csv\n"
    "gnomon materialize 2026-01-01 2026-01-03 && gnomon serve\n"
    "gnomon demo sales";

std::string ExamplesText(std::string_view examples) {
  std::string text = "Examples:\n";
  for (const std::string& line : Split(examples, '\n')) text += Concat("  ", line, "\n");
  return text;
}

/// The kinds of errors of base/error.h, by exit code.
std::string ExitCodesText() {
  struct Meaning {
    ErrorKind kind;
    const char* text;
  };
  constexpr std::array<Meaning, 11> kMeanings = {{
      {ErrorKind::kInternal, "internal error"},
      {ErrorKind::kUser, "wrong input or usage"},
      {ErrorKind::kNotFound, "not found"},
      {ErrorKind::kConflict, "conflict"},
      {ErrorKind::kDenied, "no access"},
      {ErrorKind::kExhausted, "out of memory or disk"},
      {ErrorKind::kUnavailable, "unavailable"},
      {ErrorKind::kDeadline, "out of time"},
      {ErrorKind::kDataLoss, "damaged data"},
      {ErrorKind::kUnsupported, "not supported"},
      {ErrorKind::kCancelled, "interrupted"},
  }};
  std::string text = "Exit codes:\n  0 success";
  size_t column = 11;
  for (const Meaning& each : kMeanings) {
    const std::string item = Concat(ExitCodeOf(each.kind), " ", each.text);
    text += column + item.size() > 88 ? ",\n  " : ", ";
    column = column + item.size() > 88 ? 2 + item.size() : column + 2 + item.size();
    text += item;
  }
  return text;
}

class HelpFormatter : public CLI::Formatter {
 public:
  std::string make_help(const CLI::App* app, std::string name,
                        CLI::AppFormatMode mode) const override {
    if (mode == CLI::AppFormatMode::Sub) return make_expanded(app);
    std::string text = make_description(app) + make_usage(app, name) + make_positionals(app) +
                       make_subcommands(app, mode) + make_groups(app, mode);
    if (const std::string footer = make_footer(app); !footer.empty()) text += "\n" + footer;
    return text;
  }
};

void SetFooter(CLI::App& command, const std::string& footer) {
  command.footer(footer);
  for (CLI::App* nested : command.get_subcommands(nullptr)) SetFooter(*nested, footer);
}

}  // namespace

std::shared_ptr<CLI::FormatterBase> MakeHelpFormatter() {
  return std::make_shared<HelpFormatter>();
}

void AddHelpTexts(CLI::App& app) {
  for (CLI::App* command : app.get_subcommands(nullptr)) {
    const auto found = std::ranges::find(kCommands, command->get_name(), &CommandHelp::command);
    GNOMON_CHECK(found != kCommands.end(), "no help for ", command->get_name());
    command->group(found->group);
    SetFooter(*command, ExamplesText(found->examples) +
                            "\nFlags of all commands (-c, --json and others): gnomon --help");
  }
  app.footer(ExamplesText(kExamples) +
             "\n`gnomon COMMAND --help` explains a command. Results go to standard output, "
             "progress and logs to\nstandard error.\n\n" +
             ExitCodesText());
}

}  // namespace gnomon::cli
