// The late gather under a limit that leaves room for small blocks of labels only.

#include <atomic>
#include <random>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/table.h>
#include <doctest/doctest.h>

#include "base/memory.h"
#include "dataset/asof/asof_join.h"
#include "dataset/asof/asof_samples.h"
#include "table/file.h"
#include "table/forwarding_table_test.h"
#include "tests/support/table.h"
#include "tests/support/temporary.h"

namespace gnomon::dataset {
namespace {

using gnomon::test::MakeTemporaryFolder;
using gnomon::test::ValueOf;
using table::PartitionedTable;
using test::Run;

constexpr int64_t kLabels = 40'000;
constexpr int64_t kFeatureRows = 30'000;
constexpr int64_t kKeys = 5'000;

std::shared_ptr<arrow::Table> Rows(uint64_t seed, int64_t count, bool features) {
  std::mt19937_64 random(seed);
  arrow::Int64Builder key;
  arrow::TimestampBuilder time(arrow::timestamp(arrow::TimeUnit::MICRO),
                               arrow::default_memory_pool());
  arrow::DoubleBuilder number;
  arrow::StringBuilder text;
  arrow::ListBuilder list(arrow::default_memory_pool(), std::make_shared<arrow::Int64Builder>());
  for (int64_t i = 0; i < count; ++i) {
    CHECK_OK(random() % 40 == 0 ? key.AppendNull()
                                : key.Append(static_cast<int64_t>(random() % kKeys)));
    CHECK_OK(time.Append(static_cast<int64_t>(random() % 1000)));
    CHECK_OK(random() % 9 == 0 ? number.AppendNull() : number.Append(static_cast<double>(i)));
    CHECK_OK(random() % 9 == 0 ? text.AppendNull() : text.Append("text " + std::to_string(i)));
    CHECK_OK(list.Append());
    CHECK_OK(static_cast<arrow::Int64Builder*>(list.value_builder())->Append(i));
  }
  arrow::FieldVector fields = {arrow::field("key", arrow::int64()),
                               arrow::field("t", arrow::timestamp(arrow::TimeUnit::MICRO))};
  arrow::ArrayVector columns = {ValueOf(key.Finish()), ValueOf(time.Finish())};
  if (features) {
    fields.push_back(arrow::field("number", arrow::float64()));
    fields.push_back(arrow::field("text", arrow::utf8()));
    fields.push_back(arrow::field("list", arrow::list(arrow::int64())));
    columns.push_back(ValueOf(number.Finish()));
    columns.push_back(ValueOf(text.Finish()));
    columns.push_back(ValueOf(list.Finish()));
  }
  return arrow::Table::Make(arrow::schema(fields), columns);
}

/// Adds up the rows between the first and the last of each column that is gathered.
class CountingTable : public table::ForwardingTable {
 public:
  using ForwardingTable::ForwardingTable;
  Result<arrow::ArrayVector> Gather(const Context& context, int64_t partition,
                                    const std::vector<int>& columns,
                                    std::span<const int64_t> rows) const override {
    passed_ += static_cast<int64_t>(columns.size()) * (rows.back() - rows.front() + 1);
    return ForwardingTable::Gather(context, partition, columns, rows);
  }
  int64_t passed() const { return passed_; }

 private:
  mutable std::atomic<int64_t> passed_ = 0;
};

TEST_CASE("a small limit does not make a late gather read the pages again for every block") {
  const auto folder = MakeTemporaryFolder();
  const std::string path = folder.path() + "/features.parquet";
  CHECK_OK(table::WriteTable({}, *Rows(1, kFeatureRows, true), path, {.row_group_rows = 5'000}));
  const auto features = std::make_shared<CountingTable>(ValueOf(PartitionedTable::Open({}, path)));
  const auto labels = Rows(2, kLabels, false);
  AsOfRequest request{.left = PartitionedTable::Of(labels, "labels"),
                      .on = "t",
                      .right = {{.table = features,
                                 .left_by = {"key"},
                                 .by = {"key"},
                                 .on = "t",
                                 .features = {"number", "text", "list"}}}};
  AsOfStats unlimited;
  const auto expected = ValueOf(Run({}, request, &unlimited));
  CHECK(unlimited.gathered_blocks == 1);
  CHECK(unlimited.spilled_bytes == 0);
  const int64_t once = features->passed();
  CHECK(once > 0.9 * 3 * kFeatureRows);
  SUBCASE("of one table") {}
  SUBCASE("of two, one of which gives nothing but a match") {
    request.right.push_back(request.right[0]);
    request.right[1].features.clear();
  }
  MemoryBudget memory("test", int64_t{3} << 20);
  Context context;
  context.memory = &memory;
  AsOfStats limited;
  CHECK_TABLE_EQ(Run(context, request, &limited), expected);
  CHECK(memory.used() == 0);
  CHECK(limited.gathered_blocks > 3);
  CHECK(limited.spilled_bytes > 1'000'000);
  CHECK(features->passed() - once <= once);
}

}  // namespace
}  // namespace gnomon::dataset
