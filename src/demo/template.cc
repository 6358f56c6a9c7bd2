#include "demo/template.h"

#include <algorithm>
#include <filesystem>

#include "base/files.h"
#include "base/text.h"
#include "demo/template_internal.h"

namespace gnomon::demo {

Result<std::vector<std::string>> WriteTemplate(const Context& context, const std::string& name,
                                               const std::string& folder) {
  std::vector<std::string> names;
  std::vector<std::pair<std::string, std::string_view>> files;
  for (const TemplateFile& file : TemplateFiles()) {
    if (std::ranges::find(names, file.repository) == names.end())
      names.emplace_back(file.repository);
    if (file.repository != name) continue;
    files.emplace_back((std::filesystem::path(folder) / file.path).string(), file.text);
  }
  if (files.empty()) {
    return MakeError(ErrorKind::kUser,
                     Concat("unknown template ", Quoted(name), "; there are ", Join(names, ", ")),
                     {}, DidYouMean(name, names));
  }
  for (const auto& [path, text] : files) {
    if (std::filesystem::exists(path)) {
      return MakeError(ErrorKind::kConflict, Concat("file exists already: ", path), {},
                       "choose another folder, or remove it");
    }
  }
  std::vector<std::string> written;
  for (const auto& [path, text] : files) {
    GNOMON_RETURN_NOT_OK(context.Check());
    GNOMON_RETURN_NOT_OK(MakeFolders(std::filesystem::path(path).parent_path().string()));
    GNOMON_RETURN_NOT_OK(WriteFileAtomic(path, text));
    written.push_back(path);
  }
  return written;
}

}  // namespace gnomon::demo
