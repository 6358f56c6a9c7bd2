#include "dataset/scan.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <arrow/table.h>
#include <arrow/type.h>

#include "base/progress.h"
#include "base/text.h"
#include "dataset/dataset.h"
#include "tests/support/status.h"
#include "tests/support/table.h"
#include "tests/support/temporary.h"

namespace gnomon::dataset {

namespace {

using test::MakeTemporaryFolder;
using test::RequireOk;
using test::TableOf;
using test::ValueOf;

void Save(const std::string& path, const std::vector<test::Column>& columns, std::string_view rows,
          const table::WriteOptions& options = {}) {
  RequireOk(table::WriteTable({}, *TableOf(columns, rows), path, options));
}

void SaveText(const std::string& path, std::string_view text) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

Result<std::shared_ptr<arrow::Table>> ReadAll(const std::string& path,
                                              const ScanOptions& options = {}) {
  return Dataset::Read({}, path, options).Collect({});
}

TEST_CASE("files of one folder become one table, integers widened and missing columns null") {
  const auto folder = MakeTemporaryFolder();
  Save(folder.path() + "/a.parquet", {{"id", arrow::int16()}, {"x", arrow::float32()}},
       "[[1, 0.5]]");
  Save(folder.path() + "/b.parquet", {{"late", arrow::utf8()}, {"id", arrow::int64()}},
       R"([["new", 5000000000]])");
  CHECK_TABLE_EQ(ReadAll(folder.path()),
                 TableOf({{"id", arrow::int64()}, {"x", arrow::float32()}, {"late", arrow::utf8()}},
                         R"([[1, 0.5, null], [5000000000, null, "new"]])"));
}

TEST_CASE("types that no type holds both of are refused with both files and the column") {
  const auto folder = MakeTemporaryFolder();
  Save(folder.path() + "/a.parquet", {{"id", arrow::int64()}}, "[[1]]");
  Save(folder.path() + "/b.parquet", {{"id", arrow::utf8()}}, R"([["x"]])");
  const auto scan = OpenScan({}, {folder.path()});
  CHECK_ERROR(scan, ErrorKind::kUser, "'id'");
  CHECK_ERROR(scan, ErrorKind::kUser, "a.parquet");
  CHECK_ERROR(scan, ErrorKind::kUser, "b.parquet");
}

TEST_CASE("a column that may not be null cannot be missing in another file") {
  const auto folder = MakeTemporaryFolder();
  Save(folder.path() + "/a.parquet", {{"id", arrow::int64(), false}, {"y", arrow::int64()}},
       "[[1, 2]]");
  Save(folder.path() + "/b.parquet", {{"y", arrow::int64()}}, "[[3]]");
  CHECK_ERROR(OpenScan({}, {folder.path()}), ErrorKind::kUser, "may not be null");
}

TEST_CASE("mixed units and zones of time are one instant each") {
  const auto folder = MakeTemporaryFolder();
  Save(folder.path() + "/a.arrow", {{"t", arrow::timestamp(arrow::TimeUnit::SECOND, "UTC")}},
       "[[1700000000], [-5]]");
  Save(folder.path() + "/b.arrow", {{"t", arrow::timestamp(arrow::TimeUnit::MICRO, "Asia/Tokyo")}},
       "[[1700000000000001]]");
  CHECK_TABLE_EQ(ReadAll(folder.path()),
                 TableOf({{"t", arrow::timestamp(arrow::TimeUnit::MICRO, "UTC")}},
                         "[[1700000000000000], [-5000000], [1700000000000001]]"));
}

TEST_CASE("an instant that the finer unit cannot hold is an error that names the file") {
  const auto folder = MakeTemporaryFolder();
  Save(folder.path() + "/a.arrow", {{"t", arrow::timestamp(arrow::TimeUnit::SECOND)}},
       "[[100000000000]]");
  Save(folder.path() + "/b.arrow", {{"t", arrow::timestamp(arrow::TimeUnit::NANO)}}, "[[1]]");
  CHECK_ERROR(ReadAll(folder.path()), ErrorKind::kUser, "a.arrow");
}

TEST_CASE("text files take the first one's types, and a new column is not dropped silently") {
  const auto folder = MakeTemporaryFolder();
  SaveText(folder.path() + "/a.csv", "code,x\nA1,1\n");
  SaveText(folder.path() + "/b.csv", "code,x\n007,2\n");
  CHECK_TABLE_EQ(ReadAll(folder.path()), TableOf({{"code", arrow::utf8()}, {"x", arrow::int64()}},
                                                 R"([["A1", 1], ["007", 2]])"));
  SaveText(folder.path() + "/c.csv", "code,x,extra\nB,3,4\n");
  CHECK_ERROR(ReadAll(folder.path()), ErrorKind::kUser, "'extra'");
  const ScanOptions declared{.schema = arrow::schema({arrow::field("extra", arrow::int32()),
                                                      arrow::field("code", arrow::utf8())})};
  CHECK_TABLE_EQ(ReadAll(folder.path(), declared),
                 TableOf({{"extra", arrow::int32()}, {"code", arrow::utf8()}},
                         R"([[null, "A1"], [null, "007"], [4, "B"]])"));
}

TEST_CASE("columns are renamed by the field mapping") {
  const auto folder = MakeTemporaryFolder();
  SaveText(folder.path() + "/a.jsonl", "{\"ts\": 1, \"v\": 2}\n");
  CHECK_TABLE_EQ(Dataset::Read({}, folder.path(), {.field_mapping = {{"ts", "event_time"}}})
                     .Filter("event_time = 1")
                     .Collect({}),
                 TableOf({{"event_time", arrow::int64()}, {"v", arrow::int64()}}, "[[1, 2]]"));
  CHECK_ERROR(OpenScan({}, {folder.path()}, {.field_mapping = {{"tss", "t"}}}), ErrorKind::kUser,
              "did you mean 'ts'?");
}

void SavePartitions(const std::string& root) {
  Save(root + "/year=2023/store=a%2Fb/x.parquet", {{"v", arrow::int64()}}, "[[1]]");
  Save(root + "/year=2024/store=__HIVE_DEFAULT_PARTITION__/x.parquet", {{"v", arrow::int64()}},
       "[[2]]");
  Save(root + "/year=2024/store=c/x.parquet", {{"v", arrow::int64()}}, "[[3]]");
}

const std::vector<test::Column>& PartitionedColumns() {
  static const std::vector<test::Column> columns = {
      {"v", arrow::int64()}, {"year", arrow::int64()}, {"store", arrow::utf8()}};
  return columns;
}

void CheckPartitions(const std::string& root) {
  SavePartitions(root);
  const std::vector<test::Column>& columns = PartitionedColumns();
  CHECK_TABLE_EQ(ReadAll(root),
                 TableOf(columns, R"([[1, 2023, "a/b"], [2, 2024, null], [3, 2024, "c"]])"));
  CHECK_TABLE_EQ(ReadAll(root + "/year=*/store=c"), TableOf(columns, R"([[3, 2024, "c"]])"));
}

// tests/integration/s3.py starts a service and names a place in it.
TEST_CASE("child: hive folders on S3 become columns and prune files" * doctest::skip()) {
  const char* root = std::getenv("GNOMON_TEST_S3");
  REQUIRE(root != nullptr);
  CheckPartitions(root);
  ExecutionReport report;
  CHECK_TABLE_EQ(Dataset::Read({}, root).Filter("year > 2023 and v > 0").Collect({}, {}, &report),
                 TableOf(PartitionedColumns(), R"([[2, 2024, null], [3, 2024, "c"]])"));
  CHECK(report.explain.find("1 of 3 files left out") != std::string::npos);
}

TEST_CASE("hive folders become columns and prune files") {
  const auto folder = MakeTemporaryFolder();
  CheckPartitions(folder.path());
  const std::vector<test::Column>& columns = PartitionedColumns();
  const Dataset recent = Dataset::Read({}, folder.path()).Filter("year > 2023 and v > 0");
  // A file that is pruned is not even opened.
  SaveText(folder.path() + "/year=2023/store=a%2Fb/x.parquet", "broken");
  ExecutionReport report;
  CHECK_TABLE_EQ(recent.Collect({}, {}, &report),
                 TableOf(columns, R"([[2, 2024, null], [3, 2024, "c"]])"));
  CHECK(report.explain.find("1 of 3 files left out") != std::string::npos);
  CHECK_TABLE_EQ(Dataset(recent.plan()).Filter("year = 1").Collect({}), TableOf(columns, "[]"));
}

TEST_CASE("folders with other partition columns are refused") {
  const auto folder = MakeTemporaryFolder();
  Save(folder.path() + "/year=2023/x.parquet", {{"v", arrow::int64()}}, "[[1]]");
  Save(folder.path() + "/month=1/x.parquet", {{"v", arrow::int64()}}, "[[1]]");
  CHECK_ERROR(OpenScan({}, {folder.path()}), ErrorKind::kUser, "different partition columns");
  CHECK(ValueOf(ReadAll(folder.path(), {.hive_partitions = false}))->num_columns() == 1);
}

std::string Numbers(int64_t count) {
  std::string rows = "[";
  for (int64_t i = 0; i < count; ++i)
    rows += Concat(i > 0 ? "," : "", "[", i, ",", i * 60, ",\"", i % 2 == 0 ? "a" : "b", "\"]");
  return rows + "]";
}

const std::vector<test::Column>& NumberColumns() {
  static const std::vector<test::Column> columns = {
      {"i", arrow::int32()}, {"t", arrow::timestamp(arrow::TimeUnit::MILLI)}, {"s", arrow::utf8()}};
  return columns;
}

TEST_CASE("predicates prune row groups by their statistics and change no result") {
  const auto folder = MakeTemporaryFolder();
  Save(folder.path() + "/a.parquet", NumberColumns(), Numbers(100), {.row_group_rows = 10});
  const Dataset all = Dataset::Read({}, folder.path());
  const std::vector<std::pair<std::string, int64_t>> pruned = {
      {"i >= 35 and i < 52", 7},
      {"i = 35", 9},
      {"i between 35 and 44.5", 8},
      {"12 > i", 8},
      {"i > 1000", 10},
      {"t >= timestamp '1970-01-01 00:00:05.4'", 9},
      {"t < timestamp '1970-01-01 00:00:00.6' and s = 'a'", 9},
      {"s = 'c'", 10},
      {"i < 5 or i > 95", 0},
      {"not i < 95", 0}};
  for (const auto& [predicate, groups] : pruned) {
    CAPTURE(predicate);
    ExecutionReport report;
    const auto optimized = ValueOf(all.Filter(predicate).Collect({}, {}, &report));
    CHECK(report.stats.back().row_groups == 10);
    CHECK(report.stats.back().row_groups_pruned == groups);
    CHECK_TABLE_EQ(all.Filter(predicate).Collect({}, {.optimize = false}), optimized);
  }
}

TEST_CASE("only the columns that somebody looks at are read") {
  const auto folder = MakeTemporaryFolder();
  Save(folder.path() + "/a.parquet", NumberColumns(), Numbers(4));
  ExecutionReport report;
  const auto result = Dataset::Read({}, folder.path())
                          .Filter("s = 'b'")
                          .Derive("twice", "i * 2")
                          .Select({"twice"})
                          .Collect({}, {}, &report);
  CHECK_TABLE_EQ(result, TableOf({{"twice", arrow::int64()}}, "[[2], [6]]"));
  CAPTURE(report.explain);
  CHECK(report.explain.find("projection into a scan: 1 of 3 columns") != std::string::npos);
  CHECK(report.explain.find("derive + project") != std::string::npos);
  // A count reads rows without columns.
  CHECK_TABLE_EQ(Dataset::Read({}, folder.path())
                     .Aggregate({}, {{pit::AggregateFunction::kCount}})
                     .Collect({}),
                 TableOf({{"count", arrow::int64(), false}}, "[[4]]"));
}

TEST_CASE("a limit reads no more rows than it gives") {
  const auto folder = MakeTemporaryFolder();
  Save(folder.path() + "/a.parquet", NumberColumns(), Numbers(100));
  ExecutionReport report;
  const auto result = Dataset::Read({}, folder.path())
                          .Derive("inverse", "100 // (7 - i)")
                          .Select({"inverse"})
                          .Limit(3, 2)
                          .Collect({}, {}, &report);
  // Row 7 fails, but nobody asked for it.
  CHECK_TABLE_EQ(result, TableOf({{"inverse", arrow::int64()}}, "[[20], [25], [33]]"));
  CHECK(report.stats.back().rows == 5);
}

TEST_CASE("progress counts the rows that are read, and ends") {
  class Counting : public Progress {
   public:
    void Begin(std::string_view phase, int64_t, std::string_view) override { begun = phase; }
    void Advance(int64_t delta) override { rows += delta; }
    void End(std::string_view note) override { ended = note; }
    std::string begun;
    std::string ended;
    int64_t rows = 0;
  };
  const auto folder = MakeTemporaryFolder();
  Save(folder.path() + "/a.parquet", NumberColumns(), Numbers(10));
  Counting progress;
  Context context;
  context.progress = &progress;
  CHECK_OK(Dataset::Read({}, folder.path()).Filter("i > 6").Collect(context));
  CHECK(progress.begun == "filter");
  CHECK(progress.rows == 10);
  CHECK(progress.ended == "3 rows");
}

TEST_CASE("a file that changes or vanishes is an error that names it") {
  const auto folder = MakeTemporaryFolder();
  const std::string path = folder.path() + "/a.parquet";
  Save(path, NumberColumns(), Numbers(10));
  const Dataset dataset = Dataset::Read({}, path);
  const auto stream = ValueOf(dataset.Stream({}, {.batch_rows = 2}));
  CHECK(ValueOf(stream->Next())->num_rows() == 2);
  Save(path, NumberColumns(), Numbers(11));
  CHECK_ERROR(dataset.Collect({}), ErrorKind::kConflict, path);
  Status status;
  while (status.ok()) {
    const auto batch = stream->Next();
    status = batch.status();
    if (batch.ok() && *batch == nullptr) break;
  }
  CHECK_ERROR(status, ErrorKind::kConflict, "has changed since the plan was made");
  std::filesystem::remove(path);
  CHECK_ERROR(dataset.Collect({}), ErrorKind::kNotFound, path);
}

TEST_CASE("a truncated file is an error that names it") {
  const auto folder = MakeTemporaryFolder();
  const std::string path = folder.path() + "/a.parquet";
  Save(path, NumberColumns(), Numbers(10));
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 3);
  CHECK_ERROR(OpenScan({}, {path}), ErrorKind::kDataLoss, path);
  CHECK_ERROR(OpenScan({}, {folder.path() + "/none*.parquet"}), ErrorKind::kNotFound, "none*");
}

TEST_CASE("ten thousand columns, no rows, one row and null columns are tables like others") {
  const auto folder = MakeTemporaryFolder();
  arrow::FieldVector fields;
  arrow::ArrayVector columns;
  for (int i = 0; i < 10'000; ++i) {
    fields.push_back(arrow::field(Concat("c", i), arrow::int64()));
    columns.push_back(
        std::make_shared<arrow::Int64Array>(1, arrow::Buffer::FromVector(std::vector<int64_t>{i})));
  }
  const auto wide = arrow::Table::Make(arrow::schema(fields), columns, 1);
  RequireOk(table::WriteTable({}, *wide, folder.path() + "/wide.arrow"));
  CHECK_TABLE_EQ(ReadAll(folder.path() + "/wide.arrow"), wide);
  CHECK_TABLE_EQ(Dataset::Read({}, folder.path() + "/wide.arrow")
                     .Filter("c5000 > 0")
                     .Sort({{.column = "c1"}})
                     .Select({"c9999"})
                     .Collect({}),
                 TableOf({{"c9999", arrow::int64()}}, "[[9999]]"));
  Save(folder.path() + "/empty.parquet", NumberColumns(), "[]");
  CHECK_TABLE_EQ(ReadAll(folder.path() + "/empty.parquet"), TableOf(NumberColumns(), "[]"));
  Save(folder.path() + "/null.arrow", {{"n", arrow::null()}, {"i", arrow::int64()}},
       "[[null, 1], [null, null]]");
  CHECK_TABLE_EQ(
      ReadAll(folder.path() + "/null.arrow"),
      TableOf({{"n", arrow::null()}, {"i", arrow::int64()}}, "[[null, 1], [null, null]]"));
}

}  // namespace

}  // namespace gnomon::dataset
