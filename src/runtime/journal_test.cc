#include "runtime/journal.h"

#include <csignal>
#include <fstream>

#include <doctest/doctest.h>

#include "base/files.h"
#include "runtime/stage_fixture_internal.h"
#include "tests/support/process.h"
#include "tests/support/status.h"
#include "tests/support/temporary.h"

namespace gnomon::runtime {
namespace {

using namespace gnomon::test;  // NOLINT

const JournalCommit kFirst = {
    .stage = "write", .partition = 0, .attempt = 1, .token = "0 a", .report = "rows 7"};
const JournalCommit kSecond = {
    .stage = "write", .partition = 1, .attempt = 3, .token = "1 b", .report = "rows 9"};

JournalCommit WithoutReport(JournalCommit commit) {
  commit.report.reset();
  return commit;
}

void WriteBytes(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

// A journal with two chosen attempts, one of which is committed.
std::string MakeJournal(const std::string& path) {
  const auto journal = ValueOf(Journal::Open(path, "job", "print"));
  RequireOk(journal->AppendPrepared(kFirst));
  RequireOk(journal->AppendCommitted(kFirst));
  RequireOk(journal->AppendPrepared(kSecond));
  return ValueOf(ReadFile(path));
}

TEST_CASE("a journal remembers what was chosen and what was committed") {
  const auto folder = MakeTemporaryFolder();
  const std::string path = folder.path() + "/journal";
  MakeJournal(path);
  const auto journal = ValueOf(Journal::Open(path, "job", "print"));
  CHECK_FALSE(journal->was_torn());
  CHECK(journal->contents().job == "job");
  CHECK(journal->contents().prepared == std::vector{kFirst, kSecond});
  REQUIRE(journal->contents().committed.size() == 1);
  CHECK(journal->contents().committed[0].partition == 0);
  CHECK_FALSE(journal->contents().finished);
  RequireOk(journal->AppendFinished());
  CHECK(ValueOf(Journal::Read(path)).finished);
}

TEST_CASE("a journal takes no record that it could not read back") {
  const auto folder = MakeTemporaryFolder();
  const std::string path = folder.path() + "/journal";
  MakeJournal(path);
  JournalCommit large = kFirst;
  large.partition = 5;
  large.token.assign((size_t{64} << 20) + 1, 'x');
  {
    const auto journal = ValueOf(Journal::Open(path, "job", "print"));
    CHECK_ERROR(journal->AppendPrepared(large), ErrorKind::kExhausted, "at most");
    RequireOk(journal->AppendCommitted(kSecond));
  }
  CHECK(ValueOf(Journal::Read(path)).committed.size() == 2);
}

TEST_CASE("a partition cannot be chosen twice, not even after a restart") {
  const auto folder = MakeTemporaryFolder();
  const std::string path = folder.path() + "/journal";
  MakeJournal(path);
  const auto journal = ValueOf(Journal::Open(path, "job", "print"));
  JournalCommit other = kSecond;
  other.attempt = 4;
  CHECK_ERROR(journal->AppendPrepared(other), ErrorKind::kInternal, "a second attempt");
}

TEST_CASE("a journal that ends anywhere is cut to its whole records and goes on") {
  const auto folder = MakeTemporaryFolder();
  const std::string path = folder.path() + "/journal";
  const std::string bytes = MakeJournal(path);
  for (size_t size = 0; size < bytes.size(); ++size) {
    CAPTURE(size);
    for (const std::string& tail : {std::string(), std::string(40, '\0')}) {
      WriteBytes(path, bytes.substr(0, size) + tail);
      auto journal = Journal::Open(path, "job", "print");
      // Zeros in the place of the rest of a record are no zeros of a file that grew.
      if (!tail.empty() && !journal.ok()) {
        CHECK(KindOf(journal.status()) == ErrorKind::kDataLoss);
        continue;
      }
      RequireOk(journal.status());
      const size_t known = (*journal)->contents().prepared.size();
      CHECK(known <= 1);
      const JournalCommit next = known == 0 ? kFirst : kSecond;
      RequireOk((*journal)->AppendPrepared(next));
      CHECK(ValueOf(Journal::Read(path)).prepared.size() == known + 1);
      CHECK(ValueOf(Journal::Read(path)).fingerprint == "print");
    }
  }
}

TEST_CASE("a flipped bit is data loss or cuts the last record, and never another content") {
  const auto folder = MakeTemporaryFolder();
  const std::string path = folder.path() + "/journal";
  const std::string bytes = MakeJournal(path);
  for (size_t place = 0; place < bytes.size(); ++place) {
    CAPTURE(place);
    std::string flipped = bytes;
    flipped[place] = static_cast<char>(flipped[place] ^ 0x10);
    WriteBytes(path, flipped);
    const auto contents = Journal::Read(path);
    if (contents.ok()) {
      CHECK(contents->prepared == std::vector{kFirst});
      CHECK(contents->committed.size() == 1);
    } else {
      CHECK((KindOf(contents.status()) == ErrorKind::kDataLoss ||
             (place >= 8 && place < 12 && KindOf(contents.status()) == ErrorKind::kUnsupported)));
    }
  }
}

TEST_CASE("a journal belongs to one plan and to one process at a time") {
  const auto folder = MakeTemporaryFolder();
  const std::string path = folder.path() + "/journal";
  const auto journal = ValueOf(Journal::Open(path, "job", "print"));
  CHECK_ERROR(Journal::Open(path, "job", "print"), ErrorKind::kConflict, "in use");
  const std::string other = folder.path() + "/other";
  MakeJournal(other);
  CHECK_ERROR(Journal::Open(other, "job", "changed"), ErrorKind::kConflict, "another plan");
  WriteBytes(other, "something else entirely");
  CHECK_ERROR(Journal::Open(other, "job", "print"), ErrorKind::kDataLoss, "not a journal");
  WriteBytes(other, std::string("GNOMONJLh\0\0", 11));
  CHECK_ERROR(Journal::Open(other, "job", "print"), ErrorKind::kDataLoss, "damaged at byte 8");
}

TEST_CASE("the golden journals of both format versions are read, the older one without reports") {
  for (const bool is_old : {false, true}) {
    const JournalContents contents = ValueOf(Journal::Read(
        is_old ? "tests/golden/journal/v1.journal" : "tests/golden/journal/v2.journal"));
    CHECK(contents.job == "job");
    CHECK(contents.fingerprint == "print");
    CHECK(contents.prepared == (is_old ? std::vector{WithoutReport(kFirst), WithoutReport(kSecond)}
                                       : std::vector{kFirst, kSecond}));
    CHECK(contents.committed.size() == 1);
  }
}

TEST_CASE("an older journal goes on in its own version, and a newer one is refused by name") {
  const auto folder = MakeTemporaryFolder();
  const std::string path = folder.path() + "/journal";
  WriteBytes(path, ValueOf(ReadFile("tests/golden/journal/v1.journal")));
  JournalCommit third = kFirst;
  third.partition = 2;
  RequireOk(ValueOf(Journal::Open(path, "job", "print"))->AppendPrepared(third));
  CHECK(ValueOf(ReadFile(path)).at(8) == 1);
  CHECK(ValueOf(Journal::Read(path)).prepared.back() == WithoutReport(third));
  std::string newer = ValueOf(ReadFile("tests/golden/journal/v2.journal"));
  newer[8] = 3;
  WriteBytes(path, newer);
  CHECK_ERROR(Journal::Open(path, "job", "print"), ErrorKind::kUnsupported,
              "has format version 3, this build reads 1 and 2");
}

TEST_CASE("a job that was killed at a commit is resumed and commits every partition once") {
  for (const std::string point : {"job.before_commit", "job.after_commit"}) {
    for (const std::string pass : {"1", "3"}) {
      const std::string fault = point + ":" + pass + ":kill";
      CAPTURE(fault);
      const auto folder = MakeTemporaryFolder();
      const std::string out = folder.path() + "/out";
      const std::vector<std::string> command = {test::TestWorkerCommand().front(), "job", out,
                                                folder.path() + "/journal"};
      const auto killed = RunCommand(command, {.environment = {{"GNOMON_FAULT", fault}}});
      CHECK(killed.exit_code == 128 + SIGKILL);
      CHECK(test::ReadFolder(out).commits < 4);
      const auto resumed = RunCommand(command);
      CHECK_MESSAGE(resumed.exit_code == 0, resumed.err);
      const auto contents = test::ReadFolder(out);
      CHECK(contents.commits == 4);
      CHECK(contents.staged == 0);
      CHECK(contents.rows.size() == 1200);
    }
  }
}

}  // namespace
}  // namespace gnomon::runtime
