#pragma once

#include <string>

#include "base/error.h"
#include "model/model.h"

/// A model's folder, staged and then published by one rename. docs/formats/model.md is normative.
namespace gnomon::model {

/// A written folder under a hidden name, removed at the end of the scope unless it was published.
class StagedModel {
 public:
  /// Stages inside `parent`, which is made when it is missing.
  static Result<StagedModel> Write(const Model& model, const std::string& parent);
  StagedModel(StagedModel&& other) noexcept;
  StagedModel& operator=(StagedModel&&) = delete;
  ~StagedModel();

  /// Renames to `folder`, which must lie on the same file system. kConflict when it exists; may
  /// then be tried again with another folder.
  Status Publish(const std::string& folder);

 private:
  explicit StagedModel(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

}  // namespace gnomon::model
