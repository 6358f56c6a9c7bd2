#include <algorithm>
#include <filesystem>

#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <arrow/scalar.h>
#include <arrow/table.h>
#include <arrow/type.h>
#include <doctest/doctest.h>

#include "base/files.h"
#include "base/text.h"
#include "feature/online/online_reader.h"
#include "feature/store/feature_store.h"
#include "table/column.h"
#include "table/file.h"
#include "tests/support/status.h"
#include "tests/support/table.h"
#include "tests/support/temporary.h"

namespace gnomon::feature {
namespace {

using test::TableOf;
using test::ValueOf;

// Two views of one folder take the rows of one push source; a third view does not.
constexpr const char* kFeatures = R"yaml(
entities:
  - {name: shop, join_keys: [shop], value_type: INT64}
data_sources:
  - {name: events, path: events, file_format: parquet, timestamp_field: ts}
feature_views:
  - {name: amounts, entities: [shop], source: events, push_source: fresh, schema: [{name: amount, dtype: Float64}]}
  - {name: notes, entities: [shop], source: events, push_source: fresh, schema: [{name: note, dtype: String}]}
  - {name: offline, entities: [shop], source: events, push_source: fresh, online: false,
     schema: [{name: amount, dtype: Float64}]}
  - {name: others, entities: [shop], source: events, schema: [{name: amount, dtype: Float64}]}
)yaml";

std::shared_ptr<arrow::Table> Rows(std::string_view rows) {
  return TableOf({{"shop", arrow::int64()},
                  {"ts", arrow::timestamp(arrow::TimeUnit::MICRO, "UTC")},
                  {"amount", arrow::float64()},
                  {"note", arrow::utf8()}},
                 rows);
}

std::string ArrayText(const arrow::Array& values) {
  std::string text;
  for (int64_t i = 0; i < values.length(); ++i)
    text += Concat(i > 0 ? " " : "", ValueOf(values.GetScalar(i))->ToString());
  return text;
}

struct Fixture {
  test::TemporaryFolder folder = test::MakeTemporaryFolder();
  Context context;
  std::unique_ptr<FeatureStore> store;

  Fixture() {
    test::RequireOk(WriteFileAtomic(folder.path() + "/feature_store.yaml", "project: test\n"));
    test::RequireOk(WriteFileAtomic(folder.path() + "/features.yaml", kFeatures));
    std::filesystem::create_directory(folder.path() + "/events");
    test::RequireOk(table::WriteTable(context, *Rows(R"([[1, "2024-01-01", 0.5, "old"]])"),
                                      folder.path() + "/events/a.parquet"));
    store = ValueOf(FeatureStore::Open(context, folder.path()));
    ValueOf(store->Apply(context, ValueOf(store->LoadRepository())));
  }

  Result<int64_t> Push(const std::string& name, PushMode mode) {
    const auto rows = Rows(R"([[1, "2024-01-02", 1.5, "new"], [2, "2024-01-02", 2.5, "other"]])");
    return store->Push(context, name, *ValueOf(table::SingleBatch(*rows)), mode);
  }

  int64_t NumFiles() const {
    return std::ranges::distance(std::filesystem::directory_iterator(folder.path() + "/events"),
                                 std::filesystem::directory_iterator());
  }
};

TEST_CASE("rows that are pushed under a push source reach its views, and their source once") {
  Fixture fixture;
  // Two keys of each of the two online views.
  CHECK(ValueOf(fixture.Push("fresh", PushMode::kOnlineAndOffline)) == 4);
  CHECK(fixture.NumFiles() == 2);
  const auto online = ValueOf(fixture.store->GetOnlineFeatures(
      fixture.context,
      {.features = {"amounts:amount", "notes:note", "others:amount"},
       .feature_service = {},
       .full_feature_names = true},
      *ValueOf(table::SingleBatch(*TableOf({{"shop", arrow::int64()}}, "[[1], [2]]")))));
  REQUIRE(online.features.size() == 3);
  CHECK(ArrayText(*online.features[0].values) == "1.5 2.5");
  CHECK(ArrayText(*online.features[1].values) == "new other");
  CHECK(online.features[2].values->null_count() == 2);
}

TEST_CASE("rows that are written to a view reach it alone, under its own name") {
  Fixture fixture;
  const auto rows = Rows(R"([[1, "2024-01-02", 1.5, "new"]])");
  const auto batch = ValueOf(table::SingleBatch(*rows));
  CHECK(ValueOf(fixture.store->WriteToOnlineStore(fixture.context, "amounts", *batch)) == 1);
  const auto online = ValueOf(fixture.store->GetOnlineFeatures(
      fixture.context,
      {.features = {"amounts:amount", "notes:note"},
       .feature_service = {},
       .full_feature_names = false},
      *ValueOf(table::SingleBatch(*TableOf({{"shop", arrow::int64()}}, "[[1]]")))));
  CHECK(ArrayText(*online.features[0].values) == "1.5");
  CHECK(online.features[1].values->null_count() == 1);
  CHECK(fixture.NumFiles() == 1);
  // A push source is no view, and a view may not be online.
  CHECK_ERROR(fixture.store->WriteToOnlineStore(fixture.context, "fresh", *batch),
              ErrorKind::kNotFound, "'fresh'");
  CHECK_ERROR(fixture.store->WriteToOnlineStore(fixture.context, "offline", *batch),
              ErrorKind::kUser, "is not online");
}

TEST_CASE("a push under a name that nothing has is told with the nearest name") {
  Fixture fixture;
  const auto pushed = fixture.Push("frsh", PushMode::kOnline);
  CHECK_ERROR(pushed, ErrorKind::kNotFound, "'frsh'");
  CHECK_ERROR(pushed, ErrorKind::kNotFound, "did you mean 'fresh'?");
  CHECK_ERROR(fixture.Push("offline", PushMode::kOnline), ErrorKind::kUser, "is not online");
  CHECK(ValueOf(fixture.Push("offline", PushMode::kOffline)) == 2);
  CHECK(fixture.NumFiles() == 2);
}

}  // namespace
}  // namespace gnomon::feature
