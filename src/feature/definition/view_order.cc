#include <algorithm>
#include <map>
#include <utility>

#include "feature/definition/definition_internal.h"

namespace gnomon::feature {

namespace {

constexpr size_t kMaxDepth = 200;

enum class Mark { kNew, kOpen, kDone };

using ParentsOf = std::function<const std::vector<std::string>*(const std::string&)>;

struct Walk {
  std::string_view kind;
  const ParentsOf& parents_of;
  std::map<std::string, Mark> marks = {};
  std::vector<std::string> path = {};
  std::vector<std::string> order = {};

  Status Visit(const std::string& name) {
    const std::vector<std::string>* parents = parents_of(name);
    if (parents == nullptr || marks[name] == Mark::kDone) return Status::OK();
    if (path.size() >= kMaxDepth) {
      return ObjectError(kind, name, Concat("more than ", kMaxDepth, " views deep"));
    }
    path.push_back(name);
    if (marks[name] == Mark::kOpen) {
      const std::vector<std::string> cycle(std::ranges::find(path, name), path.end());
      return ObjectError(kind, name, Concat("its sources form a cycle: ", Join(cycle, " -> ")));
    }
    marks[name] = Mark::kOpen;
    for (const std::string& parent : *parents) GNOMON_RETURN_NOT_OK(Visit(parent));
    marks[name] = Mark::kDone;
    path.pop_back();
    order.push_back(name);
    return Status::OK();
  }
};

}  // namespace

Result<std::vector<std::string>> OrderByParents(std::string_view kind,
                                                const std::vector<std::string>& names,
                                                const ParentsOf& parents_of) {
  Walk walk{.kind = kind, .parents_of = parents_of};
  for (const std::string& name : names) GNOMON_RETURN_NOT_OK(walk.Visit(name));
  return std::move(walk.order);
}

}  // namespace gnomon::feature
