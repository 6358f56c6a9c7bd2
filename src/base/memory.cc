#include "base/memory.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstdio>
#include <string_view>
#include <unistd.h>
#include <utility>

#include "base/cgroup_internal.h"

namespace gnomon {

namespace {

struct ByteUnit {
  std::string_view name;  // lower case
  int64_t bytes;
};

constexpr std::array<ByteUnit, 9> kByteUnits = {{
    {"b", 1},
    {"kb", 1'000},
    {"mb", 1'000'000},
    {"gb", 1'000'000'000},
    {"tb", 1'000'000'000'000},
    {"kib", int64_t{1} << 10},
    {"mib", int64_t{1} << 20},
    {"gib", int64_t{1} << 30},
    {"tib", int64_t{1} << 40},
}};

}  // namespace

MemoryBudget::MemoryBudget(std::string name, int64_t limit, MemoryBudget* parent)
    : name_(std::move(name)), limit_(limit), parent_(parent) {}

MemoryBudget::~MemoryBudget() {
  // What its owner did not give back must not burden the ancestors for ever.
  if (const int64_t left = used(); left > 0 && parent_ != nullptr) parent_->Release(left);
}

const MemoryBudget* MemoryBudget::Refusal(int64_t bytes) {
  GNOMON_CHECK(bytes >= 0, bytes);
  for (MemoryBudget* budget = this; budget != nullptr; budget = budget->parent_) {
    int64_t before = budget->used_.load(std::memory_order_relaxed);
    int64_t after = 0;
    do {
      if (__builtin_add_overflow(before, bytes, &after) ||
          (budget->limit_ > 0 && after > budget->limit_)) {
        for (MemoryBudget* taken = this; taken != budget; taken = taken->parent_) {
          taken->used_.fetch_sub(bytes, std::memory_order_relaxed);
        }
        return budget;
      }
    } while (!budget->used_.compare_exchange_weak(before, after, std::memory_order_relaxed));
  }
  for (MemoryBudget* budget = this; budget != nullptr; budget = budget->parent_) {
    const int64_t now = budget->used();
    int64_t peak = budget->peak();
    while (now > peak &&
           !budget->peak_.compare_exchange_weak(peak, now, std::memory_order_relaxed)) {
    }
  }
  return nullptr;
}

bool MemoryBudget::TryReserve(int64_t bytes) { return Refusal(bytes) == nullptr; }

Status MemoryBudget::Reserve(int64_t bytes) {
  const MemoryBudget* refusal = Refusal(bytes);
  if (refusal == nullptr) return Status::OK();
  return Error(ErrorKind::kExhausted, "memory budget ", Quoted(refusal->name()),
               " is exhausted: asked for ", FormatBytes(bytes), ", used ",
               FormatBytes(refusal->used()), " of ", FormatBytes(refusal->limit()));
}

void MemoryBudget::Release(int64_t bytes) {
  GNOMON_CHECK(bytes >= 0, bytes);
  for (MemoryBudget* budget = this; budget != nullptr; budget = budget->parent_) {
    const int64_t before = budget->used_.fetch_sub(bytes, std::memory_order_relaxed);
    GNOMON_CHECK(before >= bytes, "budget ", budget->name_, ": released ", bytes, " of ", before);
  }
}

int64_t AvailableMemory() {
  const int64_t physical =
      int64_t{sysconf(_SC_PHYS_PAGES)} * static_cast<int64_t>(sysconf(_SC_PAGESIZE));
  return std::min(physical, ReadCgroupLimits().memory_bytes.value_or(physical));
}

Result<int64_t> ParseBytes(std::string_view text) {
  const std::string trimmed = ToLower(Trim(text));
  const auto error = [&] {
    return MakeError(ErrorKind::kUser, Concat("expected a number of bytes, got ", Quoted(text)), {},
                     "write it like '64MiB', '1.5 GB' or '4096'");
  };
  const size_t number_size = std::min(trimmed.find_first_not_of("0123456789."), trimmed.size());
  const std::string_view number = std::string_view(trimmed).substr(0, number_size);
  const std::string_view unit_name = Trim(std::string_view(trimmed).substr(number_size));
  const auto unit = unit_name.empty() ? kByteUnits.begin()
                                      : std::ranges::find(kByteUnits, unit_name, &ByteUnit::name);
  if (number.empty() || unit == kByteUnits.end()) return error();

  const auto out_of_range = [&] {
    return Error(ErrorKind::kUser, "number of bytes out of range: ", Quoted(text));
  };
  const char* end = number.data() + number.size();
  if (number.find('.') == std::string_view::npos) {
    int64_t value = 0;
    if (std::from_chars(number.data(), end, value).ec != std::errc{} ||
        __builtin_mul_overflow(value, unit->bytes, &value)) {
      return out_of_range();
    }
    return value;
  }
  double value = 0;
  const auto [number_end, number_error] = std::from_chars(number.data(), end, value);
  if (number_error != std::errc{} || number_end != end) return error();
  value *= static_cast<double>(unit->bytes);
  if (value >= 9.2e18) return out_of_range();
  return static_cast<int64_t>(value);
}

std::string FormatBytes(int64_t bytes) {
  constexpr std::array<const char*, 6> kUnits = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  if (bytes < 1024) return Concat(bytes, " B");
  double value = static_cast<double>(bytes) / 1024;
  size_t unit = 0;
  while (value >= 1023.95 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  std::array<char, 32> buffer;
  const int length = std::snprintf(buffer.data(), buffer.size(), "%.1f", value);
  std::string_view number(buffer.data(), static_cast<size_t>(length));
  if (number.ends_with(".0")) number.remove_suffix(2);
  return Concat(number, ' ', kUnits[unit]);
}

}  // namespace gnomon
