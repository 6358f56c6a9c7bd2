#include "tests/support/process.h"

#include <signal.h>
#include <utility>

#include <doctest/doctest.h>

#include "tests/support/temporary.h"

namespace gnomon::test {

TEST_CASE("a command's output, error and exit code are collected") {
  const CommandResult result =
      RunCommand({"sh", "-c", "cat; echo oh >&2; exit 3"}, {.input = "in\n"});
  CHECK(result.exit_code == 3);
  CHECK(result.out == "in\n");
  CHECK(result.err == "oh\n");
}

TEST_CASE("more output than a pipe holds is collected") {
  const CommandResult result = RunCommand({"sh", "-c", "head -c 1000000 /dev/zero; cat >&2"},
                                          {.input = std::string(500'000, 'x')});
  CHECK(result.out.size() == 1'000'000);
  CHECK(result.err.size() == 500'000);
}

TEST_CASE("environment and folder are the child's") {
  const auto folder = MakeTemporaryFolder();
  const CommandResult result = RunCommand(
      {"sh", "-c", "echo $GNOMON_X ${HOME-none}; pwd"},
      {.environment = {{"GNOMON_X", "7"}, {"HOME", std::nullopt}}, .folder = folder.path()});
  CHECK(result.out == Concat("7 none\n", folder.path(), "\n"));
}

TEST_CASE("a program that is not there cannot be started") {
  CHECK_ERROR(Process::Start({"/no/such/program"}), ErrorKind::kNotFound, "/no/such/program");
}

TEST_CASE("a signal ends the child and shows in its exit code") {
  Process process = ValueOf(Process::Start({"sleep", "1000"}));
  CHECK_ERROR(process.Wait(0.01), ErrorKind::kDeadline, "did not end in time");
  process.SendSignal(SIGTERM);
  CHECK(ValueOf(process.Wait()) == 128 + SIGTERM);
  CHECK(ValueOf(process.Wait()) == 128 + SIGTERM);
}

TEST_CASE("the ready descriptor is read line by line") {
  Process process = ValueOf(Process::Start(
      {"sh", "-c", "printf 'port 1\\nport 2\\n' >&$0; exec sleep 1000", "{ready_fd}"}));
  CHECK(ValueOf(process.ReadReadyLine()) == "port 1");
  CHECK(ValueOf(process.ReadReadyLine()) == "port 2");
  CHECK_ERROR(process.ReadReadyLine(0.01), ErrorKind::kDeadline, "not ready");
}

TEST_CASE("a child that dies before it is ready is told from a slow one") {
  Process process = ValueOf(Process::Start({"sh", "-c", "echo broken >&2; exit 1"}));
  CHECK_ERROR(process.ReadReadyLine(), ErrorKind::kUnavailable, "closed its ready descriptor");
  CHECK(ValueOf(process.Wait()) == 1);
  CHECK(process.err() == "broken\n");
}

TEST_CASE("a child that still runs is killed at the end of the scope") {
  pid_t pid = 0;
  {
    Process process = ValueOf(Process::Start({"sleep", "1000"}));
    pid = process.pid();
    CHECK(::kill(pid, 0) == 0);
    const Process moved = std::move(process);
    CHECK(moved.pid() == pid);
  }
  CHECK(::kill(pid, 0) != 0);
}

}  // namespace gnomon::test
