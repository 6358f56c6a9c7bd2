#include "base/log.h"

#include <fcntl.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "tests/support/temporary.h"

namespace gnomon {

using test::ValueOf;

namespace {

// Sets up logging with standard error led into a file for a scope.
class Capture {
 public:
  explicit Capture(const LogOptions& options) : old_(::dup(STDERR_FILENO)) {
    const int fd = ::open(path().c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    REQUIRE(fd >= 0);
    ::dup2(fd, STDERR_FILENO);
    ::close(fd);
    ConfigureLogging(options);
  }
  ~Capture() {
    ::dup2(old_, STDERR_FILENO);
    ::close(old_);
    ConfigureLogging({});
  }
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;
  std::string Text() const { return ValueOf(ReadFile(path())); }

 private:
  std::string path() const { return folder_.path() + "/err"; }
  test::TemporaryFolder folder_ = test::MakeTemporaryFolder();
  int old_;
};

}  // namespace

TEST_CASE("levels are read in any case and with Feast's names") {
  CHECK(ValueOf(ParseLogLevel("DEBUG")) == LogLevel::kDebug);
  CHECK(ValueOf(ParseLogLevel("Warn")) == LogLevel::kWarning);
  CHECK(ValueOf(ParseLogLevel("warning")) == LogLevel::kWarning);
  CHECK(ValueOf(ParseLogLevel("off")) == LogLevel::kOff);
  CHECK_ERROR(ParseLogLevel("loud"), ErrorKind::kUser, "'loud'");
}

TEST_CASE("a line of text has time, level, module, message and fields") {
  const Capture capture({.level = LogLevel::kInfo});
  LogInfo("feature", "materialized", {{"view", "driver stats"}, {"rows", "12"}, {"empty", ""}});
  const std::string text = capture.Text();
  REQUIRE(text.size() > 24);
  CHECK(text[10] == 'T');
  CHECK(text[23] == 'Z');
  CHECK(text.substr(24) ==
        " info feature: materialized view=\"driver stats\" rows=12 empty=\"\"\n");
}

TEST_CASE("a level below the bound is not logged") {
  const Capture capture({.level = LogLevel::kError});
  LogWarning("base", "no");
  LogError("base", "yes");
  CHECK_FALSE(LogEnabled(LogLevel::kWarning));
  CHECK(LogEnabled(LogLevel::kError));
  CHECK_FALSE(LogEnabled(LogLevel::kOff));
  CHECK(capture.Text().find("no") == std::string::npos);
  CHECK(capture.Text().find("base: yes") != std::string::npos);
}

TEST_CASE("off silences everything") {
  const Capture capture({.level = LogLevel::kOff});
  LogError("base", "x");
  CHECK(capture.Text() == "");
}

TEST_CASE("a line of JSON is an object with every field") {
  const Capture capture({.level = LogLevel::kDebug, .json = true});
  LogDebug("net", "a \"quote\", a \\ and\na line", {{"request_id", "7"}, {"path", "/\x01\x7f"}});
  const auto line = nlohmann::json::parse(capture.Text());
  CHECK(line["level"] == "debug");
  CHECK(line["module"] == "net");
  CHECK(line["message"] == "a \"quote\", a \\ and\na line");
  CHECK(line["request_id"] == "7");
  CHECK(line["path"] == "/\x01\x7f");
  CHECK(line["ts"].get<std::string>().size() == 27);
}

TEST_CASE("bytes that are no UTF-8 do not break a line of JSON") {
  const Capture capture({.level = LogLevel::kInfo, .json = true});
  LogInfo(
      "base",
      "\xff|\xc3|\xe2\x82|\xed\xa0\x80|\xf5\x80\x80\x80|\xc0\x80|\xe2\x82\xac|\xf0\x9f\x98\x80");
  const auto line = nlohmann::json::parse(capture.Text());
  CHECK(line["message"].get<std::string>().ends_with("|\xe2\x82\xac|\xf0\x9f\x98\x80"));
  CHECK(line["message"].get<std::string>().starts_with("\xef\xbf\xbd|\xef\xbf\xbd|"));
}

TEST_CASE("a message cannot forge a second line of text") {
  const Capture capture({.level = LogLevel::kInfo});
  LogInfo("base", "first\n2024-01-01T00:00:00.000Z error base: forged\x1b[31m");
  const std::string text = capture.Text();
  CHECK(text.find('\n') == text.size() - 1);
  CHECK(text.find('\x1b') == std::string::npos);
}

TEST_CASE("lines of many threads do not mix") {
  const Capture capture({.level = LogLevel::kInfo});
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([] {
        for (int j = 0; j < 100; ++j) LogInfo("base", "some words that stay together");
      });
    }
  }
  const auto lines = Split(capture.Text(), '\n');
  REQUIRE(lines.size() == 401);
  for (size_t i = 0; i < 400; ++i) {
    REQUIRE(lines[i].ends_with("Z info base: some words that stay together"));
  }
}

}  // namespace gnomon
