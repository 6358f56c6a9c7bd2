#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace gnomon::runtime {

/// What a task takes, or a node has.
struct Resources {
  double cpus = 0;
  double gpus = 0;
  int64_t memory_bytes = 0;
  std::map<std::string, double> custom = {};  ///< by name, as in Ray

  bool operator==(const Resources&) const = default;

  /// True when this fits into `available`. Shares of CPUs are compared with a tolerance of 1e-9.
  bool FitsInto(const Resources& available) const;
  void Add(const Resources& other);
  void Subtract(const Resources& other);
  /// "2 CPUs, 1 GPU, 1.5 GiB memory, 3 license"; "nothing".
  std::string ToString() const;
};

}  // namespace gnomon::runtime
