#pragma once

#include <string_view>
#include <vector>

namespace gnomon::demo {

struct TemplateFile {
  std::string_view repository;  ///< minimal, sales, flights
  std::string_view path;        ///< below the repository's folder
  std::string_view text;
};

/// All files of src/demo/templates.
const std::vector<TemplateFile>& TemplateFiles();

}  // namespace gnomon::demo
