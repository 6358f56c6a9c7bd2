#include "net/router.h"

#include <algorithm>
#include <utility>

#include "base/text.h"

namespace gnomon::net {
namespace {

// Cuts the first segment off `rest`, which begins with '/'.
std::string_view NextSegment(std::string_view* rest) {
  rest->remove_prefix(1);
  const size_t end = std::min(rest->find('/'), rest->size());
  const std::string_view segment = rest->substr(0, end);
  rest->remove_prefix(end);
  return segment;
}

void AddMethod(std::string* allow, std::string_view method) {
  for (const std::string& known : Split(*allow, ',')) {
    if (Trim(known) == method) return;
  }
  if (!allow->empty()) allow->append(", ");
  allow->append(method);
}

}  // namespace

Router& Router::Add(std::string method, std::string pattern, Handler handler,
                    RouteOptions options) {
  GNOMON_CHECK(pattern.starts_with('/'), "a route's pattern begins with '/': ", pattern);
  GNOMON_CHECK(!Has(method, pattern), "route added twice: ", method, " ", pattern);
  const int index = static_cast<int>(routes_.size());
  routes_.push_back({std::move(method), pattern, std::move(handler), options});
  if (pattern.find('{') == std::string::npos) {
    literals_[std::move(pattern)].push_back(index);
    return *this;
  }
  for (Pattern& known : patterns_) {
    if (routes_[static_cast<size_t>(known.routes.front())].pattern == pattern) {
      known.routes.push_back(index);
      return *this;
    }
  }
  Pattern added;
  added.routes.push_back(index);
  std::string_view rest = pattern;
  while (!rest.empty()) {
    const std::string_view text = NextSegment(&rest);
    Segment segment{.is_param = text.starts_with('{'), .text = std::string(text), .suffix = {}};
    if (segment.is_param) {
      const size_t close = text.find('}');
      GNOMON_CHECK(close != std::string_view::npos && close > 1, "bad pattern: ", pattern);
      segment.text = text.substr(1, close - 1);
      segment.suffix = text.substr(close + 1);
      GNOMON_CHECK(segment.suffix.empty() || segment.suffix.starts_with(':'),
                   "a suffix begins with ':': ", pattern);
      for (const Segment& earlier : added.segments) {
        GNOMON_CHECK(!earlier.is_param || earlier.text != segment.text,
                     "a name stands twice in a pattern: ", pattern);
      }
      if (!segment.suffix.empty()) ++added.num_suffixes;
    } else {
      GNOMON_CHECK(text.find_first_of("{}") == std::string_view::npos, "bad pattern: ", pattern);
    }
    added.segments.push_back(std::move(segment));
  }
  const auto place = std::ranges::find_if(
      patterns_, [&](const Pattern& known) { return known.num_suffixes < added.num_suffixes; });
  patterns_.insert(place, std::move(added));
  return *this;
}

Router& Router::Get(std::string pattern, Handler handler, RouteOptions options) {
  return Add("GET", std::move(pattern), std::move(handler), options);
}

Router& Router::Post(std::string pattern, Handler handler, RouteOptions options) {
  return Add("POST", std::move(pattern), std::move(handler), options);
}

bool Router::Has(std::string_view method, std::string_view pattern) const {
  return std::ranges::any_of(routes_, [&](const Route& route) {
    return route.method == method && route.pattern == pattern;
  });
}

void Router::Find(std::string_view method, std::string_view raw_path, RouteMatch* match) const {
  match->route = RouteMatch::kNone;
  match->params.clear();
  match->allow.clear();
  const auto find_literal = [&](std::string_view path) {
    if (const auto found = literals_.find(path); found != literals_.end()) {
      Choose(found->second, method, match);
    }
  };
  if (raw_path.find('%') == std::string_view::npos) {
    find_literal(raw_path);
  } else if (const auto decoded = PercentDecode(raw_path)) {
    find_literal(*decoded);
  }
  if (match->route != RouteMatch::kNone) return;
  for (const Pattern& pattern : patterns_) {
    if (!Matches(pattern, raw_path, &match->values)) continue;
    Choose(pattern.routes, method, match);
    if (match->route == RouteMatch::kNone) {
      if (pattern.num_suffixes > 0) return;
      continue;
    }
    size_t next = 0;
    for (const Segment& segment : pattern.segments) {
      if (segment.is_param) match->params.push_back({segment.text, match->values[next++]});
    }
    return;
  }
}

bool Router::Matches(const Pattern& pattern, std::string_view raw_path,
                     std::vector<std::string>* values) {
  values->clear();
  std::string_view rest = raw_path;
  for (const Segment& segment : pattern.segments) {
    if (!rest.starts_with('/')) return false;
    auto decoded = PercentDecode(NextSegment(&rest));
    if (!decoded) return false;
    if (!segment.is_param) {
      if (*decoded != segment.text) return false;
      continue;
    }
    if (decoded->size() <= segment.suffix.size() || !decoded->ends_with(segment.suffix))
      return false;
    decoded->resize(decoded->size() - segment.suffix.size());
    values->push_back(std::move(*decoded));
  }
  return rest.empty();
}

void Router::Choose(const std::vector<int>& candidates, std::string_view method,
                    RouteMatch* match) const {
  int get = RouteMatch::kNone;
  for (const int index : candidates) {
    const Route& route = routes_[static_cast<size_t>(index)];
    if (route.method == method) {
      match->route = index;
      return;
    }
    if (route.method == "GET") get = index;
  }
  if (method == "HEAD" && get != RouteMatch::kNone) {
    match->route = get;
    return;
  }
  for (const int index : candidates) {
    AddMethod(&match->allow, routes_[static_cast<size_t>(index)].method);
    if (routes_[static_cast<size_t>(index)].method == "GET") AddMethod(&match->allow, "HEAD");
  }
}

}  // namespace gnomon::net
