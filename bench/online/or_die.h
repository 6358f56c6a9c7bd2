#pragma once

#include <cstdio>
#include <cstdlib>
#include <utility>

#include "base/error.h"

/// For benchmarks: an error is printed and ends the program.
namespace gnomon::bench {

inline void OrDie(const Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", FormatError(status).c_str());
  std::exit(1);
}

template <typename T>
T OrDie(Result<T> result) {
  OrDie(result.status());
  return *std::move(result);
}

}  // namespace gnomon::bench
