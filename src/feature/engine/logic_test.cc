// Runs tests/logic/point_in_time/*.test. A file is a list of blocks, each ended by an empty line;
// what a block sets stays for the cases after it:
//
//   definitions                       features.yaml, without empty lines
//   entities: [{name: driver, join_keys: [driver], value_type: INT64}]
//   ...
//
//   table stats.arrow                 a source file: columns with types, rows, null is an empty
//   cell driver:int64,ts:timestamp,amount:float64 1,2024-01-01 00:00,10.5
//
//   labels                            the entity rows
//   driver:int64,event_timestamp:timestamp
//   1,2024-01-02
//
//   case a sentence
//   get view:feature ... | service NAME | range START END view:feature ...      then options:
//       full_feature_names, filter_by_created_timestamp, created_before=INSTANT
//   driver:int64,...                  the expected table, or `error KIND part of the message`
//   1,...
//
// Types: int32 int64 float64 string bool date, timestamp (microseconds in UTC),
// timestamp[s|ms|us|ns] (without a zone), list<float64> (cells as [1;2]).

#include <cctype>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <string>
#include <vector>

#include <arrow/table.h>
#include <arrow/type.h>
#include <doctest/doctest.h>

#include "base/config.h"
#include "base/files.h"
#include "base/text.h"
#include "base/time.h"
#include "dataset/distributed/distributed.h"
#include "feature/engine/retrieval.h"
#include "feature/engine/stage_retrieval.h"
#include "runtime/simulated/simulated_backend.h"
#include "table/file.h"
#include "tests/support/table.h"

namespace gnomon::feature {
namespace {

using TablePtr = std::shared_ptr<arrow::Table>;

std::shared_ptr<arrow::DataType> TypeNamed(const std::string& name) {
  static const std::map<std::string, std::shared_ptr<arrow::DataType>> kTypes = {
      {"int32", arrow::int32()},
      {"int64", arrow::int64()},
      {"float64", arrow::float64()},
      {"string", arrow::utf8()},
      {"bool", arrow::boolean()},
      {"date", arrow::date32()},
      {"timestamp", arrow::timestamp(arrow::TimeUnit::MICRO, "UTC")},
      {"timestamp[s]", arrow::timestamp(arrow::TimeUnit::SECOND)},
      {"timestamp[ms]", arrow::timestamp(arrow::TimeUnit::MILLI)},
      {"timestamp[us]", arrow::timestamp(arrow::TimeUnit::MICRO)},
      {"timestamp[ns]", arrow::timestamp(arrow::TimeUnit::NANO)},
      {"list<float64>", arrow::list(arrow::float64())},
  };
  const auto found = kTypes.find(name);
  REQUIRE_MESSAGE(found != kTypes.end(), name);
  return found->second;
}

int64_t Instant(const std::string& text) {
  const auto micros = ParseTimestamp(text);
  REQUIRE_MESSAGE(micros.ok(), micros.status().ToString());
  return *micros;
}

/// A cell as JSON. Nanoseconds are read by Arrow, because our instants are microseconds.
std::string JsonOf(const std::string& cell, const arrow::DataType& type) {
  if (cell.empty()) return "null";
  switch (type.id()) {
    case arrow::Type::STRING:
      return Concat('"', cell, '"');
    case arrow::Type::DATE32:
      return std::to_string(Instant(cell) / kMicrosPerDay);
    case arrow::Type::LIST: {
      std::string list = cell;
      std::ranges::replace(list, ';', ',');
      return list;
    }
    case arrow::Type::TIMESTAMP:
      switch (static_cast<const arrow::TimestampType&>(type).unit()) {
        case arrow::TimeUnit::SECOND:
          return std::to_string(Instant(cell) / kMicrosPerSecond);
        case arrow::TimeUnit::MILLI:
          return std::to_string(Instant(cell) / 1000);
        case arrow::TimeUnit::MICRO:
          return std::to_string(Instant(cell));
        case arrow::TimeUnit::NANO:
          return Concat('"', cell, '"');
      }
      return "null";
    default:
      return cell;
  }
}

TablePtr TableOfLines(const std::vector<std::string>& lines) {
  REQUIRE_FALSE(lines.empty());
  std::vector<test::Column> columns;
  for (const std::string& column : Split(lines[0], ',')) {
    const std::vector<std::string> parts = Split(column, ':');
    REQUIRE_MESSAGE(parts.size() == 2, column);
    columns.push_back({.name = parts[0], .type = TypeNamed(parts[1])});
  }
  std::vector<std::string> rows;
  for (size_t i = 1; i < lines.size(); ++i) {
    const std::vector<std::string> cells = Split(lines[i], ',');
    REQUIRE_MESSAGE(cells.size() == columns.size(), lines[i]);
    std::vector<std::string> values;
    for (size_t c = 0; c < cells.size(); ++c) {
      values.push_back(JsonOf(std::string(Trim(cells[c])), *columns[c].type));
    }
    rows.push_back(Concat('[', Join(values, ","), ']'));
  }
  return test::TableOf(columns, Concat('[', Join(rows, ","), ']'));
}

/// What a file has set up so far.
class World {
 public:
  void Define(const std::vector<std::string>& lines) {
    const auto root = ParseConfig(Join(lines, "\n"), "definitions");
    REQUIRE_MESSAGE(root.ok(), root.status().ToString());
    const auto parsed = ParseDefinitions(*root);
    REQUIRE_MESSAGE(parsed.ok(), parsed.status().ToString());
    definitions_ = Complete(*parsed);
    const Status valid = Validate(definitions_);
    REQUIRE_MESSAGE(valid.ok(), valid.ToString());
  }

  void AddTable(const std::string& name, const std::vector<std::string>& lines) {
    const std::filesystem::path path = std::filesystem::path(folder_.path()) / name;
    std::filesystem::create_directories(path.parent_path());
    const Status written = table::WriteTable(context_, *TableOfLines(lines), path.string());
    REQUIRE_MESSAGE(written.ok(), written.ToString());
  }

  void SetLabels(const std::vector<std::string>& lines) { labels_ = TableOfLines(lines); }

  /// Runs the words behind `get`.
  Result<TablePtr> Get(const std::vector<std::string>& words) const {
    std::vector<std::string> refs;
    std::string service;
    std::optional<std::pair<int64_t, int64_t>> range;
    bool full_names = false;
    RetrievalOptions options;
    for (size_t i = 0; i < words.size(); ++i) {
      const std::string& word = words[i];
      if (word == "service") {
        service = words.at(++i);
      } else if (word == "range") {
        range.emplace(Instant(words.at(i + 1)), Instant(words.at(i + 2)));
        i += 2;
      } else if (word == "full_feature_names") {
        full_names = true;
      } else if (word == "filter_by_created_timestamp") {
        options.filter_by_created_timestamp = true;
      } else if (word.starts_with("created_before=")) {
        options.created_before = Instant(word.substr(word.find('=') + 1));
      } else {
        refs.push_back(word);
      }
    }
    RepositoryConfig config;
    config.folder = folder_.path();
    GNOMON_ASSIGN_OR_RETURN(const auto store, OpenOfflineStore(config));
    std::map<std::string, std::shared_ptr<arrow::Schema>> schemas;
    for (const DataSource& source : definitions_.data_sources) {
      GNOMON_ASSIGN_OR_RETURN(schemas[source.name], store->SourceSchema(context_, source));
    }
    GNOMON_ASSIGN_OR_RETURN(auto resolved, ResolveSchemas(definitions_, schemas));
    const auto definitions = std::make_shared<const Definitions>(std::move(resolved));
    GNOMON_ASSIGN_OR_RETURN(const FeaturePlan plan,
                            service.empty() ? PlanFeatures(definitions, refs, full_names)
                                            : PlanFeatureService(definitions, service, full_names));
    RetrievalStats stats;
    if (range) {
      return RetrieveRange(context_, plan, *store, range->first, range->second, options, &stats);
    }
    auto table = RetrieveHistorical(context_, plan, *store, *labels_, options, &stats);
    CheckStages(plan, *store, options, table);
    return table;
  }

 private:
  /// The same as stages on virtual nodes with faults, where a plan can say it.
  void CheckStages(const FeaturePlan& plan, const OfflineStore& store,
                   const RetrievalOptions& options, const Result<TablePtr>& expected) const {
    runtime::StageRegistry registry;
    REQUIRE(dataset::RegisterPlanStages(registry, nullptr).ok());
    const auto backend =
        runtime::MakeSimulatedBackend(registry, {.faults = runtime::SimulatedFaults::Everything()});
    const auto actual =
        RetrieveByStages(context_, *backend, plan, store, labels_, options, nullptr);
    if (!actual.ok() && KindOf(actual.status()) == ErrorKind::kUnsupported) return;
    CHECK(actual.ok() == expected.ok());
    if (expected.ok()) CHECK_TABLE_EQ(actual, *expected);
  }

  Context context_;
  TemporaryFolder folder_ = TemporaryFolder::Make("gnomon-logic").ValueOrDie();
  Definitions definitions_;
  TablePtr labels_;
};

void CheckCase(const World& world, const std::string& question,
               const std::vector<std::string>& answer) {
  REQUIRE_FALSE(answer.empty());
  const std::vector<std::string> words = Split(question, ' ');
  REQUIRE(words.front() == "get");
  const auto actual = world.Get({words.begin() + 1, words.end()});
  if (!answer[0].starts_with("error ")) {
    CHECK_TABLE_EQ(actual, TableOfLines(answer));
    return;
  }
  const std::string expected = answer[0].substr(6);
  const size_t space = expected.find(' ');
  REQUIRE_MESSAGE(!actual.ok(), "got " << test::ShowTable(**actual));
  CHECK(NameOf(KindOf(actual.status())) == expected.substr(0, space));
  const std::string text = FormatError(actual.status());
  CHECK_MESSAGE(text.find(expected.substr(space + 1)) != std::string::npos, text);
}

std::vector<std::string> ReadLines(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with('#')) lines.push_back(line);
  }
  return lines;
}

int RunFile(const std::filesystem::path& path) {
  const std::vector<std::string> lines = ReadLines(path);
  World world;
  int cases = 0;
  for (size_t i = 0; i < lines.size(); ++i) {
    if (lines[i].empty()) continue;
    const std::string head = lines[i];
    std::vector<std::string> block;
    while (++i < lines.size() && !lines[i].empty()) block.push_back(lines[i]);
    const size_t space = head.find(' ');
    const std::string word = head.substr(0, space);
    if (word == "definitions") {
      world.Define(block);
    } else if (word == "table") {
      world.AddTable(head.substr(space + 1), block);
    } else if (word == "labels") {
      world.SetLabels(block);
    } else {
      REQUIRE_MESSAGE(word == "case", head);
      REQUIRE_FALSE(block.empty());
      INFO(path.filename().string() << ": " << head);
      CheckCase(world, block[0], {block.begin() + 1, block.end()});
      ++cases;
    }
  }
  return cases;
}

}  // namespace

TEST_CASE("retrieval gives what the point-in-time files say") {
  int cases = 0;
  std::set<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator("tests/logic/point_in_time")) {
    if (entry.path().extension() != ".test") continue;
    files.insert(entry.path().filename().string());
    const int found = RunFile(entry.path());
    CHECK_MESSAGE(found > 0, entry.path().string());
    cases += found;
  }
  CHECK(files.size() >= 6);
  CHECK(cases >= 45);
}

}  // namespace gnomon::feature
