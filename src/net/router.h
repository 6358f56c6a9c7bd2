#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "net/http.h"

namespace gnomon::net {

struct RouteOptions {
  /// The handler may take over a millisecond or wait: run it on the server's pool instead of an I/O
  /// thread. Only these routes see a client disconnect.
  bool blocking = false;
  /// Answer also when `max_in_flight` is reached; for health checks.
  bool unlimited = false;
};

struct Route {
  std::string method;
  std::string pattern;  ///< also the route label of the metrics
  Handler handler;
  RouteOptions options;
};

/// The outcome of Router::Find. `params` point into `values`, so it can be neither copied nor
/// moved; reuse one per connection.
struct RouteMatch {
  static constexpr int kNone = -1;

  RouteMatch() = default;
  RouteMatch(const RouteMatch&) = delete;
  RouteMatch& operator=(const RouteMatch&) = delete;

  int route = kNone;              ///< index into routes()
  std::vector<HttpField> params;  ///< of the pattern, decoded
  std::string allow;  ///< for 405: the methods that this path has, "GET, HEAD"; empty for 404
  std::vector<std::string> values;
};

/// Finds handlers by method and path.
///
/// A pattern is a path whose segments are literal, or `{name}`, or `{name}` with a literal suffix
/// that begins with a colon: "/v1/models/{model}:predict". `{name}` matches one segment of at least
/// one character, without the suffix. Literal paths win over patterns, a pattern with a suffix over
/// one without, whatever the method ("GET /v1/models/m:predict" is no model called "m:predict");
/// among equals the first added wins. Paths match byte by byte after percent-decoding; "/x" and
/// "/x/" are different. A GET route answers HEAD too.
///
/// Thread-safe once routes are no longer added.
class Router {
 public:
  /// REQUIRES: `pattern` begins with '/', its names are unique, and method and pattern were not
  /// added before. Returns *this to chain.
  Router& Add(std::string method, std::string pattern, Handler handler, RouteOptions options = {});
  Router& Get(std::string pattern, Handler handler, RouteOptions options = {});
  Router& Post(std::string pattern, Handler handler, RouteOptions options = {});

  bool Has(std::string_view method, std::string_view pattern) const;
  const std::vector<Route>& routes() const { return routes_; }

  /// Looks up a raw (still percent-encoded) path without query.
  void Find(std::string_view method, std::string_view raw_path, RouteMatch* match) const;

 private:
  struct Segment {
    bool is_param = false;
    std::string text;    // literal, or the parameter's name
    std::string suffix;  // ":predict"
  };
  struct Pattern {
    std::vector<Segment> segments;
    std::vector<int> routes;
    int num_suffixes = 0;
  };
  struct StringHash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };

  static bool Matches(const Pattern& pattern, std::string_view raw_path,
                      std::vector<std::string>* values);
  void Choose(const std::vector<int>& candidates, std::string_view method, RouteMatch* match) const;

  std::vector<Route> routes_;
  std::unordered_map<std::string, std::vector<int>, StringHash, std::equal_to<>> literals_;
  std::vector<Pattern> patterns_;
};

}  // namespace gnomon::net
