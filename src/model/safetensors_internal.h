#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

/// The safetensors format (github.com/huggingface/safetensors), the part that our models use:
///
///   u64 little-endian   length n of the header
///   n bytes             JSON: {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
///   ...,
///                       "__metadata__": {...}}, padded with spaces to a multiple of 8
///   the rest            values, little-endian, row-major; offsets count from here and cover every
///   byte once
namespace gnomon::model {

struct Tensor {
  std::vector<int64_t> shape;
  std::vector<float> values;
};

/// Values lie in the order of the names.
std::string FormatSafetensors(const std::map<std::string, Tensor>& tensors);

/// Never reads outside `bytes`. kDataLoss for anything that breaks the format; kUnsupported for
/// another dtype.
Result<std::map<std::string, Tensor>> ParseSafetensors(std::string_view bytes);

}  // namespace gnomon::model
