#include <algorithm>

#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <doctest/doctest.h>

#include "base/files.h"
#include "base/text.h"
#include "feature/store/store_fixture_test.h"
#include "table/column.h"
#include "table/file.h"
#include "tests/support/table.h"

namespace gnomon::feature {
namespace {

using Fixture = StoreFixture;

TEST_CASE("pushed rows are served at once and older ones change nothing") {
  Fixture fixture;
  fixture.Materialize(kEnd);
  auto pushed =
      test::TableOf({{"shop", arrow::int64()},
                     {"ts", Instant()},
                     {"created", Instant()},
                     {"amount", arrow::float64()},
                     {"note", arrow::utf8()}},
                    Concat("[[1, ", kEnd + kDay, ", ", kEnd + kDay, ", 12.5, \"new\"], [2, ",
                           kStart, ", ", kStart, ", 99.0, \"old\"]]"));
  auto batch = table::SingleBatch(*pushed).ValueOrDie();
  const OnlineResponse before = fixture.Online(kEnd + kDay);
  for (const char* view : {"latest", "history"}) {
    auto rows = fixture.store->Push(fixture.context, view, *batch);
    REQUIRE_MESSAGE(rows.ok(), rows.status().ToString());
    CHECK(*rows == 2);
  }
  const OnlineResponse after = fixture.Online(kEnd + kDay);
  const auto& amount = static_cast<const arrow::DoubleArray&>(*after.features[0].values);
  CHECK(amount.Value(1) == 12.5);
  const auto value = [](const OnlineResponse& response, size_t column, int64_t row) {
    return response.features[column].values->GetScalar(row).ValueOrDie();
  };
  for (size_t column = 0; column < after.features.size(); ++column) {
    CAPTURE(after.features[column].name);
    CHECK(value(after, column, 2)->Equals(*value(before, column, 2)));
  }
  const auto& counts = static_cast<const arrow::Int64Array&>(*after.features[4].values);
  const auto& counts_before = static_cast<const arrow::Int64Array&>(*before.features[4].values);
  CHECK(after.features[4].name == "count_7d");
  CHECK(counts.Value(1) == counts_before.Value(1) + 1);
}

TEST_CASE("rows pushed offline are there for retrieval, after the rows of the files") {
  Fixture fixture;
  const std::string folder = fixture.folder.path();
  std::filesystem::create_directory(folder + "/events");
  std::filesystem::rename(folder + "/events.parquet", folder + "/events/a.parquet");
  std::string yaml = kFeatures;
  yaml.replace(yaml.find("path: events.parquet"), 20, "path: events");
  REQUIRE(WriteFileAtomic(folder + "/features.yaml", yaml).ok());
  auto definitions = fixture.store->LoadRepository().ValueOrDie();
  REQUIRE(fixture.store->Apply(fixture.context, definitions).ok());

  // Of two pushes of the same time the second wins, as the later row.
  for (const double amount : {1.5, 2.5}) {
    const auto rows = table::SingleBatch(*test::TableOf({{"shop", arrow::int32()},
                                                         {"ts", Instant()},
                                                         {"created", Instant()},
                                                         {"amount", arrow::float64()}},
                                                        Concat("[[3, ", kEnd + 5, ", ", kEnd + 5,
                                                               ", ", amount, "]]")))
                          .ValueOrDie();
    auto pushed = fixture.store->Push(fixture.context, "latest", *rows, PushMode::kOffline);
    REQUIRE_MESSAGE(pushed.ok(), pushed.status().ToString());
    CHECK(*pushed == 1);
    fixture.clock.Advance(kMicrosPerSecond);
  }
  const auto amounts =
      table::SingleChunk(*fixture.Historical(kEnd + 10)->GetColumnByName("amount")).ValueOrDie();
  CHECK(static_cast<const arrow::DoubleArray&>(*amounts).Value(3) == 2.5);

  const auto wrong = table::SingleBatch(*test::TableOf({{"shop", arrow::int64()},
                                                        {"ts", Instant()},
                                                        {"amuont", arrow::float64()}},
                                                       "[[3, 0, 1]]"))
                         .ValueOrDie();
  const auto refused =
      fixture.store->Push(fixture.context, "latest", *wrong, PushMode::kOffline).status();
  CHECK(KindOf(refused) == ErrorKind::kUser);
  CHECK(HintOf(refused).find("amount") != std::string::npos);
  CHECK(NumFiles(folder + "/events") == 3);
}

TEST_CASE("what is materialized is kept in the sink, once however often it runs") {
  Fixture fixture;
  const std::string folder = fixture.folder.path();
  std::string yaml = kFeatures;
  yaml.insert(yaml.find("feature_views:"),
              "  - {name: kept, type: file, path: kept, timestamp_field: at}\n");
  const std::string window = "  - name: history\n";
  yaml.insert(yaml.find(window) + window.size(), "    sink_source: kept\n");
  REQUIRE(WriteFileAtomic(folder + "/features.yaml", yaml).ok());
  auto applied =
      fixture.store->Apply(fixture.context, fixture.store->LoadRepository().ValueOrDie());
  REQUIRE_MESSAGE(applied.ok(), applied.status().ToString());
  fixture.Materialize(kStart + 10 * kDay);
  fixture.Materialize(kStart + 10 * kDay);
  CHECK(NumFiles(folder + "/kept") == 1);
  const auto kept = table::ReadTable(fixture.context, folder + "/kept").ValueOrDie();
  auto job = fixture.store->GetHistoricalFeatures(
      {.features = {"history:*"}, .feature_service = {}}, kStart, kStart + 10 * kDay);
  const auto expected = (*job)->ToTable(fixture.context).ValueOrDie();
  std::vector<std::string> names = expected->schema()->field_names();
  *std::ranges::find(names, "event_timestamp") = "at";
  CHECK(kept->num_rows() > 100);
  CHECK_TABLE_EQ(kept, expected->RenameColumns(names).ValueOrDie());
}

TEST_CASE("a source that is one file takes no pushes offline") {
  Fixture fixture;
  const auto rows = table::SingleBatch(*Fixture::EntityRows(kEnd)).ValueOrDie();
  const auto status =
      fixture.store->Push(fixture.context, "latest", *rows, PushMode::kOffline).status();
  CHECK(KindOf(status) == ErrorKind::kUser);
  CHECK(HintOf(status).find("folder") != std::string::npos);
}

}  // namespace
}  // namespace gnomon::feature
