// A plug-in library for a shop: two window aggregates and three functions.
//   c++ -std=c++20 -O2 -fPIC -fvisibility=hidden -shared -I<gnomon>/src shop.cc -o libshop.so
#include <algorithm>
#include <cmath>

#include "plugin/sdk.h"

namespace sdk = gnomon::sdk;

namespace {

// How far the values of a window lie apart.
struct ValueRange {
  double least = INFINITY;
  double greatest = -INFINITY;

  void Add(double value) {
    least = std::min(least, value);
    greatest = std::max(greatest, value);
  }
  void Merge(const ValueRange& later) {
    least = std::min(least, later.least);
    greatest = std::max(greatest, later.greatest);
  }
  std::optional<double> Finish() const {
    if (least > greatest) return std::nullopt;
    return greatest - least;
  }
};

// The pages of a window in their order, "home>cart>pay"; a page that is loaded again counts once.
struct PagePath {
  std::string path;
  std::string last;

  void Add(std::string_view page) {
    if (!path.empty() && page == last) return;
    if (!path.empty()) path += '>';
    path += page;
    last = page;
  }
  void Merge(const PagePath& later) {
    if (later.path.empty()) return;
    if (path.empty()) {
      *this = later;
      return;
    }
    const size_t first_end = later.path.find('>');
    std::string_view rest = later.path;
    if (rest.substr(0, first_end) == last) {
      rest = first_end == std::string::npos ? "" : rest.substr(first_end + 1);
    }
    if (!rest.empty()) path.append(">").append(rest);
    last = later.last;
  }
  std::string Finish() const { return path; }
};

// Row by row: great-circle distance. A row with a null argument gives null by itself.
double DistanceKm(double latitude1, double longitude1, double latitude2, double longitude2) {
  if (std::fabs(latitude1) > 90 || std::fabs(latitude2) > 90) {
    throw sdk::Error(sdk::ErrorKind::kUser, "a latitude is between -90 and 90");
  }
  constexpr double kRadian = 3.14159265358979323846 / 180;
  const double north = std::sin((latitude2 - latitude1) * kRadian / 2);
  const double east = std::sin((longitude2 - longitude1) * kRadian / 2);
  const double chord =
      north * north + std::cos(latitude1 * kRadian) * std::cos(latitude2 * kRadian) * east * east;
  return 2 * 6371.0 * std::asin(std::min(1.0, std::sqrt(chord)));
}

// An optional parameter sees nulls, an optional result can be one.
std::optional<std::string> MailDomain(std::optional<std::string_view> mail) {
  if (!mail) return "unknown";
  const size_t at = mail->rfind('@');
  if (at == std::string_view::npos) return std::nullopt;
  return std::string(mail->substr(at + 1));
}

// Whole batches: a loop that the compiler can vectorise. Null where an input is, or for spread 0.
void Zscore(sdk::Column<double> value, sdk::Column<double> mean, sdk::Column<double> spread,
            sdk::Output<double>& output) {
  const auto x = value.values();
  const auto m = mean.values();
  const auto s = spread.values();
  const auto z = output.values();
  for (size_t i = 0; i < z.size(); ++i) z[i] = (x[i] - m[i]) / s[i];
  output.SetAllValid();
  for (int64_t i = 0; i < output.size(); ++i) {
    const bool known = value.is_valid(i) && mean.is_valid(i) && spread.is_valid(i);
    if (!known || spread[i] == 0) output.SetNull(i);
  }
}

}  // namespace

GNOMON_PLUGIN("shop", "1.0") {
  plugin.Aggregate<ValueRange>("value_range", "greatest less smallest value of the window");
  plugin.Aggregate<PagePath>("page_path", "the pages of the window in their order");
  plugin.Function("distance_km", &DistanceKm, "great-circle distance of two places in kilometres");
  plugin.Function("mail_domain", &MailDomain, "what follows the @ of a mail address");
  plugin.BatchFunction("zscore", &Zscore, "(value - mean) / spread, null for spread 0");
}
