#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/config.h"

namespace gnomon {

// One step on the way from the root to a node. Nodes share their parents' steps, so that long keys
// cost once.
struct PathStep {
  std::shared_ptr<const PathStep> parent;
  std::string key = {};
  int64_t index = -1;  // of a sequence's element; then there is no key
};

/// "feature_views[2].ttl"; "" for the root, whose step is null.
std::string PathText(const PathStep* step);

/// `text` in quotes, its beginning only when it is long.
std::string Shown(std::string_view text);

struct ConfigNode::Data {
  Type type = Type::kNull;
  std::string text;                       // a scalar's, expanded
  std::optional<std::string> unexpanded;  // when that differs
  std::shared_ptr<const std::string> file;
  int line = 0;
  int column = 0;
  int key_line = 0;  // of the key before it, 0 without one
  int key_column = 0;
  std::shared_ptr<const PathStep> path;
  std::vector<ConfigNode> elements;
  std::vector<std::pair<std::string, ConfigNode>> members;
  size_t num_nodes = 1;  // with all below
  size_t height = 1;
};

}  // namespace gnomon
