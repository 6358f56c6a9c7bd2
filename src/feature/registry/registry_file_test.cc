#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>
#include <unistd.h>
#include <vector>

#include <doctest/doctest.h>

#include "base/files.h"
#include "feature/registry/random_definitions.h"
#include "feature/registry/registry.h"
#include "feature/registry/registry_file_internal.h"
#include "tests/support/process.h"
#include "tests/support/temporary.h"

namespace gnomon::feature {

namespace {

using test::ValueOf;

std::unique_ptr<Registry> Open(const std::string& path) {
  return ValueOf(Registry::Open(Context{}, path, "project"));
}

// Definitions with at least one on-demand view, so that both files matter.
Definitions Some(uint64_t seed) {
  for (;; seed += 1000) {
    Definitions all = RandomDefinitions(seed);
    if (!all.on_demand_feature_views.empty()) return all;
  }
}

// Without the syncing of WriteFileAtomic.
void Overwrite(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

}  // namespace

TEST_CASE("a registry file that is cut at any byte is data loss, never fewer objects") {
  const auto folder = test::MakeTemporaryFolder();
  const std::string path = folder.path() + "/registry.db";
  ValueOf(Open(path)->Apply(Context{}, Some(1)));
  for (const std::string& file : {path, path + ".gnomon"}) {
    const std::string bytes = ValueOf(ReadFile(file));
    const size_t step = bytes.size() / 300 + 1;
    for (size_t size = 0; size < bytes.size(); size += step) {
      CAPTURE(size);
      Overwrite(file, bytes.substr(0, size));
      CHECK_ERROR(Registry::Open(Context{}, path, "project"), ErrorKind::kDataLoss, file);
    }
    Overwrite(file, bytes);
  }
  CHECK(Open(path)->definitions()->feature_views == Some(1).feature_views);
}

TEST_CASE("a changed byte in the registry is data loss") {
  const auto folder = test::MakeTemporaryFolder();
  const std::string path = folder.path() + "/registry.db";
  ValueOf(Open(path)->Apply(Context{}, Some(2)));
  const std::string bytes = ValueOf(ReadFile(path));
  const std::string version = Open(path)->version_id();
  const size_t begin = bytes.find(version);
  for (size_t at = 0; at < bytes.size(); at += bytes.size() / 100 + 1) {
    // Another version id is another tool's registry.
    if (at >= begin && at < begin + version.size()) continue;
    CAPTURE(at);
    std::string changed = bytes;
    changed[at] = static_cast<char>(changed[at] ^ 0x11);
    Overwrite(path, changed);
    const auto result = Registry::Open(Context{}, path, "project");
    CHECK_FALSE(result.ok());
  }
}

TEST_CASE("what is no registry says so and how to begin anew") {
  const auto folder = test::MakeTemporaryFolder();
  const std::string path = folder.path() + "/registry.db";
  for (const auto* text : {"", "hello", "PAR1", "SQLite format 3"}) {
    CAPTURE(text);
    Overwrite(path, text);
    CHECK_ERROR(Registry::Open(Context{}, path, "project"), ErrorKind::kDataLoss, "gnomon apply");
  }
  feast::core::Registry other;
  other.set_registry_schema_version("2");
  other.set_version_id("x");
  Overwrite(path, other.SerializeAsString());
  CHECK_ERROR(Registry::Open(Context{}, path, "project"), ErrorKind::kUnsupported,
              "schema version '2'");
}

TEST_CASE("a side file of a newer format is refused by name") {
  const auto folder = test::MakeTemporaryFolder();
  const std::string path = folder.path() + "/registry.db";
  ValueOf(Open(path)->Apply(Context{}, Some(3)));
  std::string bytes = ValueOf(ReadFile(path + ".gnomon"));
  CHECK(bytes.starts_with(std::string("GNOMONRG\x01\0\0\0", 12)));
  bytes[8] = 2;
  Overwrite(path + ".gnomon", bytes);
  CHECK_ERROR(Registry::Open(Context{}, path, "project"), ErrorKind::kUnsupported, "in format 2");
}

TEST_CASE("when only the side file was written, the old registry is whole") {
  const auto folder = test::MakeTemporaryFolder();
  const std::string path = folder.path() + "/registry.db";
  const Definitions before = Some(4);
  ValueOf(Open(path)->Apply(Context{}, before));
  const std::string old_bytes = ValueOf(ReadFile(path));
  ValueOf(Open(path)->Apply(Context{}, Some(5)));
  Overwrite(path, old_bytes);
  const auto registry = Open(path);
  CHECK(registry->definitions()->feature_views == before.feature_views);
  CHECK(registry->definitions()->on_demand_feature_views == before.on_demand_feature_views);
  CHECK(registry->definitions()->feature_services == before.feature_services);
  ValueOf(registry->Apply(Context{}, Some(5)));
  CHECK(Open(path)->definitions()->on_demand_feature_views == Some(5).on_demand_feature_views);
}

TEST_CASE("child: applies the definitions of a seed" * doctest::skip()) {
  const char* path = std::getenv("GNOMON_TEST_REGISTRY");
  const char* seed = std::getenv("GNOMON_TEST_SEED");
  REQUIRE(path != nullptr);
  REQUIRE(seed != nullptr);
  ValueOf(Open(path)->Apply(Context{}, Some(std::strtoull(seed, nullptr, 10))));
}

TEST_CASE("a process that is killed while it writes leaves the old registry or the new one") {
  const auto folder = test::MakeTemporaryFolder();
  const std::string path = folder.path() + "/registry.db";
  const std::string self = std::filesystem::read_symlink("/proc/self/exe").string();
  const auto apply = [&](int seed, const std::string& fault) {
    return test::RunCommand({self, "--no-skip", "--test-case=child: applies*"},
                            {.environment = {{"GNOMON_TEST_REGISTRY", path},
                                             {"GNOMON_TEST_SEED", std::to_string(seed)},
                                             {"GNOMON_FAULT", fault}}})
        .exit_code;
  };
  REQUIRE(apply(10, "") == 0);
  for (const std::string pass : {"1", "2"}) {
    CAPTURE(pass);
    CHECK(apply(11, Concat("registry.before_write:", pass, ":kill")) == 128 + 9);
    CHECK(Open(path)->definitions()->on_demand_feature_views == Some(10).on_demand_feature_views);
    CHECK(Open(path)->definitions()->feature_views == Some(10).feature_views);
    CHECK(apply(11, Concat("registry.before_write:", pass, ":nospace")) != 0);
    CHECK(Open(path)->definitions()->feature_services == Some(10).feature_services);
  }
  CHECK(apply(11, "") == 0);
  CHECK(Open(path)->definitions()->on_demand_feature_views == Some(11).on_demand_feature_views);
}

TEST_CASE("the lock is held by one at a time and gives up with its context") {
  const auto folder = test::MakeTemporaryFolder();
  const std::string path = folder.path() + "/deep/registry.db";
  const auto held = ValueOf(RegistryLock::Acquire(Context{}, path));
  CHECK_ERROR(RegistryLock::Acquire(Context{}.WithTimeout(0.02), path), ErrorKind::kDeadline, "");
}

TEST_CASE("writers and readers of one file never see a half of it") {
  const auto folder = test::MakeTemporaryFolder();
  const std::string path = folder.path() + "/registry.db";
  constexpr int kWriters = 3;
  constexpr int kRounds = 15;
  ValueOf(Open(path)->Apply(Context{}, Some(20)));
  std::vector<std::thread> threads;
  for (int writer = 0; writer < kWriters; ++writer) {
    threads.emplace_back([&, writer] {
      const auto registry = Open(path);
      for (int round = 0; round < kRounds; ++round) {
        MaterializationJob job;
        job.id = Concat(writer, "-", round);
        Status status = registry->PutJob(Context{}, job);
        while (!status.ok()) {
          GNOMON_CHECK(KindOf(status) == ErrorKind::kConflict, status.ToString());
          GNOMON_CHECK(registry->Refresh(Context{}).ok());
          status = registry->PutJob(Context{}, job);
        }
      }
    });
  }
  threads.emplace_back([&] {
    for (int round = 0; round < 60; ++round) {
      const auto content = ReadRegistry(path);
      GNOMON_CHECK(content.ok(), content.status().ToString());
      GNOMON_CHECK(!content->side_is_older);
    }
  });
  for (std::thread& thread : threads) thread.join();
  CHECK(Open(path)->Jobs().size() == kWriters * kRounds);
}

}  // namespace gnomon::feature
