#include "table/data_version.h"

#include "base/ids.h"
#include "table/file.h"
#include "table/file_system_internal.h"

namespace gnomon::table {

Result<std::string> DataVersion(const std::string& path) {
  GNOMON_ASSIGN_OR_RETURN(const auto files, ListDataFiles(path));
  std::string text;
  for (const std::string& file : files) {
    GNOMON_ASSIGN_OR_RETURN(const auto version, internal::FileVersion::Of(file));
    text += Concat(file, "\n", version.device, " ", version.inode, " ", version.size, " ",
                   version.modified, " ", version.etag, "\n");
  }
  return Sha256Hex(text);
}

}  // namespace gnomon::table
