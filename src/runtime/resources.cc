#include "runtime/resources.h"

#include <algorithm>
#include <vector>

#include "base/memory.h"
#include "base/text.h"

namespace gnomon::runtime {

namespace {

constexpr double kTolerance = 1e-9;

}  // namespace

bool Resources::FitsInto(const Resources& available) const {
  if (cpus > available.cpus + kTolerance || gpus > available.gpus + kTolerance ||
      memory_bytes > available.memory_bytes) {
    return false;
  }
  return std::ranges::all_of(custom, [&](const auto& wanted) {
    const auto found = available.custom.find(wanted.first);
    const double left = found == available.custom.end() ? 0 : found->second;
    return wanted.second <= left + kTolerance;
  });
}

void Resources::Add(const Resources& other) {
  cpus += other.cpus;
  gpus += other.gpus;
  memory_bytes += other.memory_bytes;
  for (const auto& [name, amount] : other.custom) custom[name] += amount;
}

void Resources::Subtract(const Resources& other) {
  cpus -= other.cpus;
  gpus -= other.gpus;
  memory_bytes -= other.memory_bytes;
  for (const auto& [name, amount] : other.custom) custom[name] -= amount;
}

std::string Resources::ToString() const {
  std::vector<std::string> parts;
  if (cpus != 0) parts.push_back(Concat(cpus, cpus == 1 ? " CPU" : " CPUs"));
  if (gpus != 0) parts.push_back(Concat(gpus, gpus == 1 ? " GPU" : " GPUs"));
  if (memory_bytes != 0) parts.push_back(Concat(FormatBytes(memory_bytes), " memory"));
  for (const auto& [name, amount] : custom) parts.push_back(Concat(amount, " ", name));
  return parts.empty() ? "nothing" : Join(parts, ", ");
}

}  // namespace gnomon::runtime
