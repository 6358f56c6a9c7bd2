#include "feature/store/plugin_extensions.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <string>

#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <doctest/doctest.h>

#include "base/files.h"
#include "base/text.h"
#include "base/time.h"
#include "feature/definition/builder.h"
#include "feature/plan/feature_plan.h"
#include "feature/store/feature_store.h"
#include "table/column.h"
#include "table/file.h"
#include "tests/support/status.h"
#include "tests/support/temporary.h"

namespace gnomon::feature {
namespace {

using test::ValueOf;

constexpr int64_t kHour = 3600 * kMicrosPerSecond;
constexpr int64_t kStart = 1'700'006'400'000'000;
constexpr int64_t kEnd = kStart + 20 * 24 * kHour;
constexpr int kUsers = 8;
constexpr const char* kPages[] = {"home", "list", "item", "cart", "pay"};

std::string Example(const std::string& name) {
  return ValueOf(ReadFile("examples/plugin/" + name));
}

std::shared_ptr<arrow::DataType> Instant() {
  return arrow::timestamp(arrow::TimeUnit::MICRO, "UTC");
}

struct Click {
  int64_t user;
  int64_t ts;
  std::string page;
  std::optional<double> latitude;
  double longitude;
  std::optional<std::string> mail;
  int64_t seconds;
};

/// The example's repository with its library and random clicks in random order.
struct Shop {
  TemporaryFolder folder = test::MakeTemporaryFolder();
  FakeClock clock{kEnd};
  Context context;
  std::vector<Click> clicks;
  std::unique_ptr<FeatureStore> store;

  Shop() {
    context.clock = &clock;
    std::mt19937_64 random(11);
    for (int i = 0; i < 1500; ++i) {
      Click click{};
      click.user = static_cast<int64_t>(random() % kUsers);
      click.ts = kStart + static_cast<int64_t>(random() % static_cast<uint64_t>(kEnd - kStart));
      click.page = kPages[random() % std::size(kPages)];
      if (random() % 9 != 0) click.latitude = static_cast<double>(random() % 80);
      click.longitude = static_cast<double>(random() % 90);
      if (random() % 4 != 0) click.mail = random() % 3 == 0 ? "x@test.org" : "y@shop.org";
      click.seconds = static_cast<int64_t>(random() % 1000);
      clicks.push_back(click);
    }
    std::filesystem::create_directories(folder.path() + "/plugins");
    std::filesystem::copy_file(SHOP_PLUGIN, Library());
    Write("feature_store.yaml", Example("feature_store.yaml"));
    Write("features.yaml", Example("features.yaml"));
    test::RequireOk(table::WriteTable(context, *Table(), folder.path() + "/clicks.parquet"));
    Open();
    test::RequireOk(store->Apply(context, ValueOf(store->LoadRepository())).status());
  }

  std::string Library() const { return folder.path() + "/plugins/libshop.so"; }
  void Write(const std::string& name, const std::string& text) const {
    test::RequireOk(WriteFileAtomic(folder.path() + "/" + name, text));
  }
  void Open() { store = ValueOf(FeatureStore::Open(context, folder.path())); }

  std::shared_ptr<arrow::Table> Table() const {
    arrow::Int64Builder user;
    arrow::TimestampBuilder ts(Instant(), arrow::default_memory_pool());
    arrow::StringBuilder page;
    arrow::DoubleBuilder latitude;
    arrow::DoubleBuilder longitude;
    arrow::StringBuilder mail;
    arrow::Int64Builder seconds;
    for (const Click& click : clicks) {
      test::RequireOk(user.Append(click.user));
      test::RequireOk(ts.Append(click.ts));
      test::RequireOk(page.Append(click.page));
      test::RequireOk(click.latitude ? latitude.Append(*click.latitude) : latitude.AppendNull());
      test::RequireOk(longitude.Append(click.longitude));
      test::RequireOk(click.mail ? mail.Append(*click.mail) : mail.AppendNull());
      test::RequireOk(seconds.Append(click.seconds));
    }
    return arrow::Table::Make(
        arrow::schema(
            {arrow::field("user", arrow::int64()), arrow::field("ts", Instant()),
             arrow::field("page", arrow::utf8()), arrow::field("latitude", arrow::float64()),
             arrow::field("longitude", arrow::float64()), arrow::field("mail", arrow::utf8()),
             arrow::field("seconds", arrow::int64())}),
        arrow::ArrayVector{*user.Finish(), *ts.Finish(), *page.Finish(), *latitude.Finish(),
                           *longitude.Finish(), *mail.Finish(), *seconds.Finish()});
  }

  static std::shared_ptr<arrow::Table> EntityRows(const std::vector<int64_t>& times) {
    arrow::Int64Builder user;
    arrow::TimestampBuilder ts(Instant(), arrow::default_memory_pool());
    arrow::DoubleBuilder mean;
    for (const int64_t time : times) {
      for (int64_t i = 0; i <= kUsers; ++i) {
        test::RequireOk(user.Append(i));
        test::RequireOk(ts.Append(time));
        test::RequireOk(mean.Append(500));
      }
    }
    return arrow::Table::Make(arrow::schema({arrow::field("user", arrow::int64()),
                                             arrow::field("event_timestamp", Instant()),
                                             arrow::field("mean", arrow::float64())}),
                              arrow::ArrayVector{*user.Finish(), *ts.Finish(), *mean.Finish()});
  }

  Result<std::shared_ptr<arrow::Table>> Historical(const std::vector<int64_t>& times) const {
    GNOMON_ASSIGN_OR_RETURN(auto job,
                            store->GetHistoricalFeatures({.features = {}, .feature_service = "all"},
                                                         EntityRows(times)));
    return job->ToTable(context);
  }
};

std::shared_ptr<arrow::Array> ColumnOf(const arrow::Table& table, const std::string& name) {
  const auto column = table.GetColumnByName(name);
  REQUIRE_MESSAGE(column != nullptr, name);
  return ValueOf(table::SingleChunk(*column));
}

/// The filter of the view, in C++.
bool Stays(const Click& click) {
  if (!click.latitude || click.mail == "x@test.org") return false;
  constexpr double kRadian = 3.14159265358979323846 / 180;
  const double north = std::sin((52.52 - *click.latitude) * kRadian / 2);
  const double east = std::sin((13.405 - click.longitude) * kRadian / 2);
  const double chord =
      north * north + std::cos(*click.latitude * kRadian) * std::cos(52.52 * kRadian) * east * east;
  return 2 * 6371.0 * std::asin(std::min(1.0, std::sqrt(chord))) < 4000;
}

std::optional<std::string> PathOf(const std::vector<Click>& clicks, int64_t user, int64_t from,
                                  int64_t to) {
  std::map<int64_t, std::string> pages;
  for (const Click& click : clicks) {
    if (click.user == user && click.ts > from && click.ts <= to && Stays(click))
      pages[click.ts] = click.page;
  }
  if (pages.empty()) return std::nullopt;
  std::string path;
  std::string last;
  for (const auto& [time, page] : pages) {
    if (page == last) continue;
    if (!path.empty()) path += '>';
    path += page;
    last = page;
  }
  return path;
}

TEST_CASE("a library's aggregates and functions work in views, filters and on-demand features") {
  const Shop shop;
  const std::vector<int64_t> times = {kStart, kStart + 30 * kHour + 7, kEnd, kEnd + 48 * kHour};
  const auto table = ValueOf(shop.Historical(times));
  const auto paths = ColumnOf(*table, "path_1d");
  const auto lifetimes = ColumnOf(*table, "path");
  int64_t found = 0;
  for (size_t t = 0; t < times.size(); ++t) {
    for (int64_t user = 0; user <= kUsers; ++user) {
      const auto row = static_cast<int64_t>(t) * (kUsers + 1) + user;
      const auto text = [&](const arrow::Array& array) {
        return array.IsNull(row)
                   ? std::nullopt
                   : std::optional(static_cast<const arrow::StringArray&>(array).GetString(row));
      };
      CHECK(text(*paths) == PathOf(shop.clicks, user, times[t] - 24 * kHour, times[t]));
      CHECK(text(*lifetimes) == PathOf(shop.clicks, user, INT64_MIN, times[t]));
      if (paths->IsValid(row)) ++found;
    }
  }
  CHECK(found > kUsers);
  const auto domains = ColumnOf(*table, "domain");
  CHECK(static_cast<const arrow::StringArray&>(*domains).GetString(kUsers) == "unknown");
  CHECK(ColumnOf(*table, "score")->null_count() < table->num_rows());
}

TEST_CASE("online values of a library's code are the offline ones, bit for bit, at any time") {
  Shop shop;
  ValueOf(shop.store->Materialize(shop.context, {.start = kStart, .end = kEnd}));
  SUBCASE("in the process that materialized") {}
  SUBCASE("in one that opens the repository") { shop.Open(); }
  for (const int64_t later : {int64_t{0}, int64_t{1}, kHour, 23 * kHour, 71 * kHour, 999 * kHour}) {
    CAPTURE(later);
    const auto rows = Shop::EntityRows({kEnd + later});
    const auto offline = ValueOf(shop.Historical({kEnd + later}));
    const auto online = ValueOf(
        shop.store->GetOnlineFeatures(shop.context, {.features = {}, .feature_service = "all"},
                                      *ValueOf(table::SingleBatch(*rows)), kEnd + later));
    REQUIRE(online.features.size() == 12);
    for (const OnlineColumn& column : online.features) {
      CAPTURE(column.name);
      CHECK(column.values->Equals(*ColumnOf(*offline, column.name)));
    }
  }
}

TEST_CASE("the registry keeps what was applied, with the library's digest") {
  Shop shop;
  shop.Open();
  const auto definitions = ValueOf(shop.store->LoadRepository());
  for (const RegistryChange& change : ValueOf(shop.store->Plan(shop.context, definitions))) {
    CAPTURE(change.name);
    CHECK(change.action == RegistryChange::Action::kUnchanged);
  }
  REQUIRE(shop.store->definitions()->plugins.size() == 1);
  CHECK(shop.store->definitions()->plugins[0].path == "plugins/libshop.so");

  // Another build of the library: a longer file under the same name.
  const std::string before = shop.store->definitions()->plugins[0].id;
  std::filesystem::copy_file(shop.Library(), shop.Library() + ".new");
  std::ofstream(shop.Library() + ".new", std::ios::app) << "another build";
  std::filesystem::rename(shop.Library() + ".new", shop.Library());
  const auto service = [&] { return ValueOf(FingerprintOf(*shop.store->definitions(), "all")); };
  const std::string fingerprint = service();
  ValueOf(shop.store->Materialize(shop.context, {.start = kStart, .end = kEnd}));
  shop.Open();
  const auto warnings = PluginWarnings(*shop.store->definitions(), shop.store->extensions().get());
  REQUIRE(warnings.size() == 1);
  CHECK(warnings[0].find(Concat("libshop.so (sha256 ", before)) != std::string::npos);
  const auto changes = ValueOf(shop.store->Plan(shop.context, definitions));
  const auto change = std::ranges::find(changes, "plug-in library", &RegistryChange::kind);
  REQUIRE(change != changes.end());
  CHECK(change->action == RegistryChange::Action::kUpdate);
  REQUIRE(change->details.size() == 1);
  CHECK(change->details[0].starts_with(Concat("sha256: ", before)));
  ValueOf(shop.store->Apply(shop.context, definitions));
  CHECK(shop.store->definitions()->plugins[0].id != before);
  CHECK(PluginWarnings(*shop.store->definitions(), shop.store->extensions().get()).empty());
  // What the old build made is materialized anew, and models notice.
  CHECK_FALSE(shop.store->registry().StateOf("visits").Watermark());
  CHECK(service() != fingerprint);
}

TEST_CASE("a missing library is named by whatever needs it, the rest goes on") {
  Shop shop;
  shop.Write("feature_store.yaml", "project: clicks\n");
  shop.Open();
  const auto retrieve = [&](const std::string& feature) -> Status {
    auto job = shop.store->GetHistoricalFeatures({.features = {feature}, .feature_service = {}},
                                                 Shop::EntityRows({kEnd}));
    GNOMON_RETURN_NOT_OK(job.status());
    return (*job)->ToTable(shop.context).status();
  };
  CHECK_ERROR(retrieve("visits:path_1d"), ErrorKind::kUser, "not loaded: plugins/libshop.so");
  CHECK_ERROR(retrieve("place:km"), ErrorKind::kUser, "not loaded: plugins/libshop.so");
  CHECK_ERROR(retrieve("derived:domain"), ErrorKind::kUser, "not loaded: plugins/libshop.so");
  const FeatureView& visits = *shop.store->definitions()->FindFeatureView("visits");
  CHECK_ERROR(AggregateSpecOf(visits.aggregations[0]), ErrorKind::kNotFound,
              "'page_path' is of a plug-in library that is not loaded: plugins/libshop.so");
  CHECK_OK(retrieve("place:seconds"));
  CHECK(PluginWarnings(*shop.store->definitions(), nullptr).size() == 1);
  CHECK_ERROR(shop.store->LoadRepository(), ErrorKind::kUser,
              "unknown aggregate function: 'page_path'");
  shop.Write("feature_store.yaml", "project: clicks\nplugins: [plugins/gone.so]\n");
  CHECK_ERROR(FeatureStore::Open(shop.context, shop.folder.path()), ErrorKind::kNotFound,
              "plugins/gone.so");
}

TEST_CASE("a slip in a function's name is answered with the nearest of the library") {
  Shop shop;
  const auto load = [&](const std::string& from, const std::string& to) -> Status {
    std::string text = Example("features.yaml");
    text.replace(text.find(from), from.size(), to);
    shop.Write("features.yaml", text);
    GNOMON_ASSIGN_OR_RETURN(const auto definitions, shop.store->LoadRepository());
    return shop.store->Resolve(shop.context, definitions).status();
  };
  CHECK_ERROR(load("function: page_path", "function: page_paths"), ErrorKind::kUser,
              "did you mean 'page_path'?");
  CHECK_ERROR(load("function: page_path", "function: page_paths"), ErrorKind::kUser,
              "features.yaml:14");
  CHECK_ERROR(load("from_shop: distance_km", "from_shop: distanc_km"), ErrorKind::kUser,
              "did you mean 'distance_km'?");
  CHECK_ERROR(load("zscore(seconds", "zscor(seconds"), ErrorKind::kUser, "did you mean 'zscore'?");
  CHECK_ERROR(load("{column: page, function: page_path, name",
                   "{column: seconds, function: page_path, name"),
              ErrorKind::kUser, "page_path does not take values of type int64");
}

TEST_CASE("builders name a library's aggregates, and apply looks for them") {
  Shop shop;
  auto definitions = *shop.store->definitions();
  const auto add = [&](const std::string& function) {
    auto view = FeatureViewBuilder("built").Entities({"user"}).Source("clicks").PluginAggregate(
        "page", function, "2h");
    definitions.feature_views.push_back(ValueOf(view.Build()));
    const Status status = shop.store->Resolve(shop.context, definitions).status();
    definitions.feature_views.pop_back();
    return status;
  };
  CHECK_OK(add("page_path"));
  CHECK_ERROR(add("page_pth"), ErrorKind::kUser, "did you mean 'page_path'?");
}

TEST_CASE("pushed rows take part in a library's windows") {
  Shop shop;
  ValueOf(shop.store->Materialize(shop.context, {.start = kStart, .end = kEnd}));
  Click late = shop.clicks.front();
  late.user = kUsers;  // has no other clicks
  late.ts = kEnd + kHour;
  late.page = "pay";
  late.latitude = 52.0;
  late.longitude = 13.0;
  late.mail = "y@shop.org";
  shop.clicks = {late};
  const auto table = shop.Table();
  auto columns = table->schema()->field_names();
  // A push brings what the view aggregates: columns after its transformations.
  auto pushed = ValueOf(
      table->AddColumn(table->num_columns(), arrow::field("from_shop", arrow::float64()),
                       std::make_shared<arrow::ChunkedArray>(ColumnOf(*table, "latitude"))));
  ValueOf(shop.store->Push(shop.context, "visits", *ValueOf(table::SingleBatch(*pushed))));
  const auto online = ValueOf(shop.store->GetOnlineFeatures(
      shop.context, {.features = {"visits:path_1d"}, .feature_service = {}},
      *ValueOf(table::SingleBatch(*Shop::EntityRows({kEnd + kHour}))), kEnd + kHour));
  CHECK(static_cast<const arrow::StringArray&>(*online.features[0].values).GetString(kUsers) ==
        "pay");
}

}  // namespace
}  // namespace gnomon::feature
