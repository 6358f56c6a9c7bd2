#include "dataset/function_registry.h"

#include <utility>
#include <vector>

#include "base/text.h"

namespace gnomon::dataset {

Status FunctionRegistry::Register(std::string name, BatchFunction function) {
  if (name.empty()) return Error(ErrorKind::kUser, "a batch function needs a name");
  if (!function.output_schema || !function.apply)
    return Error(ErrorKind::kUser, "a batch function needs a schema and a body: ", Quoted(name));
  const auto [place, added] = functions_.try_emplace(std::move(name), std::move(function));
  if (added) return Status::OK();
  return Error(ErrorKind::kConflict,
               "a batch function of this name exists: ", Quoted(place->first));
}

Result<const BatchFunction*> FunctionRegistry::Find(const std::string& name) const {
  const auto place = functions_.find(name);
  if (place != functions_.end()) return &place->second;
  std::vector<std::string> names;
  for (const auto& [known, function] : functions_) names.push_back(known);
  return MakeError(ErrorKind::kNotFound, Concat("no such batch function: ", Quoted(name)), {},
                   DidYouMean(name, names));
}

}  // namespace gnomon::dataset
