// The program from outside: what it prints, where, and how it ends.

#include <algorithm>
#include <csignal>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "tests/support/process.h"
#include "tests/support/temporary.h"

namespace gnomon::cli {
namespace {

using nlohmann::json;
using test::CommandResult;

/// Commands that documents and scripts rely on, by their groups in `gnomon --help`.
const std::vector<std::pair<std::string, std::vector<std::string>>> kCommands = {
    {"Repository",
     {"init", "apply", "plan", "validate", "teardown", "registry-dump", "status", "import",
      "doctor"}},
    {"Definitions",
     {"entities", "data-sources", "feature-views", "on-demand-feature-views", "feature-services",
      "plugins"}},
    {"Features",
     {"materialize", "materialize-incremental", "materializations", "get-historical-features",
      "get-online-features", "serve"}},
    {"Models", {"serve-model", "train", "predict", "runs"}},
    {"More", {"demo", "version"}},
};

CommandResult Gnomon(std::vector<std::string> arguments, const std::string& folder = "") {
  arguments.insert(arguments.begin(), GNOMON_PROGRAM);
  test::ProcessOptions options;
  options.folder = folder;
  return test::RunCommand(arguments, options);
}

bool Has(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

/// A folder with the minimal repository in it, applied and materialized.
struct Repository {
  TemporaryFolder folder = test::MakeTemporaryFolder();

  Repository() {
    REQUIRE(Run({"init"}).exit_code == 0);
    REQUIRE(Run({"apply"}).exit_code == 0);
    REQUIRE(Run({"materialize", "2026-01-01", "2026-01-03"}).exit_code == 0);
  }
  CommandResult Run(const std::vector<std::string>& arguments) const {
    return Gnomon(arguments, folder.path());
  }
};

/// The commands that a help text lists under `title`, with their descriptions.
std::vector<std::pair<std::string, std::string>> Listed(const std::string& help,
                                                        const std::string& title) {
  std::vector<std::pair<std::string, std::string>> found;
  bool inside = false;
  for (const std::string& line : Split(help, '\n')) {
    if (line == title + ":") {
      inside = true;
    } else if (inside && line.starts_with("  ")) {
      const std::string_view text = Trim(line);
      const size_t space = std::min(text.find(' '), text.size());
      found.emplace_back(text.substr(0, space), Trim(text.substr(space)));
    } else {
      inside = false;
    }
  }
  return found;
}

/// Flags in a help text that say nothing of themselves. A long flag has its text on the next line.
std::vector<std::string> Undocumented(const std::string& help) {
  constexpr size_t kTextColumn = 30;
  std::vector<std::string> silent;
  const std::vector<std::string> lines = Split(help, '\n');
  for (size_t i = 0; i + 1 < lines.size(); ++i) {
    if (!lines[i].starts_with("  -")) continue;
    const bool here = lines[i].size() > kTextColumn && lines[i][kTextColumn - 1] == ' ';
    const bool below = lines[i + 1].starts_with(std::string(kTextColumn, ' '));
    if (!here && !below) silent.push_back(lines[i]);
  }
  return silent;
}

}  // namespace

TEST_CASE("the help lists the commands in their groups, each with a description") {
  const CommandResult help = Gnomon({"--help"});
  CHECK(help.exit_code == 0);
  CHECK(help.err.empty());
  CHECK(Gnomon({}).out == help.out);
  CHECK(Has(help.out, "Exit codes:\n  0 success, 1 internal error, 2 wrong input or usage"));
  CHECK(Has(help.out, "130 interrupted"));
  CHECK(Has(help.out, "Examples:\n  gnomon init"));
  CHECK(Undocumented(help.out).empty());
  CHECK(Listed(help.out, "Subcommands").empty());  // that is where a command without a group lands
  for (const auto& [group, commands] : kCommands) {
    CAPTURE(group);
    std::vector<std::string> names;
    for (const auto& [name, description] : Listed(help.out, group)) {
      CHECK_MESSAGE(!description.empty(), name);
      names.push_back(name);
    }
    for (const std::string& command : commands)
      CHECK_MESSAGE(std::ranges::find(names, command) != names.end(), command);
  }
}

TEST_CASE("every command explains itself: description, all flags, an example") {
  const std::string top = Gnomon({"--help"}).out;
  size_t checked = 0;
  for (const auto& [group, known] : kCommands) {
    for (const auto& [command, about] : Listed(top, group)) {
      std::vector<std::vector<std::string>> paths = {{command}};
      for (const auto& [nested, text] : Listed(Gnomon({command, "--help"}).out, "Subcommands"))
        paths.push_back({command, nested});
      for (std::vector<std::string> path : paths) {
        CAPTURE(Join(path, " "));
        path.push_back("--help");
        const CommandResult help = Gnomon(path);
        CHECK(help.exit_code == 0);
        CHECK(help.out.find("Usage: gnomon " + command) > 10);
        CHECK(Has(help.out, "\nExamples:\n  gnomon "));
        const auto silent = Undocumented(help.out);
        CHECK_MESSAGE(silent.empty(), Join(silent, "\n"));
        for (const std::string& line : Split(help.out, '\n')) {
          if (line.starts_with("  gnomon ")) continue;  // examples are to be copied
          CHECK_MESSAGE(line.size() <= 120, line);
        }
        ++checked;
      }
    }
  }
  CHECK(checked >= 38);
}

TEST_CASE("mistakes end with the exit code of their kind and say what to do, on standard error") {
  const Repository repository;
  struct Case {
    std::vector<std::string> arguments;
    int exit_code;
    const char* part;
  };
  const Case cases[] = {
      {{"frobnicate"}, 2, "frobnicate"},
      {{"--frobnicate"}, 2, "--frobnicate"},
      {{"aply"}, 2, "apply"},
      {{"runs"}, 2, "subcommand"},
      {{"materialize"}, 2, "START"},
      {{"materialize", "yesterday"}, 2, "yesterday"},
      {{"materialize", "2026-01-01", "2026-01-02", "-v", "driver_stat"}, 3, "driver_stats"},
      {{"init"}, 4, "exists"},
      {{"init", "other", "--template", "minimall"}, 2, "did you mean 'minimal'"},
      {{"-c", "nowhere", "apply"}, 3, "gnomon init"},
      {{"--log-level", "loud", "status"}, 2, "loud"},
      {{"feature-views", "describe", "driver_stat"}, 3, "did you mean 'driver_stats'"},
      {{"get-historical-features", "--entities", "data/trips.csv", "-f", "driver_stats:conv_rat",
        "--out", "x.csv"},
       3,
       "did you mean 'conv_rate'"},
      {{"get-historical-features", "--entities", "none.csv", "-f", "driver_stats:conv_rate",
        "--out", "x.csv"},
       3,
       "none.csv"},
      {{"get-historical-features", "-f", "driver_stats:conv_rate", "--out", "x.csv"},
       2,
       "--entities"},
      {{"get-historical-features", "--entities", "data/trips.csv", "-f", "driver_stats:conv_rate"},
       2,
       "--out"},
      {{"get-online-features", "-f", "driver_stats:conv_rate", "-e", "{"}, 2, "JSON"},
      {{"get-online-features", "-f", "driver_stats:conv_rate", "-e", "[{\"driver\": 1}]"},
       2,
       "driver_id"},
      {{"train", "none.yaml"}, 3, "none.yaml"},
      {{"predict", "--model", "none", "--instances", "[{\"driver_id\": 1}]"}, 3, "none"},
      {{"predict", "--model", "none"}, 2, "--instances"},
      {{"runs", "show", "none"}, 3, "none"},
      {{"materializations", "show", "none"}, 3, "materializations list"},
      {{"materializations", "list", "--state", "done"}, 2, "interrupted"},
      {{"import"}, 4, "--overwrite"},
      {{"import", "--registry", "none.db", "--out", "x.yaml"}, 3, "--registry"},
      {{"import", "--project", "none", "--out", "x.yaml"}, 3, "projects: "},
      {{"serve-model"}, 3, "gnomon train"},
      {{"serve", "--port", "0", "--host", "256.0.0.1"}, 2, "256.0.0.1"},
  };
  for (const Case& each : cases) {
    CAPTURE(Join(each.arguments, " "));
    const CommandResult result = repository.Run(each.arguments);
    CAPTURE(result.err);
    CHECK(result.exit_code == each.exit_code);
    CHECK(result.out.empty());
    CHECK(Has(result.err, each.part));
  }
}

TEST_CASE("with --json a command prints one JSON document, and an error is one too") {
  const Repository repository;
  const std::vector<std::vector<std::string>> commands = {
      {"init", "other"},
      {"validate"},
      {"plan"},
      {"apply"},
      {"status"},
      {"registry-dump"},
      {"entities", "list"},
      {"entities", "describe", "driver"},
      {"data-sources", "list"},
      {"feature-views", "list"},
      {"feature-views", "describe", "driver_stats"},
      {"on-demand-feature-views", "list"},
      {"feature-services", "list"},
      {"materialize", "2026-01-01", "2026-01-02"},
      {"materialize-incremental", "2026-01-03"},
      {"materializations", "list"},
      {"import", "--out", "imported.yaml"},
      {"doctor"},
      {"get-historical-features", "--entities", "data/trips.csv", "--feature-service",
       "driver_activity", "--out", "x.parquet"},
      {"get-historical-features", "--entities", "data/trips.csv", "--feature-service",
       "driver_activity", "--explain"},
      {"get-online-features", "--feature-service", "driver_activity", "-e",
       "[{\"driver_id\": 1001}]"},
      {"saved-datasets", "list"},
      {"plugins", "list"},
      {"runs", "list"},
      {"version"},
      {"teardown"},
  };
  for (std::vector<std::string> command : commands) {
    CAPTURE(Join(command, " "));
    command.emplace_back("--json");
    const CommandResult result = repository.Run(command);
    CAPTURE(result.out);
    CAPTURE(result.err);
    CHECK(result.exit_code == 0);
    CHECK_FALSE(json::parse(result.out, nullptr, false).is_discarded());
  }
  const CommandResult failed = repository.Run({"feature-views", "describe", "x", "--json"});
  CHECK(failed.exit_code == 3);
  const json error = json::parse(failed.err, nullptr, false);
  REQUIRE_FALSE(error.is_discarded());
  CHECK(error["kind"] == "not_found");
}

TEST_CASE("a server says where it listens, and SIGTERM ends it cleanly") {
  const Repository repository;
  auto server = test::Process::Start({GNOMON_PROGRAM, "-c", repository.folder.path(), "serve",
                                      "--port", "0", "--ready-fd", "{ready_fd}"})
                    .ValueOrDie();
  const std::string port = server.ReadReadyLine().ValueOrDie();
  SUBCASE("and its port is in use for another") {
    const CommandResult second = repository.Run({"serve", "--port", port});
    CHECK(second.exit_code == 4);
    CHECK(Has(second.err, port));
  }
  server.SendSignal(SIGTERM);
  CHECK(server.Wait().ValueOrDie() == 0);
  CHECK(server.out() == Concat("listening on http://127.0.0.1:", port, "\n"));
}

TEST_CASE("init says what to do next: minimal can be applied, the others want data") {
  const auto folder = test::MakeTemporaryFolder();
  CHECK(Has(Gnomon({"init", "a"}, folder.path()).out, "next: gnomon -c a apply"));
  const std::string sales = Gnomon({"init", "b", "-t", "sales"}, folder.path()).out;
  CHECK(Has(sales, "gnomon demo sales"));
}

}  // namespace gnomon::cli
