#include "base/progress.h"

#include <fcntl.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include <doctest/doctest.h>

#include "tests/support/temporary.h"

namespace gnomon {

namespace {

// A file that a Progress writes to.
class Output {
 public:
  Output() : fd_(::open(path().c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)) { REQUIRE(fd_ >= 0); }
  ~Output() { ::close(fd_); }
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;
  int fd() const { return fd_; }
  std::string Text() const { return test::ValueOf(ReadFile(path())); }

 private:
  std::string path() const { return folder_.path() + "/out"; }
  test::TemporaryFolder folder_ = test::MakeTemporaryFolder();
  int fd_;
};

}  // namespace

TEST_CASE("off a terminal each finished phase is one plain line") {
  const Output output;
  const auto progress = MakeProgress(output.fd(), false);
  {
    ProgressPhase phase(progress.get(), "read", 2'000'000);
    phase.Advance(1'234'567);
    CHECK(output.Text() == "");
    phase.SetNote("3 files");
  }
  const std::string text = output.Text();
  CHECK(text.starts_with("read: 1,234,567 rows in "));
  CHECK(text.ends_with(" (3 files)\n"));
  CHECK(text.find('\x1b') == std::string::npos);
}

TEST_CASE("a phase without work shows its time only") {
  const Output output;
  const auto progress = MakeProgress(output.fd(), false);
  { const ProgressPhase phase(progress.get(), "plan"); }
  CHECK(output.Text().starts_with("plan: "));
  CHECK(output.Text().find("rows") == std::string::npos);
}

TEST_CASE("on a terminal the bar is redrawn at most ten times a second") {
  const Output output;
  const auto progress = MakeProgress(output.fd(), true);
  progress->Begin("join", 10'000, "rows");
  for (int i = 0; i < 10'000; ++i) progress->Advance(1);
  const std::string text = output.Text();
  CHECK(text.starts_with("\r\x1b[Kjoin [........................] 0% 0/10,000 rows"));
  CHECK(text.size() < 5'000);
  progress->End("");
  CHECK(output.Text().ends_with("\n"));
  CHECK(output.Text().find("join: 10,000 rows in ") != std::string::npos);
}

TEST_CASE("more work than announced does not overflow the bar") {
  const Output output;
  const auto progress = MakeProgress(output.fd(), true);
  progress->Begin("a", 1, "rows");
  progress->Advance(50);
  progress->Begin("b", 0, "files");
  progress->End("");
  progress->End("");
  progress->End("");
  progress->Advance(1);
  CHECK(output.Text().find("b 0 files") != std::string::npos);
}

TEST_CASE("without a progress a phase is silent") {
  ProgressPhase phase(nullptr, "read", 10);
  phase.Advance(3);
  phase.SetNote("x");
}

TEST_CASE("many threads advance one phase") {
  const Output output;
  const auto progress = MakeProgress(output.fd(), false);
  {
    ProgressPhase phase(progress.get(), "read");
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&] {
        for (int j = 0; j < 1000; ++j) phase.Advance(1);
      });
    }
  }
  CHECK(output.Text().starts_with("read: 4,000 rows in "));
}

}  // namespace gnomon
