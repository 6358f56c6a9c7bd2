#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace gnomon {

/// What the control groups of this process allow; empty members mean no limit. Read anew at each
/// call.
struct CgroupLimits {
  std::optional<int64_t> memory_bytes;
  std::optional<double> cpus;
};

/// The smallest limits on the way from our group to the root, of version 1 and of version 2. In a
/// container whose own group is mounted as the root of /sys/fs/cgroup, that root's. `root` stands
/// before every path (tests).
CgroupLimits ReadCgroupLimits(const std::string& root = "");

}  // namespace gnomon
