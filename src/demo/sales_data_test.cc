#include "demo/sales_data.h"

#include <algorithm>

#include <arrow/array.h>
#include <arrow/table.h>
#include <doctest/doctest.h>

#include "base/config.h"
#include "base/time.h"
#include "demo/template_internal.h"
#include "feature/definition/repository.h"

namespace gnomon::demo {
namespace {

constexpr SalesOptions kSmall{.stores = 4, .departments = 3, .weeks = 52, .seed = 7, .noise = 0.1};

TEST_CASE("the same seed gives the same sales, another seed others") {
  const auto first = GenerateSales({}, kSmall).ValueOrDie();
  const auto second = GenerateSales({}, kSmall).ValueOrDie();
  CHECK(first.sales->Equals(*second.sales));
  CHECK(first.labels->Equals(*second.labels));
  SalesOptions other = kSmall;
  other.seed = 8;
  CHECK_FALSE(first.sales->Equals(*GenerateSales({}, other).ValueOrDie().sales));
}

TEST_CASE("a row is stamped a week after its label's time") {
  const auto data = GenerateSales({}, kSmall).ValueOrDie();
  REQUIRE(data.sales->num_rows() == 4 * 3 * 52);
  const auto& stamps = static_cast<const arrow::TimestampArray&>(
      *data.sales->GetColumnByName("event_timestamp")->chunk(0));
  const auto& times = static_cast<const arrow::TimestampArray&>(
      *data.labels->GetColumnByName("event_timestamp")->chunk(0));
  bool all = true;
  int64_t newest = 0;
  for (int64_t i = 0; i < stamps.length(); ++i) {
    all = all && stamps.Value(i) == times.Value(i) + 7 * kMicrosPerDay;
    newest = std::max(newest, stamps.Value(i));
  }
  CHECK(all);
  CHECK(newest == data.end);
}

TEST_CASE("the noiseless mean is the mean of the sales") {
  SalesOptions options = kSmall;
  options.stores = 40;
  options.departments = 20;
  const auto data = GenerateSales({}, options).ValueOrDie();
  const auto& sales = static_cast<const arrow::DoubleArray&>(
      *data.sales->GetColumnByName("weekly_sales")->chunk(0));
  double ratio = 0;
  for (int64_t i = 0; i < sales.length(); ++i)
    ratio += sales.Value(i) / data.mean[static_cast<size_t>(i)];
  CHECK(ratio / static_cast<double>(sales.length()) == doctest::Approx(1).epsilon(0.005));
}

TEST_CASE("every template parses and validates") {
  for (const TemplateFile& file : TemplateFiles()) {
    CAPTURE(file.repository);
    CAPTURE(file.path);
    if (file.path == "features.yaml") {
      auto root = ParseConfig(file.text, "features.yaml");
      REQUIRE(root.ok());
      auto definitions = feature::ParseDefinitions(*root);
      CHECK_MESSAGE(definitions.ok(), definitions.status().ToString());
      if (definitions.ok()) CHECK(feature::Validate(*definitions).ok());
    }
    if (file.path == "feature_store.yaml") {
      auto root = ParseConfig(file.text, "feature_store.yaml");
      REQUIRE(root.ok());
      CHECK(feature::ParseRepositoryConfig(*root, "/repository").ok());
    }
  }
}

}  // namespace
}  // namespace gnomon::demo
