#include <doctest/doctest.h>

#include "base/cgroup_internal.h"
#include "base/memory.h"
#include "tests/support/temporary.h"

namespace gnomon {

namespace {

void Write(const test::TemporaryFolder& root, const std::string& path, std::string_view contents) {
  test::RequireOk(WriteFileAtomic(root.path() + path, contents));
}

}  // namespace

TEST_CASE("without control groups there are no limits") {
  const auto root = test::MakeTemporaryFolder();
  const CgroupLimits limits = ReadCgroupLimits(root.path());
  CHECK_FALSE(limits.memory_bytes.has_value());
  CHECK_FALSE(limits.cpus.has_value());
}

TEST_CASE("the smallest limit on the way to the root of version 2 counts") {
  const auto root = test::MakeTemporaryFolder();
  Write(root, "/proc/self/cgroup", "0::/user/job\n");
  Write(root, "/sys/fs/cgroup/user/job/memory.max", "max\n");
  Write(root, "/sys/fs/cgroup/user/job/cpu.max", "250000 100000\n");
  Write(root, "/sys/fs/cgroup/user/memory.max", "1073741824\n");
  Write(root, "/sys/fs/cgroup/user/cpu.max", "max 100000\n");
  Write(root, "/sys/fs/cgroup/memory.max", "2147483648\n");
  const CgroupLimits limits = ReadCgroupLimits(root.path());
  CHECK(limits.memory_bytes == 1073741824);
  CHECK(limits.cpus == 2.5);
}

TEST_CASE("in a container the mounted root holds the limits of version 2") {
  const auto root = test::MakeTemporaryFolder();
  Write(root, "/proc/self/cgroup", "0::/../elsewhere\n");
  Write(root, "/sys/fs/cgroup/memory.max", "4096\n");
  Write(root, "/sys/fs/cgroup/cpu.max", "50000 100000\n");
  const CgroupLimits limits = ReadCgroupLimits(root.path());
  CHECK(limits.memory_bytes == 4096);
  CHECK(limits.cpus == 0.5);
}

TEST_CASE("version 1 is read by controller") {
  const auto root = test::MakeTemporaryFolder();
  Write(root, "/proc/self/cgroup",
        "5:cpu,cpuacct:/docker/1\n4:memory:/docker/1\n1:name=systemd:/\n");
  Write(root, "/sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes", "8192\n");
  Write(root, "/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  Write(root, "/sys/fs/cgroup/cpu/docker/1/cpu.cfs_quota_us", "-1\n");
  Write(root, "/sys/fs/cgroup/cpu/docker/1/cpu.cfs_period_us", "100000\n");
  Write(root, "/sys/fs/cgroup/cpu/docker/cpu.cfs_quota_us", "150000\n");
  Write(root, "/sys/fs/cgroup/cpu/docker/cpu.cfs_period_us", "100000\n");
  const CgroupLimits limits = ReadCgroupLimits(root.path());
  CHECK(limits.memory_bytes == 8192);
  CHECK(limits.cpus == 1.5);
}

TEST_CASE("garbage in the control files is no limit") {
  const auto root = test::MakeTemporaryFolder();
  Write(root, "/proc/self/cgroup", "nonsense\n0::\n:\n");
  Write(root, "/sys/fs/cgroup/memory.max", "-5\n");
  Write(root, "/sys/fs/cgroup/cpu.max", "100 0\n");
  const CgroupLimits limits = ReadCgroupLimits(root.path());
  CHECK_FALSE(limits.memory_bytes.has_value());
  CHECK_FALSE(limits.cpus.has_value());
}

TEST_CASE("this machine has memory") { CHECK(AvailableMemory() > (int64_t{1} << 20)); }

}  // namespace gnomon
