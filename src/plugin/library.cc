#include "plugin/library.h"

#include <algorithm>
#include <cstddef>
#include <dlfcn.h>
#include <filesystem>
#include <map>
#include <optional>
#include <system_error>

#include <arrow/type.h>

#include "base/files.h"
#include "base/ids.h"
#include "base/text.h"
#include "base/version.h"
#include "plugin/type_internal.h"

namespace gnomon::plugin {
namespace {

using Register = int32_t (*)(const GnomonHost*, GnomonPlugin*);

constexpr int kMajorVersion = 1;
constexpr int kNewestProbed = 9;
constexpr int64_t kMostEntries = 100'000;  ///< of a table: more is garbage

Result<std::string> Sha256OfFile(const std::string& path) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) {
    return Error(ErrorKind::kNotFound, "plug-in library does not exist: ", path);
  }
  if (std::filesystem::is_directory(path, ignored)) {
    return Error(ErrorKind::kUser, "a plug-in library is a file, not a folder: ", path);
  }
  auto bytes = ReadFile(path);
  if (!bytes.ok()) return WithContext(bytes.status(), "plug-in library");
  return Sha256Hex(*bytes);
}

Result<void*> OpenLibrary(const std::string& path) {
  // Without a slash dlopen would look in the system's folders.
  const std::string place = std::filesystem::absolute(path).string();
  void* const handle = ::dlopen(place.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (handle != nullptr) return handle;
  const char* const reason = ::dlerror();
  return MakeError(
      ErrorKind::kUser,
      Concat("cannot load plug-in library ", path, ": ", reason == nullptr ? "unknown" : reason),
      {}, "a plug-in is a shared library for this machine: docs/guide/plugins.md");
}

Result<Register> FindEntry(void* handle, const std::string& path) {
  if (void* const found = ::dlsym(handle, GNOMON_PLUGIN_SYMBOL)) {
    return reinterpret_cast<Register>(found);
  }
  for (int version = kMajorVersion + 1; version <= kNewestProbed; ++version) {
    if (::dlsym(handle, Concat("gnomon_plugin_v", version).c_str()) == nullptr) continue;
    return MakeError(
        ErrorKind::kUnsupported,
        Concat("plug-in library ", path, " is made for a newer Gnomon: it has version ", version,
               " of the plug-in interface, this build ", kMajorVersion),
        {}, "build it with the plugin/sdk.h of this Gnomon");
  }
  return MakeError(
      ErrorKind::kUser,
      Concat("not a plug-in library: ", path, " does not export ", GNOMON_PLUGIN_SYMBOL), {},
      "write GNOMON_PLUGIN(\"name\", \"version\") { ... }: docs/guide/plugins.md");
}

std::string TextOrEmpty(const char* text) { return text == nullptr ? std::string() : text; }

bool IsName(std::string_view name) {
  const auto is_letter = [](char c) { return c >= 'a' && c <= 'z'; };
  return !name.empty() && name.size() <= 100 && is_letter(name[0]) &&
         std::ranges::all_of(
             name, [&](char c) { return is_letter(c) || (c >= '0' && c <= '9') || c == '_'; });
}

template <typename Table>
bool IsWhole(const Table* table) {
  return table != nullptr && table->size >= sizeof(Table);
}

}  // namespace

Result<std::shared_ptr<const Library>> Library::Load(const std::string& path) {
  GNOMON_ASSIGN_OR_RETURN(std::string id, Sha256OfFile(path));
  GNOMON_ASSIGN_OR_RETURN(void* const handle, OpenLibrary(path));
  GNOMON_ASSIGN_OR_RETURN(const Register entry, FindEntry(handle, path));
  const std::string build = Concat("gnomon ", kVersion);
  const GnomonHost host = {
      .size = sizeof(GnomonHost), .abi_minor = GNOMON_PLUGIN_ABI_MINOR, .build = build.c_str()};
  GnomonPlugin plugin = {};
  plugin.size = sizeof(plugin);
  plugin.error.row = -1;
  if (entry(&host, &plugin) != 0) {
    return WithContext(StatusOf(plugin.error), Concat("plug-in library ", path, " failed to load"));
  }
  if (plugin.abi_minor > GNOMON_PLUGIN_ABI_MINOR) {
    return MakeError(
        ErrorKind::kUnsupported,
        Concat("plug-in library ", path, " is made for a newer Gnomon: it needs version ",
               kMajorVersion, ".", plugin.abi_minor, " of the plug-in interface, this build has ",
               kMajorVersion, ".", GNOMON_PLUGIN_ABI_MINOR),
        {}, "build it with the plugin/sdk.h of this Gnomon");
  }
  std::shared_ptr<Library> library(new Library);
  library->path_ = path;
  library->id_ = std::move(id);
  GNOMON_RETURN_NOT_OK(library->Read(plugin));
  return library;
}

Status Library::Refuse(std::string_view what, std::string_view name, std::string_view why) const {
  return Error(ErrorKind::kUser, "plug-in library ", path_, ": ", what, " ", Quoted(name), ": ",
               why);
}

Status Library::Read(const GnomonPlugin& plugin) {
  name_ = TextOrEmpty(plugin.name);
  version_ = TextOrEmpty(plugin.version);
  if (name_.empty()) name_ = std::filesystem::path(path_).stem().string();
  const auto is_count = [](int64_t count, const void* table) {
    return count >= 0 && count <= kMostEntries && (count == 0 || table != nullptr);
  };
  if (!is_count(plugin.num_functions, plugin.functions) ||
      !is_count(plugin.num_aggregates, plugin.aggregates)) {
    return Error(ErrorKind::kUser, "plug-in library ", path_, " gives no valid tables");
  }
  for (const GnomonFunction* table :
       std::span(plugin.functions, static_cast<size_t>(plugin.num_functions))) {
    GNOMON_RETURN_NOT_OK(AddFunction(table));
  }
  for (const GnomonAggregate* table :
       std::span(plugin.aggregates, static_cast<size_t>(plugin.num_aggregates))) {
    GNOMON_RETURN_NOT_OK(AddAggregate(table));
  }
  return Status::OK();
}

Status Library::AddFunction(const GnomonFunction* table) {
  constexpr std::string_view kWhat = "function";
  if (!IsWhole(table)) return Refuse(kWhat, "?", "its table is cut off");
  Function function;
  function.table_ = table;
  function.library_ = path_;
  function.name_ = TextOrEmpty(table->name);
  function.doc_ = TextOrEmpty(table->doc);
  if (!IsName(function.name_)) {
    return Refuse(kWhat, function.name_, "a name has lower-case letters, digits and '_'");
  }
  if (table->call == nullptr) return Refuse(kWhat, function.name_, "it has no code");
  if (table->parameters == nullptr || table->num_parameters < 1 || table->num_parameters > 100) {
    return Refuse(kWhat, function.name_, "it takes from 1 to 100 arguments");
  }
  for (const char* format :
       std::span(table->parameters, static_cast<size_t>(table->num_parameters))) {
    auto type = TypeOfFormat(format);
    if (type == nullptr) {
      return Refuse(kWhat, function.name_, Concat("unknown type: ", TextOrEmpty(format)));
    }
    function.parameters_.push_back(std::move(type));
  }
  function.result_ = TypeOfFormat(table->result);
  if (function.result_ == nullptr) {
    return Refuse(kWhat, function.name_, Concat("unknown type: ", TextOrEmpty(table->result)));
  }
  for (const Function& other : functions_) {
    if (SameOverload(other, function)) {
      return Refuse(kWhat, function.name_, "it stands twice with the same arguments");
    }
  }
  functions_.push_back(std::move(function));
  return Status::OK();
}

Status Library::AddAggregate(const GnomonAggregate* table) {
  constexpr std::string_view kWhat = "aggregate";
  if (!IsWhole(table)) return Refuse(kWhat, "?", "its table is cut off");
  Aggregate aggregate;
  aggregate.table_ = table;
  aggregate.library_ = path_;
  aggregate.name_ = TextOrEmpty(table->name);
  aggregate.doc_ = TextOrEmpty(table->doc);
  if (!IsName(aggregate.name_)) {
    return Refuse(kWhat, aggregate.name_, "a name has lower-case letters, digits and '_'");
  }
  if (table->init == nullptr || table->accumulate == nullptr || table->merge == nullptr ||
      table->finish == nullptr || table->destroy == nullptr) {
    return Refuse(kWhat, aggregate.name_, "some of its code is missing");
  }
  const uint64_t align = table->state_align;
  if (align == 0 || align > 64 || (align & (align - 1)) != 0 || table->state_size == 0 ||
      table->state_size > (uint64_t{1} << 30)) {
    return Refuse(kWhat, aggregate.name_, "its state has no possible size and alignment");
  }
  aggregate.input_ = AggregateTypeOfFormat(table->input);
  aggregate.result_ = AggregateTypeOfFormat(table->result);
  if (aggregate.input_ == nullptr || aggregate.result_ == nullptr) {
    return Refuse(kWhat, aggregate.name_,
                  Concat("an aggregate takes and gives bool, int64, float64 or string, not ",
                         TextOrEmpty(aggregate.input_ == nullptr ? table->input : table->result)));
  }
  if (std::ranges::find(aggregates_, aggregate.name_, &Aggregate::name_) != aggregates_.end()) {
    return Refuse(kWhat, aggregate.name_, "it stands twice");
  }
  aggregates_.push_back(std::move(aggregate));
  return Status::OK();
}

Result<std::vector<std::shared_ptr<const Library>>> LoadLibraries(
    std::span<const std::string> paths) {
  std::vector<std::shared_ptr<const Library>> libraries;
  std::map<std::string, std::string> owners;
  const auto claim = [&](const Library& library, const std::string& key,
                         const std::string& shown) -> Status {
    const auto [place, added] = owners.emplace(key, library.path());
    if (added) return Status::OK();
    return Error(ErrorKind::kConflict, "two plug-in libraries offer ", shown, ": ", place->second,
                 " and ", library.path());
  };
  for (const std::string& path : paths) {
    GNOMON_ASSIGN_OR_RETURN(auto library, Library::Load(path));
    if (std::ranges::any_of(libraries,
                            [&](const auto& other) { return other->id() == library->id(); })) {
      continue;
    }
    for (const Function& function : library->functions()) {
      std::string key = Concat("function ", function.name());
      for (const auto& parameter : function.parameters()) key += Concat(" ", parameter->ToString());
      GNOMON_RETURN_NOT_OK(claim(*library, key, function.Signature()));
    }
    for (const Aggregate& aggregate : library->aggregates()) {
      GNOMON_RETURN_NOT_OK(claim(*library, Concat("aggregate ", aggregate.name()),
                                 Concat("the aggregate ", aggregate.name())));
    }
    libraries.push_back(std::move(library));
  }
  return libraries;
}

}  // namespace gnomon::plugin
