#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/config.h"
#include "base/error.h"
#include "feature/definition/definition.h"

/// What the parsers of objects in features.yaml share.
namespace gnomon::feature {

/// An aggregation of a window view. `extensions` may be null.
Result<Aggregation> ParseAggregation(const ConfigNode& node, const Extensions* extensions);

inline Status RequireMapping(const ConfigNode& node) {
  if (node.is_mapping()) return Status::OK();
  return node.ErrorHere("expected a mapping of keys");
}

/// Reads the members that are there; the first error is kept.
class MemberReader {
 public:
  explicit MemberReader(const ConfigNode& node) : node_(node) {}

  MemberReader& Text(std::string_view key, std::string* value) {
    return Take(key, value, [](const ConfigNode& member) { return member.AsString(); });
  }
  MemberReader& Bool(std::string_view key, bool* value) {
    return Take(key, value, [](const ConfigNode& member) { return member.AsBool(); });
  }
  MemberReader& Duration(std::string_view key, int64_t* value) {
    return Take(key, value, [](const ConfigNode& member) { return member.AsDuration(); });
  }
  MemberReader& Duration(std::string_view key, std::optional<int64_t>* value) {
    return Take(key, value, [](const ConfigNode& member) { return member.AsDuration(); });
  }
  MemberReader& TextList(std::string_view key, std::vector<std::string>* value) {
    return Take(key, value, [](const ConfigNode& member) { return member.AsStringList(); });
  }
  MemberReader& TextMap(std::string_view key, std::map<std::string, std::string>* value) {
    return Take(key, value, [](const ConfigNode& member) { return member.AsStringMap(); });
  }
  MemberReader& Type(std::string_view key, ValueType* value) {
    return Take(key, value, [](const ConfigNode& member) -> Result<ValueType> {
      GNOMON_ASSIGN_OR_RETURN(const std::string text, member.AsString());
      auto type = ValueType::Parse(text);
      if (type.ok()) return type;
      return WithLocation(WithContext(type.status(), member.path()), member.location());
    });
  }
  Status status() const { return status_; }

 private:
  template <typename Value, typename Read>
  MemberReader& Take(std::string_view key, Value* value, Read read) {
    const ConfigNode member = node_.Get(key);
    if (!status_.ok() || member.is_null()) return *this;
    auto result = read(member);
    if (result.ok()) {
      *value = std::move(*result);
    } else {
      status_ = result.status();
    }
    return *this;
  }

  const ConfigNode& node_;
  Status status_;
};

}  // namespace gnomon::feature
