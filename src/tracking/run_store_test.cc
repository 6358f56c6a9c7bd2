#include "tracking/run_store.h"

#include <cmath>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

#include "base/files.h"
#include "sql/sqlite.h"

namespace gnomon::tracking {
namespace {

struct Fixture {
  TemporaryFolder folder = TemporaryFolder::Make().ValueOrDie();
  FakeClock clock{1'707'309'296'000'000};
  Context context;
  std::unique_ptr<RunStore> store;

  Fixture() {
    context.clock = &clock;
    store = OpenLocalRunStore(folder.path() + "/runs").ValueOrDie();
  }
  Run NewRun(const std::string& name) {
    return store->CreateRun(context, "sales", name).ValueOrDie();
  }
};

TEST_CASE("a run keeps parameters, the last value of each metric, tags and artifacts") {
  Fixture fixture;
  Run run = fixture.NewRun("sales-training-20240207-123456");
  REQUIRE(
      fixture.store->LogParams(fixture.context, run.id, {{"lr", "0.001"}, {"epochs", "50"}}).ok());
  REQUIRE(fixture.store
              ->LogMetrics(fixture.context, run.id,
                           {{"loss", 0.5, 2, 10},
                            {"loss", 0.9, 1, 5},
                            {"loss", 0.25, 3, 20},
                            {"r2", 0.87, 0, 20}})
              .ok());
  const std::string file = fixture.folder.path() + "/model.txt";
  REQUIRE(WriteFileAtomic(file, "weights").ok());
  REQUIRE(fixture.store->LogArtifact(fixture.context, run.id, file, "model/model.txt").ok());
  fixture.clock.Advance(1'000'000);
  REQUIRE(fixture.store->EndRun(fixture.context, run.id, RunStatus::kFinished).ok());

  Run read = fixture.store->GetRun(fixture.context, run.id.value).ValueOrDie();
  CHECK(read.name == "sales-training-20240207-123456");
  CHECK(read.status == RunStatus::kFinished);
  CHECK(read.end_time - read.start_time == 1'000'000);
  CHECK(read.params == std::map<std::string, std::string>{{"lr", "0.001"}, {"epochs", "50"}});
  CHECK(read.metrics == std::map<std::string, double>{{"loss", 0.25}, {"r2", 0.87}});
  auto history = fixture.store->MetricHistory(fixture.context, run.id, "loss").ValueOrDie();
  REQUIRE(history.size() == 3);
  CHECK(history[0].value == 0.9);
  CHECK(history[2].step == 3);
  CHECK(fixture.store->ListArtifacts(fixture.context, run.id).ValueOrDie() ==
        std::vector<std::string>{"model/model.txt"});
  CHECK(ReadFile(read.artifact_folder + "/model/model.txt").ValueOrDie() == "weights");
}

TEST_CASE("a parameter cannot change its value") {
  Fixture fixture;
  Run run = fixture.NewRun("a");
  REQUIRE(fixture.store->LogParams(fixture.context, run.id, {{"lr", "1"}}).ok());
  CHECK(fixture.store->LogParams(fixture.context, run.id, {{"lr", "1"}}).ok());
  const Status changed =
      fixture.store->LogParams(fixture.context, run.id, {{"depth", "3"}, {"lr", "2"}});
  CHECK(KindOf(changed) == ErrorKind::kConflict);
  CHECK(fixture.store->GetRun(fixture.context, "a").ValueOrDie().params.size() == 1);
}

TEST_CASE("runs are found by id, by a prefix of it, and by name, the newest first") {
  Fixture fixture;
  Run older = fixture.NewRun("same");
  fixture.clock.Advance(5);
  Run newer = fixture.NewRun("same");
  CHECK(fixture.store->GetRun(fixture.context, "same").ValueOrDie().id == newer.id);
  CHECK(fixture.store->GetRun(fixture.context, older.id.value.substr(0, 12)).ValueOrDie().id ==
        older.id);
  CHECK(KindOf(fixture.store->GetRun(fixture.context, "nothing").status()) == ErrorKind::kNotFound);
  auto all = fixture.store->ListRuns(fixture.context).ValueOrDie();
  REQUIRE(all.size() == 2);
  CHECK(all[0].id == newer.id);
  CHECK(fixture.store->ListRuns(fixture.context, "other").ValueOrDie().empty());
}

TEST_CASE("names and values keep MLflow's limits") {
  Fixture fixture;
  Run run = fixture.NewRun("a");
  CHECK(KindOf(fixture.store->LogParams(fixture.context, run.id, {{"bad key!", "1"}})) ==
        ErrorKind::kUser);
  CHECK(KindOf(fixture.store->LogParams(fixture.context, run.id, {{std::string(251, 'k'), "1"}})) ==
        ErrorKind::kUser);
  CHECK(fixture.store->LogParams(fixture.context, run.id, {{"p", std::string(6000, 'v')}}).ok());
  CHECK(KindOf(fixture.store->LogParams(fixture.context, run.id,
                                        {{"q", std::string(6001, 'v')}})) == ErrorKind::kUser);
  CHECK(KindOf(fixture.store->LogArtifact(fixture.context, run.id, "/etc/hostname", "../escape")) ==
        ErrorKind::kUser);
  CHECK(KindOf(fixture.store->LogMetrics(fixture.context, RunId{"0123"}, {{"a", 1, 0, 0}})) ==
        ErrorKind::kNotFound);
}

TEST_CASE("a metric that is not a number stays one") {
  Fixture fixture;
  Run run = fixture.NewRun("a");
  REQUIRE(fixture.store->LogMetrics(fixture.context, run.id, {{"loss", std::nan(""), 0, 0}}).ok());
  CHECK(std::isnan(fixture.store->GetRun(fixture.context, "a").ValueOrDie().metrics.at("loss")));
}

TEST_CASE("two stores on one folder write at the same time and lose nothing") {
  Fixture fixture;
  auto other = OpenLocalRunStore(fixture.folder.path() + "/runs").ValueOrDie();
  Run run = fixture.NewRun("shared");
  auto write = [&](RunStore* store, int64_t first) {
    for (int64_t i = first; i < first + 50; ++i) {
      CHECK(store->LogMetrics(fixture.context, run.id, {{"loss", 1.0, i, i}}).ok());
    }
  };
  std::thread left(write, fixture.store.get(), 0);
  std::thread right(write, other.get(), 50);
  left.join();
  right.join();
  CHECK(fixture.store->MetricHistory(fixture.context, run.id, "loss").ValueOrDie().size() == 100);
}

TEST_CASE("a folder is kept as artifacts with the folders in it") {
  Fixture fixture;
  const Run run = fixture.NewRun("a");
  const std::string folder = fixture.folder.path() + "/model";
  REQUIRE(MakeFolders(folder + "/deep").ok());
  REQUIRE(WriteFileAtomic(folder + "/model.json", "{}").ok());
  REQUIRE(WriteFileAtomic(folder + "/deep/weights", "w").ok());
  REQUIRE(fixture.store->LogArtifact(fixture.context, run.id, folder, "best").ok());
  CHECK(fixture.store->ListArtifacts(fixture.context, run.id).ValueOrDie() ==
        std::vector<std::string>{"best/deep/weights", "best/model.json"});
  CHECK(fixture.store->ListArtifacts(fixture.context, fixture.NewRun("b").id).ValueOrDie().empty());
  CHECK(KindOf(fixture.store->LogArtifact(fixture.context, run.id, folder + "/none", "x")) ==
        ErrorKind::kNotFound);
  for (const char* path : {"", "/x", "../x", "a/../../x"}) {
    CHECK(KindOf(fixture.store->LogArtifact(fixture.context, run.id, folder, path)) ==
          ErrorKind::kUser);
  }
}

TEST_CASE("an ambiguous or too short prefix of an id is refused") {
  Fixture fixture;
  std::map<std::string, int> prefixes;
  std::string ambiguous;
  // Among so many ids two begin with the same four digits, nearly surely; the seedless draw is
  // repeated until they do.
  for (int i = 0; ambiguous.empty() && i < 20'000; ++i) {
    const std::string prefix = fixture.NewRun("r").id.value.substr(0, 4);
    if (++prefixes[prefix] == 2) ambiguous = prefix;
  }
  REQUIRE_FALSE(ambiguous.empty());
  CHECK(KindOf(fixture.store->GetRun(fixture.context, ambiguous).status()) == ErrorKind::kUser);
  CHECK(KindOf(fixture.store->GetRun(fixture.context, ambiguous.substr(0, 3)).status()) ==
        ErrorKind::kNotFound);
}

TEST_CASE("a store of a newer format is refused by its number and left as it is") {
  Fixture fixture;
  const std::string folder = fixture.folder.path() + "/runs";
  sql::Sqlite database = sql::Sqlite::Open(folder + "/runs.db").ValueOrDie();
  REQUIRE(database.Execute("UPDATE format SET version = 2").ok());
  const auto store = OpenLocalRunStore(folder);
  REQUIRE_FALSE(store.ok());
  CHECK(KindOf(store.status()) == ErrorKind::kUnsupported);
  CHECK(store.status().message().find("format version 2") != std::string::npos);
}

TEST_CASE("a store can be opened and read while another one writes") {
  Fixture fixture;
  const Run run = fixture.NewRun("a");
  const std::string folder = fixture.folder.path() + "/runs";
  sql::Sqlite writer = sql::Sqlite::Open(folder + "/runs.db").ValueOrDie();
  const Status status = writer.Transaction([&]() -> Status {
    GNOMON_ASSIGN_OR_RETURN(const auto reader, OpenLocalRunStore(folder));
    return reader->GetRun(fixture.context, run.id.value).status();
  });
  CHECK(status.ok());
}

}  // namespace
}  // namespace gnomon::tracking
