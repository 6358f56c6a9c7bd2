// The documents are run: what a reader copies from them works, and what they print is what comes.

#include <algorithm>
#include <array>
#include <csignal>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "base/context.h"
#include "base/error.h"
#include "base/files.h"
#include "base/text.h"
#include "net/client.h"
#include "tests/support/process.h"
#include "tests/support/status.h"
#include "tests/support/temporary.h"

namespace gnomon::cli {
namespace {

using nlohmann::json;
using test::ValueOf;

struct CodeBlock {
  std::string language;
  std::string text;
};

/// The fenced blocks of a Markdown file, in order.
std::vector<CodeBlock> CodeBlocks(const std::string& path) {
  std::vector<CodeBlock> blocks;
  bool inside = false;
  for (const std::string& line : Split(ValueOf(ReadFile(path)), '\n')) {
    if (line.starts_with("```")) {
      inside = !inside;
      if (inside) blocks.push_back({line.substr(3), ""});
    } else if (inside) {
      blocks.back().text += line + "\n";
    }
  }
  return blocks;
}

/// Runs a script with the program in its PATH.
test::CommandResult RunScript(const std::string& script, const std::string& folder) {
  const std::string program = GNOMON_PROGRAM;
  const std::string text =
      Concat("set -e\nPATH=", program.substr(0, program.rfind('/')), ":$PATH\n", script);
  test::ProcessOptions options;
  options.folder = folder;
  return test::RunCommand({"bash", "-c", text}, options);
}

struct Request {
  std::string path;
  std::string body;
};

/// The path and body of "curl -s localhost:6566/path -d 'body'"; no path when it is another
/// command.
Request ParseCurl(const std::string& text) {
  const std::string start = "curl -s localhost:6566";
  if (!text.starts_with(start)) return {};
  const size_t open = text.find('\'');
  const size_t close = text.rfind('\'');
  REQUIRE(open != close);
  const std::string path = text.substr(start.size(), text.find(' ', start.size()) - start.size());
  return {path, text.substr(open + 1, close - open - 1)};
}

}  // namespace

TEST_CASE("the README's commands work as they stand, up to the servers") {
  const auto blocks = CodeBlocks("README.md");
  const auto found = std::ranges::find_if(
      blocks, [](const CodeBlock& block) { return block.text.starts_with("gnomon init"); });
  REQUIRE(found != blocks.end());
  const size_t end = found->text.find("gnomon serve");
  REQUIRE(end != std::string::npos);
  const auto folder = test::MakeTemporaryFolder();
  const auto result = RunScript(found->text.substr(0, end), folder.path());
  CHECK_MESSAGE(result.exit_code == 0, result.err);
  CHECK(result.out.find("1001       0.57               0.625") != std::string::npos);
}

TEST_CASE("the repository guide's two files are a repository") {
  std::vector<std::string> files;
  for (const CodeBlock& block : CodeBlocks("docs/guide/repository.md")) {
    if (block.language == "yaml") files.push_back(block.text);
  }
  REQUIRE(files.size() >= 2);
  const auto folder = test::MakeTemporaryFolder();
  REQUIRE(RunScript("gnomon init", folder.path()).exit_code == 0);
  test::RequireOk(WriteFileAtomic(folder.path() + "/feature_store.yaml", files[0]));
  test::RequireOk(WriteFileAtomic(folder.path() + "/features.yaml", files[1]));
  const auto result = RunScript("gnomon validate && gnomon apply", folder.path());
  CHECK_MESSAGE(result.exit_code == 0, result.err);
}

TEST_CASE("the feature server answers the guide's requests as the guide says") {
  const auto blocks = CodeBlocks("docs/guide/feature_server.md");
  const auto folder = test::MakeTemporaryFolder();
  const size_t serve = blocks[0].text.find("gnomon serve");
  REQUIRE(serve != std::string::npos);
  const auto made = RunScript(blocks[0].text.substr(0, serve), folder.path());
  REQUIRE_MESSAGE(made.exit_code == 0, made.err);
  auto server = ValueOf(test::Process::Start({GNOMON_PROGRAM, "-c", folder.path() + "/my_repo",
                                              "serve", "--port", "0", "--ready-fd", "{ready_fd}"}));
  const std::string address = Concat("http://127.0.0.1:", ValueOf(server.ReadReadyLine()));
  net::HttpClient client;
  int requests = 0;
  for (size_t i = 0; i + 1 < blocks.size(); ++i) {
    const Request request = ParseCurl(blocks[i].text);
    if (request.path.empty()) continue;
    CAPTURE(blocks[i].text);
    REQUIRE(blocks[i + 1].language == "json");
    const auto reply = ValueOf(client.PostJson(Context{}, address + request.path, request.body));
    CHECK(json::parse(reply.body) == json::parse(blocks[i + 1].text));
    ++requests;
  }
  CHECK(requests == 6);
  server.SendSignal(SIGTERM);
  CHECK(ValueOf(server.Wait()) == 0);
}

TEST_CASE("the errors guide has the exit code and status of every kind") {
  const std::string guide = ValueOf(ReadFile("docs/guide/errors.md"));
  for (int i = 0; i <= static_cast<int>(ErrorKind::kInternal); ++i) {
    const auto kind = static_cast<ErrorKind>(i);
    const std::string start = Concat("\n| `", NameOf(kind), "` | ");
    const size_t row = guide.find(start);
    REQUIRE_MESSAGE(row != std::string::npos, NameOf(kind));
    const std::string line = guide.substr(row, guide.find('\n', row + 1) - row);
    const std::string end = Concat(" | ", ExitCodeOf(kind), " | ", HttpStatusOf(kind), " |");
    CHECK_MESSAGE(line.ends_with(end), line);
  }
}

TEST_CASE("the keys of Feast that the repository guide calls accepted are, each with a warning") {
  struct Section {
    const char* row;   // of the guide's table
    const char* open;  // what comes before the keys in the file
  };
  constexpr std::array<Section, 6> kSections = {{
      {"| the file | ", "project: p\n"},
      {"| `registry` | ", "project: p\nregistry:\n  path: data/registry.db\n"},
      {"| `online_store` | ", "project: p\nonline_store:\n  type: sqlite\n"},
      {"| `offline_store` (files) | ", "project: p\noffline_store:\n  type: file\n"},
      {"| `offline_store: ray`, `batch_engine` | ", "project: p\nbatch_engine:\n  type: local\n"},
      {"| `feature_server` | ", "project: p\nfeature_server:\n  port: 6566\n"},
  }};
  const std::string guide = ValueOf(ReadFile("docs/guide/repository.md"));
  const auto folder = test::MakeTemporaryFolder();
  REQUIRE(RunScript("gnomon init", folder.path()).exit_code == 0);
  for (const Section& section : kSections) {
    CAPTURE(section.row);
    const size_t row = guide.find(section.row, guide.find("These keys of Feast"));
    REQUIRE(row != std::string::npos);
    const size_t start = row + std::string_view(section.row).size();
    const std::string cell = guide.substr(start, guide.find(" |", start) - start);
    const bool nested = std::string_view(section.open).find(":\n  ") != std::string_view::npos;
    // Keys that may only be something else than 1 stand behind a semicolon.
    const std::vector<std::string> parts = Split(cell.substr(0, cell.find(';')), '`');
    std::string yaml = section.open;
    std::vector<std::string> keys;
    for (size_t i = 1; i < parts.size(); i += 2) {
      if (parts[i].ends_with('*')) continue;
      keys.push_back(parts[i]);
      yaml += Concat(nested ? "  " : "", parts[i], ": 1\n");
    }
    CHECK(keys.size() > 1);
    test::RequireOk(WriteFileAtomic(folder.path() + "/other.yaml", yaml));
    const auto result = RunScript("gnomon -f other.yaml validate", folder.path());
    CAPTURE(result.err);
    CHECK(result.exit_code == 0);
    for (const std::string& key : keys) {
      const bool warned = result.err.find(Concat("feast key '", key, "'")) != std::string::npos;
      CHECK_MESSAGE(warned, key);
    }
  }
}

}  // namespace gnomon::cli
