#include "dataset/asof/asof_join.h"

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/table.h>
#include <doctest/doctest.h>

#include "dataset/asof/asof_samples.h"
#include "tests/support/table.h"
#include "tests/support/temporary.h"

namespace gnomon::dataset {
namespace {

using gnomon::test::MakeTemporaryFolder;
using gnomon::test::TableOf;
using gnomon::test::ValueOf;
using table::PartitionedTable;
using test::Run;

struct Tables {
  std::shared_ptr<arrow::Table> left =
      TableOf({{"key", arrow::int64()}, {"t", arrow::timestamp(arrow::TimeUnit::MICRO)}},
              "[[1, 50], [2, 50]]");
  std::shared_ptr<arrow::Table> right = TableOf({{"key", arrow::uint16()},
                                                 {"t", arrow::timestamp(arrow::TimeUnit::MICRO)},
                                                 {"made", arrow::int64()},
                                                 {"f", arrow::float64()}},
                                                "[[1, 10, 0, 1.5], [2, 60, 0, 2.5]]");

  AsOfRequest Request() const {
    return {.left = PartitionedTable::Of(left, "labels"),
            .on = "t",
            .right = {{.table = PartitionedTable::Of(right, "features"),
                       .left_by = {"key"},
                       .by = {"key"},
                       .on = "t",
                       .features = {"f"}}}};
  }
};

TEST_CASE("keys of different integer widths are joined by value") {
  const Tables tables;
  CHECK_TABLE_EQ(Run({}, tables.Request()),
                 TableOf({{"key", arrow::int64()},
                          {"t", arrow::timestamp(arrow::TimeUnit::MICRO)},
                          {"f", arrow::float64()}},
                         "[[1, 50, 1.5], [2, 50, null]]"));
}

TEST_CASE("labels that were read beforehand give the same rows, also to whom no table is joined") {
  const Tables tables;
  AsOfRequest request = tables.Request();
  const auto expected = ValueOf(Run({}, request));
  const auto read = [&] { return AsOfLabels::Read({}, request.left, "t", {{"key"}, {}}); };
  const auto labels = ValueOf(read());
  CHECK(labels->num_rows() == 2);
  CHECK(labels->times()[1] == 50);
  CHECK(labels->KeysOf({"key"}).num_keys == 2);
  CHECK(labels->KeysOf({"key"}).ids[1] == 1);
  CHECK(labels->KeysOf({}).index == nullptr);
  CHECK(labels->KeysOf({}).ids[1] == 0);
  const auto none = PartitionedTable::Of(tables.left->Slice(0, 0), "no labels");
  CHECK(ValueOf(AsOfLabels::Read({}, none, "t", {{}}))->KeysOf({}).num_keys == 1);
  request.labels = labels;
  CHECK_TABLE_EQ(Run({}, request), expected);
  request.labels = ValueOf(read());
  request.right.clear();
  CHECK_TABLE_EQ(Run({}, request), tables.left);
  const auto missing = AsOfLabels::Read({}, request.left, "t", {{"ke"}});
  CHECK(KindOf(missing.status()) == ErrorKind::kNotFound);
}

TEST_CASE("wrong requests name what is wrong and what to do") {
  const Tables tables;
  AsOfRequest request = tables.Request();
  SUBCASE("a missing feature has the nearest name") {
    request.right[0].features = {"mad"};
    const Status status = Run({}, request).status();
    CHECK(KindOf(status) == ErrorKind::kNotFound);
    CHECK(status.message() == "no such column in features: 'mad'");
    CHECK(HintOf(status) == "did you mean 'made'?");
  }
  SUBCASE("a missing key names its table") {
    request.right[0].left_by = {"ke"};
    const Status status = Run({}, request).status();
    CHECK(status.message() == "no such column in labels: 'ke'");
    CHECK(HintOf(status) == "did you mean 'key'?");
  }
  SUBCASE("a created column that is no time") {
    request.right[0].created = "made";
    const Status status = Run({}, request).status();
    CHECK(KindOf(status) == ErrorKind::kUser);
    CHECK(status.message().find("'made' of features is no time: int64") != std::string::npos);
  }
  SUBCASE("an output name that occurs twice, with a hint") {
    request.right.push_back(request.right[0]);
    const Status status = Run({}, request).status();
    CHECK(KindOf(status) == ErrorKind::kUser);
    CHECK(status.message().find("'f' would occur twice") != std::string::npos);
    CHECK(HintOf(status).find("full feature names") != std::string::npos);
    request.right[1].outputs = {"g"};
    CHECK_OK(Run({}, request).status());
  }
  SUBCASE("a feature that is named twice") {
    request.right[0].features = {"f", "f"};
    CHECK_ERROR(Run({}, request), ErrorKind::kUser, "feature 'f' of features is named twice");
    request.right[0].outputs = {"f", "g"};
    CHECK_OK(Run({}, request).status());
  }
  SUBCASE("a feature named like a label column") {
    request.right[0].outputs = {"key"};
    CHECK(KindOf(Run({}, request).status()) == ErrorKind::kUser);
  }
  SUBCASE("keys that cannot be compared") {
    request.right[0].by = {"f"};
    CHECK(KindOf(Run({}, request).status()) == ErrorKind::kUser);
    const auto text = TableOf({{"key", arrow::utf8()},
                               {"t", arrow::timestamp(arrow::TimeUnit::MICRO)},
                               {"f", arrow::float64()}},
                              "[]");
    request.right[0].by = {"key"};
    request.right[0].table = PartitionedTable::Of(text, "features");
    const Status status = Run({}, request).status();
    CHECK(KindOf(status) == ErrorKind::kUser);
    CHECK(status.message().find("cannot be compared: string with int64") != std::string::npos);
  }
}

TEST_CASE("times before 1970 and beyond what nanoseconds can hold are joined exactly") {
  // Seconds of the years 1600 and 5138 against nanoseconds.
  const auto left =
      TableOf({{"key", arrow::int64()}, {"t", arrow::timestamp(arrow::TimeUnit::SECOND)}},
              "[[1, -11676096000], [1, -1], [1, 99999999999]]");
  const auto right = TableOf({{"key", arrow::int64()},
                              {"t", arrow::timestamp(arrow::TimeUnit::NANO)},
                              {"f", arrow::int64()}},
                             "[[1, -1000000001, 1], [1, -999999999, 2], [1, 5, 3]]");
  CHECK_TABLE_EQ(Run({}, {.left = PartitionedTable::Of(left, "labels"),
                          .on = "t",
                          .right = {{.table = PartitionedTable::Of(right, "features"),
                                     .left_by = {"key"},
                                     .by = {"key"},
                                     .on = "t",
                                     .features = {"f"}}}}),
                 TableOf({{"key", arrow::int64()},
                          {"t", arrow::timestamp(arrow::TimeUnit::SECOND)},
                          {"f", arrow::int64()}},
                         "[[1, -11676096000, null], [1, -1, 1], [1, 99999999999, 3]]"));
  // Event times in seconds that the created times' nanoseconds cannot hold.
  const auto far = TableOf({{"key", arrow::int64()},
                            {"t", arrow::timestamp(arrow::TimeUnit::SECOND)},
                            {"made", arrow::timestamp(arrow::TimeUnit::NANO)},
                            {"f", arrow::int64()}},
                           "[[1, 99999999998, 7, 1], [1, 99999999998, 8, 2]]");
  CHECK_TABLE_EQ(Run({}, {.left = PartitionedTable::Of(left, "labels"),
                          .on = "t",
                          .right = {{.table = PartitionedTable::Of(far, "features"),
                                     .left_by = {"key"},
                                     .by = {"key"},
                                     .on = "t",
                                     .created = "made",
                                     .features = {"f"}}}}),
                 TableOf({{"key", arrow::int64()},
                          {"t", arrow::timestamp(arrow::TimeUnit::SECOND)},
                          {"f", arrow::int64()}},
                         "[[1, -11676096000, null], [1, -1, null], [1, 99999999999, 2]]"));
}

TEST_CASE("row groups outside the labels' times are not read, unless optimization is off") {
  const auto folder = MakeTemporaryFolder();
  std::string rows = "[";
  for (int i = 0; i < 100; ++i)
    rows += (i > 0 ? ",[1," : "[1,") + std::to_string(i) + "," + std::to_string(i) + "]";
  const auto right = TableOf({{"key", arrow::int64()},
                              {"t", arrow::timestamp(arrow::TimeUnit::MICRO)},
                              {"f", arrow::int64()}},
                             rows + "]");
  const std::string path = folder.path() + "/right.parquet";
  CHECK_OK(table::WriteTable({}, *right, path, {.row_group_rows = 10}));
  AsOfRequest request = Tables().Request();
  request.right[0].table = ValueOf(PartitionedTable::Open({}, path));
  request.right[0].tolerance = 15;
  AsOfStats stats;
  const auto joined = ValueOf(Run({}, request, &stats));
  CHECK(stats.right[0].pruned == 7);  // 35 to 50 lie in three
  CHECK(stats.right[0].rows == 30);
  CHECK(stats.right[0].matches == 1);
  request.settings.enable_optimization = false;
  CHECK_TABLE_EQ(Run({}, request, &stats), joined);
  CHECK(stats.right[0].pruned == 0);
  CHECK(stats.right[0].strategy.partitioned);
}

TEST_CASE("of a row group that is wanted in part only the pages of the labels' times are read") {
  const auto folder = MakeTemporaryFolder();
  const std::string path = folder.path() + "/right.parquet";
  arrow::Int64Builder builder;
  for (int64_t i = 0; i < 200'000; ++i) REQUIRE(builder.Append(i).ok());
  const auto numbers = ValueOf(builder.Finish());
  const auto times = ValueOf(numbers->View(arrow::timestamp(arrow::TimeUnit::MICRO)));
  CHECK_OK(table::WriteTable(
      {},
      *arrow::Table::Make(
          arrow::schema({{arrow::field("key", arrow::int64()),
                          arrow::field("t", arrow::timestamp(arrow::TimeUnit::MICRO)),
                          arrow::field("f", arrow::int64())}}),
          {numbers, times, numbers}),
      path));
  AsOfRequest request = Tables().Request();
  request.left = PartitionedTable::Of(
      TableOf({{"key", arrow::int64()}, {"t", arrow::timestamp(arrow::TimeUnit::MICRO)}},
              "[[150001, 150001], [150100, 150099], [7, 150090]]"),
      "labels");
  request.right[0].table = ValueOf(PartitionedTable::Open({}, path));
  request.right[0].tolerance = 10;
  AsOfStats stats;
  const auto joined = ValueOf(Run({}, request, &stats));
  CHECK_TABLE_EQ(joined, TableOf({{"key", arrow::int64()},
                                  {"t", arrow::timestamp(arrow::TimeUnit::MICRO)},
                                  {"f", arrow::int64()}},
                                 "[[150001, 150001, 150001], [150100, 150099, null], "
                                 "[7, 150090, null]]"));
  CHECK(stats.right[0].pages == 20);  // of 20,000 rows, of keys and times
  CHECK(stats.right[0].pages_pruned == 18);
  CHECK(stats.right[0].rows == 20'000);
  CHECK(stats.ToString().find("18 of 20 pages pruned") != std::string::npos);
  request.settings.enable_optimization = false;
  CHECK_TABLE_EQ(Run({}, request, &stats), joined);
  CHECK(stats.right[0].pages_pruned == 0);
}

/// Batches as they are, those without rows too.
class BatchesTable : public PartitionedTable {
 public:
  explicit BatchesTable(arrow::RecordBatchVector batches) : batches_(std::move(batches)) {}
  const std::string& name() const override { return name_; }
  const std::shared_ptr<arrow::Schema>& schema() const override { return batches_[0]->schema(); }
  int64_t num_partitions() const override { return 1; }
  int64_t num_rows(int64_t /*partition*/) const override {
    int64_t rows = 0;
    for (const auto& batch : batches_) rows += batch->num_rows();
    return rows;
  }
  int64_t NumBytes(int64_t /*partition*/, const std::vector<int>& /*columns*/) const override {
    return 1000;
  }
  bool reads_columns_apart(int64_t /*partition*/) const override { return false; }
  bool LiesOutside(int64_t, int, const table::TimeRange&) const override { return false; }
  Result<std::unique_ptr<table::PartitionStream>> Scan(const Context&, int64_t,
                                                       const std::vector<int>& columns,
                                                       int64_t /*batch_rows*/) const override {
    class Stream : public table::PartitionStream {
     public:
      Stream(arrow::RecordBatchVector batches, std::vector<int> columns)
          : batches_(std::move(batches)), columns_(std::move(columns)) {}
      Result<std::shared_ptr<arrow::RecordBatch>> Next() override {
        if (next_ == batches_.size()) return nullptr;
        return batches_[next_++]->SelectColumns(columns_);
      }

     private:
      arrow::RecordBatchVector batches_;
      std::vector<int> columns_;
      size_t next_ = 0;
    };
    return std::make_unique<Stream>(batches_, columns);
  }
  Result<arrow::ArrayVector> Gather(const Context&, int64_t, const std::vector<int>&,
                                    std::span<const int64_t>) const override {
    return Error(ErrorKind::kInternal, "only read as a whole");
  }

 private:
  const std::string name_ = "batches";
  const arrow::RecordBatchVector batches_;
};

TEST_CASE("batches of labels without rows are as if they were not there") {
  AsOfRequest request = Tables().Request();
  const auto rows = ValueOf(table::SingleBatch(*Tables().left));
  const auto none = rows->Slice(0, 0);
  const auto joined = ValueOf(Run({}, request));
  for (const arrow::RecordBatchVector& batches : {arrow::RecordBatchVector{none, rows},
                                                  {rows, none},
                                                  {rows->Slice(0, 1), none, rows->Slice(1)}}) {
    request.left = std::make_shared<BatchesTable>(batches);
    CHECK_TABLE_EQ(ValueOf(Run({}, request)), joined);
  }
  request.left = std::make_shared<BatchesTable>(arrow::RecordBatchVector{none});
  CHECK(ValueOf(Run({}, request))->num_rows() == 0);
}

}  // namespace
}  // namespace gnomon::dataset
