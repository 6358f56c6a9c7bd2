#include <algorithm>
#include <filesystem>
#include <fstream>

#include <arrow/table.h>
#include <arrow/type.h>

#include "base/files.h"
#include "base/memory.h"
#include "base/text.h"
#include "dataset/dataset.h"
#include "tests/support/status.h"
#include "tests/support/table.h"
#include "tests/support/temporary.h"

namespace gnomon::dataset {

namespace {

namespace fs = std::filesystem;
using test::MakeTemporaryFolder;
using test::TableOf;
using test::ValueOf;

Dataset Rows(int64_t count) {
  return Dataset::Range(0, count).Derive(
      {{"day", "cast(date '2024-01-01' + interval '1d' * (id % 3) as date)"},
       {"name", "case when id % 5 = 0 then null else concat('a/', id % 2) end"}});
}

std::vector<std::string> FilesBelow(const std::string& folder) {
  std::vector<std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) files.push_back(fs::relative(entry.path(), folder).string());
  }
  std::ranges::sort(files);
  return files;
}

TEST_CASE("each format gives back what was written") {
  const auto folder = MakeTemporaryFolder();
  const Dataset rows = Rows(100).Select({"id", "name"});
  for (const char* suffix : {"parquet", "csv", "arrow", "jsonl"}) {
    CAPTURE(suffix);
    const std::string path = Concat(folder.path(), "/out.", suffix);
    CHECK_TABLE_EQ(rows.WriteTo({}, {.path = path}),
                   TableOf({{"path", arrow::utf8(), false}, {"rows", arrow::int64(), false}},
                           Concat("[[\"", path, "\", 100]]")));
    CHECK_TABLE_EQ(Dataset::Read({}, path).Derive("id", "id").Collect({}),
                   ValueOf(Dataset::Read({}, path).Collect({})));
    const auto read = ValueOf(Dataset::Read({}, path).Collect({}));
    CHECK(read->num_rows() == 100);
    CHECK(read->GetColumnByName("name")->null_count() == 20);
  }
}

TEST_CASE("partitions become hive folders, each row in its own") {
  const auto folder = MakeTemporaryFolder();
  const std::string path = folder.path() + "/out";
  const auto written =
      ValueOf(Rows(30).WriteTo({}, {.path = path, .partition_by = {"day", "name"}}));
  CHECK(written->num_rows() == 9);
  CHECK(FilesBelow(path)[0] == "day=2024-01-01/name=__HIVE_DEFAULT_PARTITION__/part-0.parquet");
  CHECK(FilesBelow(path)[1] == "day=2024-01-01/name=a%2F0/part-0.parquet");
  CHECK_TABLE_EQ(
      Dataset::Read({}, path).Sort({{.column = "id"}}).Collect({}),
      ValueOf(Rows(30)
                  .Project({{"id", "id"}, {"day", "cast(day as string)"}, {"name", "name"}})
                  .Collect({})));
}

TEST_CASE("a partition of texts is never taken for that of nulls") {
  const auto folder = MakeTemporaryFolder();
  const auto texts = TableOf({{"k", arrow::utf8()}, {"id", arrow::int64()}},
                             R"([["__HIVE_DEFAULT_PARTITION__", 1], [null, 2], ["", 3]])");
  const std::string path = folder.path() + "/texts";
  CHECK_OK(Dataset::Of(texts).WriteTo({}, {.path = path, .partition_by = {"k"}}));
  CHECK_TABLE_EQ(Dataset::Read({}, path).Sort({{.column = "id"}}).Select({"k", "id"}).Collect({}),
                 texts);
}

TEST_CASE("files have the same bytes for any batch size and memory") {
  const auto folder = MakeTemporaryFolder();
  const auto write = [&](const std::string& name, int64_t batch_rows, int64_t limit) {
    MemoryBudget memory("test", limit);
    Context context;
    context.memory = &memory;
    ExecutionReport report;
    CHECK_OK(Rows(20'000).WriteTo(
        context, {.path = folder.path() + name, .partition_by = {"day"}, .row_group_rows = 3000},
        {.batch_rows = batch_rows}, &report));
    CHECK((report.stats[0].spilled_bytes > 0) == (limit > 0));
  };
  write("/a", 1 << 16, 0);
  write("/b", 777, 50'000);
  const auto files = FilesBelow(folder.path() + "/a");
  CHECK(files.size() == 3);
  CHECK(files == FilesBelow(folder.path() + "/b"));
  for (const std::string& file : files)
    CHECK(ValueOf(ReadFile(folder.path() + "/a/" + file)) ==
          ValueOf(ReadFile(folder.path() + "/b/" + file)));
}

TEST_CASE("a write that fails leaves what stood there and nothing else") {
  const auto folder = MakeTemporaryFolder();
  const std::string path = folder.path() + "/out";
  const WriteSpec spec{.path = path, .partition_by = {"day"}};
  CHECK_OK(Rows(9).WriteTo({}, spec));
  const auto before = FilesBelow(folder.path());
  const Dataset failing = Rows(5000).Derive("bad", "1 // (4000 - id)");
  CHECK_ERROR(failing.WriteTo({}, spec), ErrorKind::kUser, "zero");
  CHECK_ERROR(failing.WriteTo({}, {.path = folder.path() + "/one.parquet"}), ErrorKind::kUser,
              "zero");
  CHECK(FilesBelow(folder.path()) == before);
  CHECK(ValueOf(Dataset::Read({}, path).Collect({}))->num_rows() == 9);
  // A complete one takes its place with all its files.
  CHECK_OK(Rows(2).WriteTo({}, spec));
  CHECK(FilesBelow(folder.path()).size() == 2);
  CHECK(ValueOf(Dataset::Read({}, path).Collect({}))->num_rows() == 2);
}

TEST_CASE("no rows make a file without rows, and a folder without files") {
  const auto folder = MakeTemporaryFolder();
  const auto none = Rows(0);
  CHECK_OK(none.WriteTo({}, {.path = folder.path() + "/one.parquet"}));
  CHECK(ValueOf(Dataset::Read({}, folder.path() + "/one.parquet").Collect({}))->num_columns() == 3);
  CHECK(ValueOf(none.WriteTo({}, {.path = folder.path() + "/many", .partition_by = {"day"}}))
            ->num_rows() == 0);
}

TEST_CASE("a folder of files holds so many rows each, in the order of the names") {
  const auto folder = MakeTemporaryFolder();
  const std::string path = folder.path() + "/out";
  for (const int64_t rows : {0, 1, 10, 11, 95}) {
    CAPTURE(rows);
    const auto report = ValueOf(Dataset::Range(0, rows).WriteTo(
        {}, {.path = path, .rows_per_file = 10}, {.batch_rows = 7}));
    CHECK(report->num_rows() == std::max<int64_t>(1, (rows + 9) / 10));
    CHECK_TABLE_EQ(Dataset::Read({}, path).Collect({}),
                   ValueOf(Dataset::Range(0, rows).Collect({})));
  }
  CHECK(std::filesystem::exists(path + "/part-000009.parquet"));
  CHECK_OK(Dataset::Range(0, 95)
               .Derive("k", "id % 2")
               .WriteTo({}, {.path = path, .partition_by = {"k"}, .rows_per_file = 20}));
  CHECK(std::filesystem::exists(path + "/k=1/part-000002.parquet"));
  CHECK(ValueOf(Dataset::Read({}, path + "/k=1/part-000002.parquet").Collect({}))->num_rows() == 7);
  CHECK(ValueOf(Dataset::Read({}, path).Collect({}))->num_rows() == 95);
  CHECK_ERROR(Dataset::Range(0, 1).WriteTo({}, {.path = path, .rows_per_file = -1}),
              ErrorKind::kUser, "negative");
}

TEST_CASE("times of one microsecond are partitions of their own, down to the nanosecond") {
  const auto folder = MakeTemporaryFolder();
  const auto time = arrow::timestamp(arrow::TimeUnit::NANO, "UTC");
  const auto rows = TableOf({{"t", time}, {"name", arrow::utf8()}, {"id", arrow::int64()}},
                            R"([[1001, "a", 0], [1001, "b", 1], [1002, "a", 2], [1000, "a", 3],
                                [-1, "a", 4], [null, "a", 5]])");
  const std::string path = folder.path() + "/out";
  const auto written =
      ValueOf(Dataset::Of(rows).WriteTo({}, {.path = path, .partition_by = {"t", "name"}}));
  CHECK(written->num_rows() == 6);
  CHECK_TABLE_EQ(
      Dataset::Read({}, path).Sort({{.column = "id"}}).Select({"t", "id"}).Collect({}),
      TableOf({{"t", arrow::utf8()}, {"id", arrow::int64()}},
              R"([["1970-01-01T00:00:00.000001001Z", 0], ["1970-01-01T00:00:00.000001001Z", 1],
                  ["1970-01-01T00:00:00.000001002Z", 2], ["1970-01-01T00:00:00.000001Z", 3],
                  ["1969-12-31T23:59:59.999999999Z", 4], [null, 5]])"));
}

TEST_CASE("a column whose values have no text cannot make partitions") {
  const auto folder = MakeTemporaryFolder();
  for (const auto& type : {arrow::list(arrow::int64()), arrow::duration(arrow::TimeUnit::NANO),
                           arrow::decimal128(20, 3)}) {
    CAPTURE(type->ToString());
    const auto rows = TableOf({{"p", type}, {"id", arrow::int64()}}, "[]");
    CHECK_ERROR(MakeNode(WriteSpec{.path = folder.path() + "/out", .partition_by = {"p"}},
                         {ValueOf(Dataset::Of(rows).plan())}),
                ErrorKind::kUser, "partition_by 'p'");
  }
}

TEST_CASE("two partitions that would be one folder are an error, not rows that get lost") {
  const auto folder = MakeTemporaryFolder();
  // A date64 is whole days; these are not.
  const auto rows =
      TableOf({{"day", arrow::int64()}, {"name", arrow::utf8()}, {"id", arrow::int64()}},
              R"([[1, "a", 0], [1, "b", 1], [2, "a", 2]])");
  const auto days = ValueOf(rows->column(0)->View(arrow::date64()));
  const auto dated = ValueOf(rows->SetColumn(0, arrow::field("day", arrow::date64()), days));
  CHECK_ERROR(Dataset::Of(dated).WriteTo(
                  {}, {.path = folder.path() + "/out", .partition_by = {"day", "name"}}),
              ErrorKind::kUser, "have one text: day=1970-01-01/name=a");
  CHECK(FilesBelow(folder.path()).empty());
}

TEST_CASE("the names of more than a million files sort in the order of their rows") {
  const auto folder = MakeTemporaryFolder();
  const std::string path = folder.path() + "/out";
  CHECK_OK(
      Dataset::Range(0, 3).WriteTo({}, {.path = path, .rows_per_file = 1, .first_file = 999'998}));
  CHECK(FilesBelow(path) == std::vector<std::string>{"part-999998.parquet", "part-999999.parquet",
                                                     "part-a1000000.parquet"});
  CHECK_OK(Dataset::Range(0, 2).WriteTo(
      {}, {.path = path, .rows_per_file = 1, .first_file = 9'999'999}));
  CHECK(FilesBelow(path) ==
        std::vector<std::string>{"part-a9999999.parquet", "part-b10000000.parquet"});
}

}  // namespace

}  // namespace gnomon::dataset
