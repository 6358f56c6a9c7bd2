#include <algorithm>
#include <charconv>
#include <fstream>
#include <functional>
#include <sstream>
#include <string_view>
#include <system_error>

#include "base/cgroup_internal.h"
#include "base/text.h"

namespace gnomon {

namespace {

std::string ReadSmallFile(const std::string& path) {
  std::ifstream in(path);
  std::ostringstream out;
  if (in) out << in.rdbuf();
  return out.str();
}

std::optional<int64_t> ParseInt(std::string_view text) {
  text = Trim(text);
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

template <typename T>
void Lower(std::optional<T>* limit, T value) {
  *limit = limit->has_value() ? std::min(**limit, value) : value;
}

// Calls `visit` with the folder of `group` below `mount` and with each folder above it up to
// `mount`.
void ForEachLevel(const std::string& mount, std::string_view group,
                  const std::function<void(const std::string&)>& visit) {
  while (!group.empty() && group != "/") {
    visit(Concat(mount, group));
    group = group.substr(0, group.rfind('/'));
  }
  visit(mount);
}

void LowerMemory(CgroupLimits* limits, const std::string& file) {
  // Version 2 writes "max" and version 1 a number near 2^63 when there is no limit.
  const auto bytes = ParseInt(ReadSmallFile(file));
  if (bytes && *bytes > 0 && *bytes < (int64_t{1} << 60)) Lower(&limits->memory_bytes, *bytes);
}

void LowerCpus(CgroupLimits* limits, std::string_view quota, std::string_view period) {
  const auto quota_micros = ParseInt(quota);
  const auto period_micros = ParseInt(period);
  if (quota_micros && period_micros && *quota_micros > 0 && *period_micros > 0) {
    Lower(&limits->cpus, static_cast<double>(*quota_micros) / static_cast<double>(*period_micros));
  }
}

void ReadUnified(CgroupLimits* limits, const std::string& mount, std::string_view group) {
  ForEachLevel(mount, group, [&](const std::string& folder) {
    LowerMemory(limits, folder + "/memory.max");
    const auto cpu = Split(Trim(ReadSmallFile(folder + "/cpu.max")), ' ');
    if (cpu.size() == 2) LowerCpus(limits, cpu[0], cpu[1]);
  });
}

}  // namespace

CgroupLimits ReadCgroupLimits(const std::string& root) {
  CgroupLimits limits;
  const std::string mounts = root + "/sys/fs/cgroup";
  for (const std::string& line : Split(ReadSmallFile(root + "/proc/self/cgroup"), '\n')) {
    // "hierarchy:controllers:group"
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string group = line.substr(second + 1);
    if (second == first + 1) {
      ReadUnified(&limits, mounts, group);
      continue;
    }
    for (const std::string& controller : Split(line.substr(first + 1, second - first - 1), ',')) {
      if (controller == "memory") {
        ForEachLevel(mounts + "/memory", group, [&](const std::string& folder) {
          LowerMemory(&limits, folder + "/memory.limit_in_bytes");
        });
      } else if (controller == "cpu") {
        ForEachLevel(mounts + "/cpu", group, [&](const std::string& folder) {
          LowerCpus(&limits, ReadSmallFile(folder + "/cpu.cfs_quota_us"),
                    ReadSmallFile(folder + "/cpu.cfs_period_us"));
        });
      }
    }
  }
  return limits;
}

}  // namespace gnomon
