#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <exception>
#include <istream>
#include <streambuf>
#include <unordered_map>
#include <unordered_set>

#include <arrow/util/utf8.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include "base/config_internal.h"
#include "base/files.h"

// From YAML text to the tree of a ConfigNode.
namespace gnomon {

namespace {

constexpr size_t kMaxDepth = 100;
constexpr size_t kMaxExpandedNodes = 100'000;
constexpr int64_t kMaxFileBytes = int64_t{64} << 20;

using Data = ConfigNode::Data;
using Type = ConfigNode::Type;

// Carries an error through yaml-cpp to ParseConfig.
struct ParseFailure {
  Status status;
};

Location LocationAt(const std::string& file, const YAML::Mark& mark) {
  return {.file = file, .line = mark.line + 1, .column = mark.column + 1};
}

bool IsNameLetter(char letter) {
  return (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z') ||
         (letter >= '0' && letter <= '9') || letter == '_';
}

bool IsVariableName(std::string_view name) {
  return !name.empty() && std::ranges::all_of(name, IsNameLetter) &&
         !(name.front() >= '0' && name.front() <= '9');
}

// Expands ${VAR}, $VAR and $$.
Result<std::string> ExpandVariables(std::string_view text, const Environment& environment) {
  std::string out;
  while (!text.empty()) {
    const size_t dollar = text.find('$');
    out.append(text.substr(0, dollar));
    if (dollar == std::string_view::npos) break;
    text.remove_prefix(dollar + 1);
    if (text.starts_with('$')) {
      out.push_back('$');
      text.remove_prefix(1);
    } else if (text.starts_with('{')) {
      const size_t end = text.find('}');
      const std::string_view name = text.substr(1, end == std::string_view::npos ? 0 : end - 1);
      if (!IsVariableName(name)) {
        return MakeError(ErrorKind::kUser, "expected the name of an environment variable in ${}",
                         {}, "a dollar sign is written $$");
      }
      const auto value = environment(std::string(name));
      if (!value) {
        return MakeError(ErrorKind::kUser, Concat("environment variable is not set: ", name), {},
                         "a dollar sign is written $$");
      }
      out.append(*value);
      text.remove_prefix(end + 1);
    } else {
      const auto name_end = std::ranges::find_if_not(text, IsNameLetter);
      const std::string_view name(text.begin(), name_end);
      const auto value = IsVariableName(name) ? environment(std::string(name)) : std::nullopt;
      out.append(value ? *value : Concat('$', name));
      text.remove_prefix(name.size());
    }
  }
  return out;
}

// Builds the tree from yaml-cpp's events: its own YAML::Node would keep neither a second key of the
// same name nor the size of what an alias stands for. Throws ParseFailure.
class TreeBuilder : public YAML::EventHandler {
 public:
  TreeBuilder(const std::string& file, const Environment& environment)
      : file_(std::make_shared<const std::string>(file)), environment_(environment) {}

  std::shared_ptr<const Data> root() const { return root_; }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    if (AtKey()) Fail(mark, "a key must be text");
    Keep(anchor, Add(NewData(Type::kNull, mark)));
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto found = anchors_.find(anchor);
    if (found == anchors_.end()) Fail(mark, "an alias cannot stand inside its own anchor");
    const Data& original = *found->second;
    if (AtKey()) {
      if (original.type != Type::kScalar) Fail(mark, "a key must be text");
      SetKey(mark, original.text);
      return;
    }
    num_expanded_ += original.num_nodes;
    if (num_expanded_ > kMaxExpandedNodes) {
      Fail(mark, Concat("aliases stand for too many values, more than ", kMaxExpandedNodes));
    }
    if (stack_.size() + original.height > kMaxDepth) FailDepth(mark);
    auto copy = Copy(original, NextStep());
    PlaceKey(copy.get());
    Add(std::move(copy));
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    CheckTag(mark, tag);
    if (AtKey()) {
      SetKey(mark, value);
      if (anchor != YAML::NullAnchor) {
        auto key = NewData(Type::kScalar, mark);
        key->text = value;
        Keep(anchor, std::move(key));
      }
      return;
    }
    auto data = NewData(Type::kScalar, mark);
    auto expanded = ExpandVariables(value, environment_);
    if (!expanded.ok()) {
      throw ParseFailure{
          WithLocation(InContext(expanded.status(), *data), LocationAt(*file_, mark))};
    }
    data->text = *std::move(expanded);
    if (data->text != value) data->unexpanded = value;
    Keep(anchor, Add(std::move(data)));
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    Begin(Type::kSequence, mark, tag, anchor);
  }
  void OnSequenceEnd() override { End(); }

  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    Begin(Type::kMapping, mark, tag, anchor);
  }
  void OnMapEnd() override { End(); }

 private:
  // A sequence or mapping whose end has not come yet.
  struct Open {
    std::shared_ptr<Data> data;
    YAML::anchor_t anchor;
    std::optional<std::string> key;  // whose value comes next
    YAML::Mark key_mark;
    std::unordered_set<std::string> keys;
  };

  [[noreturn]] void Fail(const YAML::Mark& mark, std::string message) const {
    throw ParseFailure{MakeError(ErrorKind::kUser, std::move(message), LocationAt(*file_, mark))};
  }

  [[noreturn]] void FailDepth(const YAML::Mark& mark) const {
    Fail(mark, Concat("nested too deep, more than ", kMaxDepth, " levels"));
  }

  static Status InContext(const Status& status, const Data& data) {
    const std::string path = PathText(data.path.get());
    return path.empty() ? status : WithContext(status, path);
  }

  void CheckTag(const YAML::Mark& mark, std::string_view tag) const {
    constexpr std::string_view kCore = "tag:yaml.org,2002:";
    if (tag.empty() || tag == "?" || tag == "!") return;
    if (tag.starts_with(kCore)) {
      const std::string_view name = tag.substr(kCore.size());
      for (const std::string_view known : {"str", "int", "float", "bool", "null", "seq", "map"}) {
        if (name == known) return;
      }
    }
    Fail(mark, Concat("tags are not supported: ", Shown(tag)));
  }

  bool AtKey() const {
    return !stack_.empty() && stack_.back().data->type == Type::kMapping && !stack_.back().key;
  }

  void SetKey(const YAML::Mark& mark, const std::string& key) {
    Open& open = stack_.back();
    if (!open.keys.insert(key).second) {
      const std::string path = PathText(open.data->path.get());
      Fail(mark, Concat(path, path.empty() ? "" : ": ", "the key stands twice: ", Shown(key)));
    }
    open.key = key;
    open.key_mark = mark;
  }

  // Tells `data` where the key stands whose value it is.
  void PlaceKey(Data* data) const {
    if (stack_.empty() || !stack_.back().key) return;
    data->key_line = stack_.back().key_mark.line + 1;
    data->key_column = stack_.back().key_mark.column + 1;
  }

  // The step to the value that comes next.
  std::shared_ptr<const PathStep> NextStep() const {
    if (stack_.empty()) return nullptr;
    const Open& open = stack_.back();
    PathStep step{.parent = open.data->path};
    if (open.data->type == Type::kSequence) {
      step.index = static_cast<int64_t>(open.data->elements.size());
    } else if (open.key) {
      step.key = *open.key;
    }
    return std::make_shared<const PathStep>(std::move(step));
  }

  std::shared_ptr<Data> NewData(Type type, const YAML::Mark& mark) const {
    auto data = std::make_shared<Data>();
    data->type = type;
    data->file = file_;
    data->line = mark.line + 1;
    data->column = mark.column + 1;
    data->path = NextStep();
    PlaceKey(data.get());
    return data;
  }

  static void AddBelow(Data* parent, const Data& child) {
    parent->num_nodes += child.num_nodes;
    parent->height = std::max(parent->height, child.height + 1);
  }

  std::shared_ptr<const Data> Add(std::shared_ptr<const Data> data) {
    if (stack_.empty()) {
      root_ = data;
      return data;
    }
    Open& open = stack_.back();
    AddBelow(open.data.get(), *data);
    if (open.data->type == Type::kSequence) {
      open.data->elements.emplace_back(data);
    } else {
      open.data->members.emplace_back(*std::exchange(open.key, std::nullopt), ConfigNode(data));
    }
    return data;
  }

  void Keep(YAML::anchor_t anchor, std::shared_ptr<const Data> data) {
    if (anchor != YAML::NullAnchor) anchors_[anchor] = std::move(data);
  }

  void Begin(Type type, const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    CheckTag(mark, tag);
    if (AtKey()) Fail(mark, "a key must be text");
    if (stack_.size() >= kMaxDepth) FailDepth(mark);
    stack_.push_back(
        {.data = NewData(type, mark), .anchor = anchor, .key = {}, .key_mark = {}, .keys = {}});
  }

  void End() {
    Open open = std::move(stack_.back());
    stack_.pop_back();
    Keep(open.anchor, Add(std::move(open.data)));
  }

  // A copy that stands at another place of the tree. Recursion is bounded by kMaxDepth.
  static std::shared_ptr<Data> Copy(const Data& original, std::shared_ptr<const PathStep> path) {
    auto data = std::make_shared<Data>(original);
    data->path = std::move(path);
    for (size_t i = 0; i < data->elements.size(); ++i) {
      PathStep step{.parent = data->path, .key = {}, .index = static_cast<int64_t>(i)};
      data->elements[i] = CopyNode(data->elements[i], std::move(step));
    }
    for (auto& [key, value] : data->members) {
      value = CopyNode(value, PathStep{.parent = data->path, .key = key});
    }
    return data;
  }

  static ConfigNode CopyNode(const ConfigNode& node, PathStep step) {
    return ConfigNode(Copy(node.data(), std::make_shared<const PathStep>(std::move(step))));
  }

  const std::shared_ptr<const std::string> file_;
  const Environment& environment_;
  std::vector<Open> stack_;
  std::unordered_map<YAML::anchor_t, std::shared_ptr<const Data>> anchors_;
  size_t num_expanded_ = 0;
  std::shared_ptr<const Data> root_;
};

// yaml-cpp takes the byte 0x04 for the end of the input and guesses UTF-16 from zeros: only what
// YAML allows gets there.
Status CheckLetters(std::string_view yaml, const std::string& file) {
  int line = 1;
  for (const char letter : yaml) {
    if (letter == '\n') ++line;
    const auto byte = static_cast<unsigned char>(letter);
    if ((byte < 0x20 && letter != '\t' && letter != '\n' && letter != '\r') || byte == 0x7f) {
      return MakeError(ErrorKind::kUser, Concat("invalid YAML: control character ", int{byte}),
                       {.file = file, .line = line});
    }
  }
  arrow::util::InitializeUTF8();
  if (!arrow::util::ValidateUTF8(yaml)) {
    return MakeError(ErrorKind::kUser, "invalid YAML: the text is not UTF-8", {.file = file});
  }
  return Status::OK();
}

// Reads from a string_view without a copy.
class ViewBuffer : public std::streambuf {
 public:
  explicit ViewBuffer(std::string_view view) {
    // setg takes no const pointers; a get area is never written to without pbackfail.
    char* begin = const_cast<char*>(view.data());
    setg(begin, begin, begin + view.size());
  }
};

Status FromYamlException(const YAML::Exception& exception, const std::string& file) {
  Location location{.file = file};
  if (!exception.mark.is_null()) location = LocationAt(file, exception.mark);
  return MakeError(ErrorKind::kUser, Concat("invalid YAML: ", exception.msg), std::move(location));
}

}  // namespace

Result<ConfigNode> ParseConfig(std::string_view yaml, const std::string& file,
                               const Environment& environment) {
  GNOMON_RETURN_NOT_OK(CheckLetters(yaml, file));
  TreeBuilder builder(file, environment);
  try {
    ViewBuffer buffer(yaml);
    std::istream in(&buffer);
    YAML::Parser parser(in);
    if (!parser.HandleNextDocument(builder) || builder.root() == nullptr) {
      auto nothing = std::make_shared<Data>();
      nothing->file = std::make_shared<const std::string>(file);
      return ConfigNode(std::move(nothing));
    }
    TreeBuilder second(file, environment);
    const auto root = builder.root();
    if (parser.HandleNextDocument(second)) {
      return MakeError(ErrorKind::kUser, "expected one YAML document, got more", {.file = file});
    }
    return ConfigNode(root);
  } catch (const ParseFailure& failure) {
    return failure.status;
  } catch (const YAML::Exception& exception) {
    return FromYamlException(exception, file);
  } catch (const std::exception& exception) {
    return MakeError(ErrorKind::kUser, Concat("invalid YAML: ", exception.what()), {.file = file});
  }
}

Result<ConfigNode> ParseConfig(std::string_view yaml, const std::string& file) {
  return ParseConfig(yaml, file, [](const std::string& name) -> std::optional<std::string> {
    const char* value = std::getenv(name.c_str());
    if (value == nullptr) return std::nullopt;
    return value;
  });
}

Result<ConfigNode> LoadConfigFile(const std::string& path) {
  GNOMON_ASSIGN_OR_RETURN(const std::string yaml, ReadFile(path, kMaxFileBytes));
  return ParseConfig(yaml, path);
}

}  // namespace gnomon
