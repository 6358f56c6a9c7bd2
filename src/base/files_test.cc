#include "base/files.h"

#include <csignal>
#include <filesystem>
#include <fstream>
#include <sys/resource.h>
#include <sys/stat.h>
#include <utility>

#include <doctest/doctest.h>

#include "tests/support/temporary.h"

namespace gnomon {

using test::ValueOf;

namespace {

size_t NumEntries(const std::string& folder) {
  const std::filesystem::directory_iterator entries(folder);
  return static_cast<size_t>(std::distance(begin(entries), end(entries)));
}

}  // namespace

TEST_CASE("what is written is read back") {
  const auto folder = test::MakeTemporaryFolder();
  const std::string path = folder.path() + "/new/deeper/file";
  const std::string contents("a\0b\n", 4);
  CHECK_OK(WriteFileAtomic(path, contents));
  CHECK(ValueOf(ReadFile(path)) == contents);
  CHECK_OK(WriteFileAtomic(path, ""));
  CHECK(ValueOf(ReadFile(path)) == "");
  CHECK(NumEntries(folder.path() + "/new/deeper") == 1);
}

TEST_CASE("a file that grows from nothing is read whole") {
  CHECK(ValueOf(ReadFile("/proc/self/status")).find("Name:") == 0);
}

TEST_CASE("an absent file is not found by name") {
  CHECK_ERROR(ReadFile("/nowhere/at/all"), ErrorKind::kNotFound, "/nowhere/at/all");
}

TEST_CASE("a folder is not read as a file") {
  CHECK_ERROR(ReadFile("/tmp"), ErrorKind::kUser, "folder");
  CHECK_ERROR(WriteFileAtomic("/tmp/", "x"), ErrorKind::kUser, "not the name of a file");
  const auto folder = test::MakeTemporaryFolder();
  CHECK_ERROR(WriteFileAtomic(folder.path(), "x"), ErrorKind::kUser, "folder");
}

TEST_CASE("a file above the bound is refused") {
  const auto folder = test::MakeTemporaryFolder();
  const std::string path = folder.path() + "/file";
  CHECK_OK(WriteFileAtomic(path, "12345"));
  CHECK(ValueOf(ReadFile(path, 5)) == "12345");
  CHECK_ERROR(ReadFile(path, 4), ErrorKind::kExhausted, "larger than 4 bytes");
  CHECK_ERROR(ReadFile("/proc/self/status", 4), ErrorKind::kExhausted, "larger than 4 bytes");
}

TEST_CASE("a file without commit leaves the old one and nothing else") {
  const auto folder = test::MakeTemporaryFolder();
  const std::string path = folder.path() + "/file";
  CHECK_OK(WriteFileAtomic(path, "old"));
  {
    const AtomicFile file = ValueOf(AtomicFile::Create(path));
    std::ofstream(file.temporary_path()) << "new";
    CHECK(NumEntries(folder.path()) == 2);
  }
  CHECK(ValueOf(ReadFile(path)) == "old");
  CHECK(NumEntries(folder.path()) == 1);
}

TEST_CASE("a commit replaces the old file") {
  const auto folder = test::MakeTemporaryFolder();
  const std::string path = folder.path() + "/file";
  CHECK_OK(WriteFileAtomic(path, "old"));
  AtomicFile file = ValueOf(AtomicFile::Create(path));
  std::ofstream(file.temporary_path()) << "new";
  AtomicFile moved = std::move(file);
  CHECK_OK(moved.Commit());
  CHECK(ValueOf(ReadFile(path)) == "new");
  CHECK(NumEntries(folder.path()) == 1);
}

TEST_CASE("assigning over an open file drops it") {
  const auto folder = test::MakeTemporaryFolder();
  AtomicFile file = ValueOf(AtomicFile::Create(folder.path() + "/a"));
  file = ValueOf(AtomicFile::Create(folder.path() + "/b"));
  CHECK(NumEntries(folder.path()) == 1);
  CHECK_OK(file.Commit());
  CHECK(ValueOf(ReadFile(folder.path() + "/b")) == "");
}

TEST_CASE("the temporary name stands beside the file, hidden, and fits for long names") {
  const auto folder = test::MakeTemporaryFolder();
  const AtomicFile file = ValueOf(AtomicFile::Create(folder.path() + "/" + std::string(255, 'n')));
  const std::filesystem::path temporary = file.temporary_path();
  CHECK(temporary.parent_path() == folder.path());
  CHECK(temporary.filename().string().starts_with(".nnn"));
  CHECK(temporary.extension() == ".tmp");
}

TEST_CASE("permissions of the old file are kept") {
  const auto folder = test::MakeTemporaryFolder();
  const std::string path = folder.path() + "/secret";
  CHECK_OK(WriteFileAtomic(path, "old"));
  REQUIRE(::chmod(path.c_str(), 0600) == 0);
  CHECK_OK(WriteFileAtomic(path, "new"));
  struct stat info {};
  REQUIRE(::stat(path.c_str(), &info) == 0);
  CHECK((info.st_mode & 0777) == 0600);
}

TEST_CASE("a write that fails keeps the old file and removes the temporary one") {
  const auto folder = test::MakeTemporaryFolder();
  const std::string path = folder.path() + "/file";
  CHECK_OK(WriteFileAtomic(path, "old"));
  // A bound on the size of files makes write() fail with EFBIG, as a full disk does with ENOSPC.
  struct rlimit old_limit {};
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &old_limit) == 0);
  struct rlimit limit = old_limit;
  limit.rlim_cur = 1024;
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &limit) == 0);
  const Status status = WriteFileAtomic(path, std::string(4096, 'x'));
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &old_limit) == 0);
  std::signal(SIGXFSZ, old_handler);
  CHECK_ERROR(status, ErrorKind::kExhausted, "cannot write");
  CHECK(ValueOf(ReadFile(path)) == "old");
  CHECK(NumEntries(folder.path()) == 1);
}

TEST_CASE("a folder is not made where a file stands") {
  const auto folder = test::MakeTemporaryFolder();
  CHECK_OK(WriteFileAtomic(folder.path() + "/file", ""));
  CHECK_FALSE(MakeFolders(folder.path() + "/file").ok());
  CHECK_FALSE(MakeFolders(folder.path() + "/file/below").ok());
  CHECK_OK(MakeFolders(folder.path() + "/a/b"));
  CHECK_OK(MakeFolders(folder.path() + "/a/b"));
}

TEST_CASE("a temporary folder is removed with its contents, and a moved one once") {
  std::string path;
  {
    auto folder = ValueOf(TemporaryFolder::Make());
    path = folder.path();
    CHECK_OK(WriteFileAtomic(path + "/a/b", "x"));
    const TemporaryFolder moved = std::move(folder);
    CHECK(moved.path() == path);
    CHECK(std::filesystem::exists(path));
  }
  CHECK_FALSE(std::filesystem::exists(path));
}

}  // namespace gnomon
