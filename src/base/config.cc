#include "base/config.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <ranges>
#include <system_error>

#include "base/config_internal.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/time.h"

namespace gnomon {

namespace {

using Data = ConfigNode::Data;
using Type = ConfigNode::Type;

constexpr size_t kMaxShownBytes = 60;

const Data& NullData() {
  static const Data data;
  return data;
}

// All of `text` as a number; nullopt when it is none or out of range.
template <typename T, typename... Format>
std::optional<T> ParseNumber(std::string_view text, Format... format) {
  T value{};
  const char* end = text.data() + text.size();
  const auto [number_end, error] = std::from_chars(text.data(), end, value, format...);
  if (text.empty() || error != std::errc{} || number_end != end) return std::nullopt;
  return value;
}

std::optional<int64_t> ParseCoreInt(std::string_view text) {
  if (text.starts_with("0x") && !text.substr(2).starts_with('-'))
    return ParseNumber<int64_t>(text.substr(2), 16);
  if (text.starts_with("0o") && !text.substr(2).starts_with('-'))
    return ParseNumber<int64_t>(text.substr(2), 8);
  if (text.starts_with('+') && !text.substr(1).starts_with('-')) text.remove_prefix(1);
  return ParseNumber<int64_t>(text);
}

std::optional<double> ParseCoreDouble(std::string_view text) {
  const std::string lower = ToLower(text);
  if (lower == ".inf" || lower == "+.inf") return HUGE_VAL;
  if (lower == "-.inf") return -HUGE_VAL;
  if (lower == ".nan") return std::nan("");
  std::string_view number = lower;
  if (number.starts_with('+')) number.remove_prefix(1);
  // from_chars would read "inf" and "nan(1)", which are text in YAML.
  constexpr std::string_view kLetters = "0123456789.";
  const size_t first = number.starts_with('-') && number.data() == lower.data() ? 1 : 0;
  if (number.size() <= first || kLetters.find(number[first]) == std::string_view::npos) {
    return std::nullopt;
  }
  return ParseNumber<double>(number);
}

std::string Describe(const Data& data) {
  switch (data.type) {
    case Type::kNull:
      return "nothing";
    case Type::kScalar:
      return Shown(data.unexpanded.value_or(data.text));
    case Type::kSequence:
      return "a sequence";
    case Type::kMapping:
      return "a mapping";
  }
  return {};
}

// Where the key before a value stands.
Location KeyLocation(const Data& value) {
  return {.file = *value.file, .line = value.key_line, .column = value.key_column};
}

Status Expected(const ConfigNode& node, std::string_view what, std::string hint = {}) {
  return node.ErrorHere(Concat("expected ", what, ", got ", Describe(node.data())),
                        std::move(hint));
}

// `parsed` when it is OK. Its message is not used: it would show what a variable expands to.
template <typename T>
Result<T> OrExpected(const ConfigNode& node, const Result<T>& parsed, std::string_view what) {
  if (parsed.ok()) return parsed;
  return Expected(node, what, HintOf(parsed.status()));
}

}  // namespace

std::string PathText(const PathStep* step) {
  std::vector<const PathStep*> steps;
  for (; step != nullptr; step = step->parent.get()) steps.push_back(step);
  std::string out;
  for (const PathStep* part : std::views::reverse(steps)) {
    if (part->index >= 0) {
      out += Concat('[', part->index, ']');
    } else {
      if (!out.empty()) out += '.';
      out += part->key;
    }
  }
  return out;
}

std::string Shown(std::string_view text) {
  if (text.size() <= kMaxShownBytes) return Quoted(text);
  size_t size = kMaxShownBytes;
  while (size > 0 && (static_cast<unsigned char>(text[size]) & 0xc0) == 0x80) --size;
  return Concat(Quoted(text.substr(0, size)), "...");
}

ConfigNode::ConfigNode() = default;

ConfigNode::ConfigNode(std::shared_ptr<const Data> data) : data_(std::move(data)) {}

const ConfigNode::Data& ConfigNode::data() const { return data_ == nullptr ? NullData() : *data_; }

ConfigNode::Type ConfigNode::type() const { return data().type; }

Location ConfigNode::location() const {
  const Data& d = data();
  return {.file = d.file == nullptr ? std::string{} : *d.file, .line = d.line, .column = d.column};
}

std::string ConfigNode::path() const { return PathText(data().path.get()); }

Result<std::string> ConfigNode::AsString() const {
  if (!is_scalar()) return Expected(*this, "text");
  return data().text;
}

Result<bool> ConfigNode::AsBool() const {
  if (is_scalar()) {
    const std::string lower = ToLower(data().text);
    if (lower == "true" || lower == "yes" || lower == "on") return true;
    if (lower == "false" || lower == "no" || lower == "off") return false;
  }
  return Expected(*this, "true or false");
}

Result<int64_t> ConfigNode::AsInt() const {
  if (is_scalar()) {
    if (const auto value = ParseCoreInt(data().text)) return *value;
  }
  return Expected(*this, "a whole number of at most 64 bits");
}

Result<double> ConfigNode::AsDouble() const {
  if (is_scalar()) {
    if (const auto value = ParseCoreDouble(data().text)) return *value;
  }
  return Expected(*this, "a number");
}

Result<int64_t> ConfigNode::AsDuration() const {
  if (!is_scalar()) return Expected(*this, "a duration");
  if (const auto seconds = ParseCoreInt(data().text); seconds && *seconds >= 0) {
    int64_t micros = 0;
    if (__builtin_mul_overflow(*seconds, kMicrosPerSecond, &micros)) {
      return Expected(*this, "a duration in range");
    }
    return micros;
  }
  if (const auto seconds = ParseCoreDouble(data().text); seconds && *seconds >= 0) {
    const double micros = std::round(*seconds * static_cast<double>(kMicrosPerSecond));
    if (!(micros < 9.2e18)) return Expected(*this, "a duration in range");
    return static_cast<int64_t>(micros);
  }
  return OrExpected(*this, ParseDuration(data().text), "a duration");
}

Result<int64_t> ConfigNode::AsTimestamp() const {
  if (!is_scalar()) return Expected(*this, "a timestamp");
  return OrExpected(*this, ParseTimestamp(data().text), "a timestamp");
}

Result<int64_t> ConfigNode::AsBytes() const {
  if (!is_scalar()) return Expected(*this, "a number of bytes");
  return OrExpected(*this, ParseBytes(data().text), "a number of bytes");
}

Result<std::vector<std::string>> ConfigNode::AsStringList() const {
  if (is_scalar()) return std::vector<std::string>{data().text};
  if (is_mapping()) return Expected(*this, "a sequence of text");
  std::vector<std::string> out;
  for (const ConfigNode& element : data().elements) {
    GNOMON_ASSIGN_OR_RETURN(std::string text, element.AsString());
    out.push_back(std::move(text));
  }
  return out;
}

Result<std::map<std::string, std::string>> ConfigNode::AsStringMap() const {
  if (is_scalar() || is_sequence()) return Expected(*this, "a mapping of text");
  std::map<std::string, std::string> out;
  for (const auto& [key, value] : data().members) {
    GNOMON_ASSIGN_OR_RETURN(out[key], value.AsString());
  }
  return out;
}

Result<std::vector<ConfigNode>> ConfigNode::Elements() const {
  if (!is_sequence() && !is_null()) return Expected(*this, "a sequence");
  return data().elements;
}

Result<std::vector<std::pair<std::string, ConfigNode>>> ConfigNode::Members() const {
  if (!is_mapping() && !is_null()) return Expected(*this, "a mapping");
  return data().members;
}

ConfigNode ConfigNode::Get(std::string_view key) const {
  for (const auto& [name, value] : data().members) {
    if (name == key) return value;
  }
  // Errors at an absent value name the path to it and the place of what lacks it.
  auto absent = std::make_shared<Data>();
  absent->file = data().file;
  absent->line = data().line;
  absent->column = data().column;
  absent->path =
      std::make_shared<const PathStep>(PathStep{.parent = data().path, .key = std::string(key)});
  return ConfigNode(std::move(absent));
}

bool ConfigNode::Has(std::string_view key) const {
  return std::ranges::any_of(data().members,
                             [&](const auto& member) { return member.first == key; });
}

Status ConfigNode::CheckKeys(const std::vector<std::string>& known,
                             const std::vector<std::string>& ignored) const {
  if (!is_mapping() && !is_null()) return Expected(*this, "a mapping");
  for (const auto& [key, value] : data().members) {
    if (std::ranges::find(known, key) != known.end()) continue;
    if (std::ranges::find(ignored, key) != ignored.end()) {
      LogWarning("base", Concat("feast key ", Quoted(key), " is not implemented and has no effect"),
                 {{"at", value.location().ToString()}});
      continue;
    }
    std::string hint = DidYouMean(key, known);
    if (hint.empty() && !known.empty()) hint = Concat("known keys: ", Join(known, ", "));
    const std::string path = this->path();
    return MakeError(ErrorKind::kUser,
                     Concat(path, path.empty() ? "" : ": ", "unknown key ", Shown(key)),
                     KeyLocation(value.data()), std::move(hint));
  }
  return Status::OK();
}

Status ConfigNode::ErrorHere(std::string_view message, std::string hint) const {
  const std::string path = this->path();
  return MakeError(ErrorKind::kUser, Concat(path, path.empty() ? "" : ": ", message), location(),
                   std::move(hint));
}

}  // namespace gnomon
