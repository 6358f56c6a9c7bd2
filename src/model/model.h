#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/context.h"
#include "base/error.h"
#include "model/mlp.h"
#include "model/preprocessor.h"

namespace gnomon::model {

/// Where a model's inputs come from: what a server must look up.
struct ModelSource {
  std::string project;
  std::string feature_service;
  std::string feature_service_fingerprint;  ///< of the service's definition when it was trained
  std::string label;                        ///< the column that was learned
  std::string data_fingerprint;             ///< of the training table
  std::string run_id;                       ///< the run that made it, may be empty
  /// Serve an instance of which some view has no row, with nulls as in training; otherwise that is
  /// an error which names the key.
  bool allow_missing_entities = false;
};

/// The scaling of the target: predictions are value * scale + mean (regression only).
struct TargetScale {
  double mean = 0;
  double scale = 1;
};

/// May `name` be the name of a model, and so of a folder and a part of a URL? Letters, digits, '_',
/// '-', '.', not first a
/// '.', 1 to 128 bytes. kUser otherwise.
Status CheckModelName(const std::string& name);

/// A fitted preprocessor and a network in one folder:
///   model.json           format, spec, source, target, preprocessor
///   weights.safetensors  layer.<i>.weight [outputs, inputs] and layer.<i>.bias [outputs], float32
/// docs/formats/model.md has the example. Immutable, thread-safe.
class Model {
 public:
  static Result<Model> Make(std::string name, ModelSource source, Preprocessor preprocessor,
                            Mlp mlp, TargetScale target);
  /// kNotFound, kDataLoss (truncated, wrong magic, shapes), kUnsupported (a newer format version,
  /// named).
  static Result<Model> Load(const std::string& folder);
  /// Writes a new folder (it must not exist): all files or none.
  Status Save(const std::string& folder) const;

  const std::string& name() const { return name_; }
  const ModelSource& source() const { return source_; }
  const Preprocessor& preprocessor() const { return preprocessor_; }
  const Mlp& mlp() const { return mlp_; }
  const TargetScale& target() const { return target_; }

  /// One value per row: the label's estimate, or a probability for classification. Does not depend
  /// on how rows are batched.
  Result<std::vector<double>> Predict(const Context& context,
                                      const arrow::RecordBatch& features) const;

 private:
  Model(std::string name, ModelSource source, Preprocessor preprocessor, Mlp mlp,
        TargetScale target);
  std::string name_;
  ModelSource source_;
  Preprocessor preprocessor_;
  Mlp mlp_;
  TargetScale target_;
};

/// The model repository: <folder>/<name>/<version>/ with versions 1, 2, 3, ...; the greatest is
/// served.
class ModelRepository {
 public:
  explicit ModelRepository(std::string folder) : folder_(std::move(folder)) {}
  const std::string& folder() const { return folder_; }
  /// Saves as the next version and returns it. Safe against another process doing the same.
  Result<int64_t> Add(const Model& model) const;
  /// Names, sorted. A folder that does not exist is empty.
  Result<std::vector<std::string>> List() const;
  Result<std::vector<int64_t>> Versions(const std::string& name) const;
  /// version 0: the latest. kNotFound names the nearest model.
  Result<Model> Load(const std::string& name, int64_t version = 0) const;

 private:
  std::string folder_;
};

}  // namespace gnomon::model
