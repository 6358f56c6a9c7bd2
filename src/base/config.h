#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"

/// The one way from YAML to typed values. A ConfigNode is a parsed YAML value that knows its file
/// and line. Readers declare the keys that they know; what is left over is an error (or a warning)
/// that names the place and the nearest known key. Text values may hold ${VAR}, expanded from the
/// environment when the file is loaded.
namespace gnomon {

class ConfigNode {
 public:
  enum class Type { kNull, kScalar, kSequence, kMapping };

  ConfigNode();  ///< null

  Type type() const;
  bool is_null() const { return type() == Type::kNull; }
  bool is_mapping() const { return type() == Type::kMapping; }
  bool is_sequence() const { return type() == Type::kSequence; }
  bool is_scalar() const { return type() == Type::kScalar; }

  /// Where the value stands.
  Location location() const;
  /// The path of keys that leads here, for messages: "feature_views[2].ttl".
  std::string path() const;

  /// Scalars. Each error is kUser with the location: "feature_views[2].ttl: expected a duration,
  /// got 'soon'".
  Result<std::string> AsString() const;
  /// true or false in any case, and YAML 1.1's yes, no, on, off.
  Result<bool> AsBool() const;
  Result<int64_t> AsInt() const;
  Result<double> AsDouble() const;
  /// "7d 1h", "1H", or a number of seconds. Microseconds.
  Result<int64_t> AsDuration() const;
  /// RFC 3339, naive or date. Microseconds.
  Result<int64_t> AsTimestamp() const;
  /// "64MiB" or a number of bytes.
  Result<int64_t> AsBytes() const;
  /// A sequence of scalars; a lone scalar counts as a sequence of one; null as none.
  Result<std::vector<std::string>> AsStringList() const;
  /// A mapping of scalars.
  Result<std::map<std::string, std::string>> AsStringMap() const;

  /// Elements of a sequence (null counts as an empty one); kUser for anything else.
  Result<std::vector<ConfigNode>> Elements() const;
  /// Keys and values of a mapping in the file's order; a key that stands twice is an error at load.
  Result<std::vector<std::pair<std::string, ConfigNode>>> Members() const;
  /// The member, or a null node when it is absent or this is not a mapping. Never fails.
  ConfigNode Get(std::string_view key) const;
  bool Has(std::string_view key) const;

  /// kUser for the first member whose key is in neither list, with a nearest-key hint; keys in
  /// `ignored` are logged as a warning ("feast key 'x' is not implemented and has no effect").
  Status CheckKeys(const std::vector<std::string>& known,
                   const std::vector<std::string>& ignored = {}) const;

  /// An error at this node: "path: message".
  Status ErrorHere(std::string_view message, std::string hint = {}) const;

  struct Data;  ///< in config.cc
  explicit ConfigNode(std::shared_ptr<const Data> data);
  const Data& data() const;

 private:
  std::shared_ptr<const Data> data_;
};

/// Parses YAML text (1.2 core schema, one document; aliases are allowed up to a total expansion of
/// 100,000 nodes and a depth of 100). Errors carry `file` and the line. An empty document is a null
/// node.
/// `${VAR}` and `$VAR` are expanded in scalars, not in keys; an unset ${VAR} is an error that names
/// it, an unset $VAR is left as it stands, `$$` is a dollar sign. Messages show such a scalar as it
/// stands in the file, so that they tell no secret.
Result<ConfigNode> ParseConfig(std::string_view yaml, const std::string& file);
Result<ConfigNode> LoadConfigFile(const std::string& path);

/// An environment lookup; tests give their own.
using Environment = std::function<std::optional<std::string>(const std::string&)>;
Result<ConfigNode> ParseConfig(std::string_view yaml, const std::string& file,
                               const Environment& environment);

/// Text that prints as ***.
class Secret {
 public:
  Secret() = default;
  explicit Secret(std::string value) : value_(std::move(value)) {}
  const std::string& Reveal() const { return value_; }
  bool empty() const { return value_.empty(); }
  std::string ToString() const { return value_.empty() ? "" : "***"; }

 private:
  std::string value_;
};

}  // namespace gnomon
