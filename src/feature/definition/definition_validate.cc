#include <map>
#include <set>

#include <arrow/util/utf8.h>

#include "expr/expression.h"
#include "feature/definition/validate_internal.h"

namespace gnomon::feature {

namespace {

constexpr size_t kMaxNameLength = 255;
constexpr std::string_view kReservedTags = "gnomon.";

class Checker {
 public:
  Checker(const Definitions& definitions, const Locator& locate)
      : definitions_(definitions), locate_(locate) {}

  Status Run() {
    GNOMON_RETURN_NOT_OK(CheckAll(kEntityKind, definitions_.entities));
    GNOMON_RETURN_NOT_OK(CheckAll(kSourceKind, definitions_.data_sources));
    GNOMON_RETURN_NOT_OK(CheckAll(kViewKind, definitions_.feature_views));
    GNOMON_RETURN_NOT_OK(CheckAll(kOnDemandKind, definitions_.on_demand_feature_views));
    GNOMON_RETURN_NOT_OK(CheckViewNames());
    GNOMON_RETURN_NOT_OK(CheckCycles());
    for (const OnDemandFeatureView& view : definitions_.on_demand_feature_views) {
      GNOMON_RETURN_NOT_OK(
          Located(kOnDemandKind, view.name, OnDemandOrder(definitions_, {view.name}).status()));
    }
    for (const OnDemandFeatureView& view : definitions_.on_demand_feature_views) {
      GNOMON_RETURN_NOT_OK(
          Located(kOnDemandKind, view.name, CheckOnDemandView(definitions_, view)));
    }
    return CheckAll(kServiceKind, definitions_.feature_services);
  }

 private:
  // Errors keep a place that they have already.
  Status Located(std::string_view kind, std::string_view name, const Status& status) const {
    if (status.ok() || !locate_ || !LocationOf(status).file.empty()) return status;
    return WithLocation(status, locate_(kind, name));
  }

  template <typename Object>
  Status CheckAll(std::string_view kind, const std::vector<Object>& objects) const {
    std::set<std::string> names;
    for (const Object& object : objects) {
      Status status = CheckCommon(kind, object);
      if (status.ok() && !names.insert(object.name).second) {
        status = ObjectError(kind, object.name, "the name stands twice");
      }
      if (status.ok()) status = Check(object);
      GNOMON_RETURN_NOT_OK(Located(kind, object.name, status));
    }
    return Status::OK();
  }

  template <typename Object>
  Status CheckCommon(std::string_view kind, const Object& object) const {
    const std::string_view forbidden = kind == kSourceKind ? "" : kNotInObjectNames;
    if (std::string problem = NameProblem(object.name, forbidden); !problem.empty()) {
      return ObjectError(kind, object.name, problem);
    }
    if (!IsUtf8(object.description) || !IsUtf8(object.owner)) {
      return ObjectError(kind, object.name, "description or owner is not valid UTF-8");
    }
    return CheckTags(kind, object.name, object.tags);
  }

  Status Check(const Entity& entity) const { return CheckEntity(entity); }
  Status Check(const DataSource& source) const { return CheckDataSource(source); }
  Status Check(const FeatureView& view) const { return CheckFeatureView(definitions_, view); }
  Status Check(const OnDemandFeatureView& view) const { return CheckOnDemandShape(view); }
  Status Check(const FeatureService& service) const {
    return CheckFeatureService(definitions_, service);
  }

  // Views of both kinds share one name space; online tables are named after them, and SQL ignores
  // case.
  Status CheckViewNames() const {
    std::map<std::string, std::string> lower_names;
    const auto check = [&](std::string_view kind, const std::string& name) {
      const auto [place, added] = lower_names.emplace(ToLower(name), name);
      if (added) return Status::OK();
      return Located(
          kind, name,
          ObjectError(kind, name,
                      place->second == name ? std::string("another view has this name")
                                            : Concat("the name differs from that of view ",
                                                     Quoted(place->second), " only in case")));
    };
    for (const FeatureView& view : definitions_.feature_views) {
      GNOMON_RETURN_NOT_OK(check(kViewKind, view.name));
    }
    for (const OnDemandFeatureView& view : definitions_.on_demand_feature_views) {
      GNOMON_RETURN_NOT_OK(check(kOnDemandKind, view.name));
    }
    return Status::OK();
  }

  Status CheckCycles() const {
    for (const FeatureView& view : definitions_.feature_views) {
      if (!view.is_derived()) continue;
      const auto order = OrderByParents(kViewKind, {view.name}, [&](const std::string& name) {
        return &definitions_.FindFeatureView(name)->source_views;
      });
      GNOMON_RETURN_NOT_OK(Located(kViewKind, view.name, order.status()));
    }
    return Status::OK();
  }

  const Definitions& definitions_;
  const Locator& locate_;
};

}  // namespace

bool IsUtf8(std::string_view text) {
  arrow::util::InitializeUTF8();
  return arrow::util::ValidateUTF8(text);
}

std::string NameProblem(std::string_view name, std::string_view forbidden) {
  if (name.empty()) return "the name is empty";
  if (name.size() > kMaxNameLength)
    return Concat("the name is longer than ", kMaxNameLength, " bytes");
  if (!IsUtf8(name)) return "the name is not valid UTF-8";
  if (Trim(name).size() != name.size()) return "the name begins or ends with white space";
  for (const char c : name) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) return "the name holds a control character";
    if (forbidden.find(c) != std::string_view::npos) {
      return Concat("the name holds ", Quoted(std::string_view(&c, 1)));
    }
  }
  return {};
}

Status CheckTags(std::string_view kind, const std::string& name, const Tags& tags) {
  for (const auto& [key, value] : tags) {
    if (key.starts_with(kReservedTags)) {
      return ObjectError(kind, name,
                         Concat("tags that begin with 'gnomon.' are reserved: ", Quoted(key)));
    }
    if (!IsUtf8(key) || !IsUtf8(value)) return ObjectError(kind, name, "a tag is not valid UTF-8");
  }
  return Status::OK();
}

Status CheckFields(std::string_view kind, const std::string& owner, std::string_view what,
                   const std::vector<Field>& fields) {
  std::set<std::string> names;
  for (const Field& field : fields) {
    if (std::string problem = NameProblem(field.name, ":,"); !problem.empty()) {
      return ObjectError(kind, owner, Concat(what, " ", Quoted(field.name), ": ", problem));
    }
    if (!names.insert(field.name).second) {
      return ObjectError(kind, owner, Concat(what, " ", Quoted(field.name), " stands twice"));
    }
    if (!IsUtf8(field.description)) {
      return ObjectError(kind, owner,
                         Concat(what, " ", Quoted(field.name), ": description is not valid UTF-8"));
    }
    GNOMON_RETURN_NOT_OK(CheckTags(kind, owner, field.tags));
  }
  return Status::OK();
}

Status CheckExpression(std::string_view kind, const std::string& owner, std::string_view what,
                       std::string_view text) {
  if (!IsUtf8(text)) return ObjectError(kind, owner, Concat(what, " is not valid UTF-8"));
  const Status status = expr::Expression::Parse(text).status();
  return WithContext(status, Concat(kind, " ", Quoted(owner), ": ", what));
}

Status CheckDefinitions(const Definitions& definitions, const Locator& locate) {
  return Checker(definitions, locate).Run();
}

Status Validate(const Definitions& definitions) { return CheckDefinitions(definitions, {}); }

}  // namespace gnomon::feature
