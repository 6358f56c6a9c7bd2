#pragma once

#include <string>
#include <vector>

#include "base/context.h"
#include "base/error.h"

/// `gnomon doctor`: whether everything that a repository names can be reached and used.
namespace gnomon::feature {

struct Diagnosis {
  std::string check;  ///< "online store"
  bool ok = false;
  std::string message;  ///< what was found, or the error; never a password
  std::string remedy;   ///< of a failure
};

/// Tries what feature_store.yaml of the folder (or `yaml_path`) names, one after the other; a
/// failure does not end it. Changes nothing that users see. Each endpoint gets at most ten seconds.
std::vector<Diagnosis> DiagnoseRepository(const Context& context, const std::string& folder,
                                          const std::string& yaml_path = "");

}  // namespace gnomon::feature
