#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <span>
#include <vector>

namespace gnomon::pit {

/// The distinct values of a series, numbered in their order.
struct Ranks {
  std::vector<uint32_t> rank_of;      ///< per position of the series
  std::vector<uint32_t> position_of;  ///< per rank, a position that has it

  size_t size() const { return position_of.size(); }

  template <typename Value>
  void Assign(std::span<const Value> values) {
    std::vector<uint32_t>& order = position_of;
    order.resize(values.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<uint32_t>(i);
    std::ranges::sort(order, {}, [&](uint32_t i) { return values[i]; });
    rank_of.resize(values.size());
    size_t num_ranks = 0;
    for (size_t i = 0; i < order.size(); ++i) {
      // Writes stay behind reads: num_ranks <= i.
      const uint32_t position = order[i];
      if (num_ranks == 0 || values[order[num_ranks - 1]] != values[position])
        order[num_ranks++] = position;
      rank_of[position] = static_cast<uint32_t>(num_ranks - 1);
    }
    order.resize(num_ranks);
  }
};

/// Counts by rank that know the k-th smallest element (a Fenwick tree). O(log ranks) for all but
/// Reset.
class OrderCounts {
 public:
  void Reset(size_t num_ranks) {
    tree_.assign(num_ranks + 1, 0);
    top_ = std::bit_floor(num_ranks);
  }
  void Add(uint32_t rank) { Change(rank, 1); }
  void Remove(uint32_t rank) { Change(rank, static_cast<uint32_t>(-1)); }

  /// The rank of the element with `k` elements before it in order. REQUIRES: more than k elements.
  uint32_t Kth(uint32_t k) const {
    size_t place = 0;
    for (size_t step = top_; step > 0; step /= 2) {
      if (place + step < tree_.size() && tree_[place + step] <= k) {
        place += step;
        k -= tree_[place];
      }
    }
    return static_cast<uint32_t>(place);
  }

 private:
  void Change(uint32_t rank, uint32_t difference) {
    for (size_t i = size_t{rank} + 1; i < tree_.size(); i += i & (~i + 1)) tree_[i] += difference;
  }

  std::vector<uint32_t> tree_;
  size_t top_ = 0;
};

/// Counts by rank that know how many ranks occur.
class DistinctCounts {
 public:
  void Reset(size_t num_ranks) {
    counts_.assign(num_ranks, 0);
    distinct_ = 0;
  }
  void Add(uint32_t rank) { distinct_ += counts_[rank]++ == 0 ? 1 : 0; }
  void Remove(uint32_t rank) { distinct_ -= --counts_[rank] == 0 ? 1 : 0; }
  int64_t distinct() const { return distinct_; }

 private:
  std::vector<uint32_t> counts_;
  int64_t distinct_ = 0;
};

/// Counts by rank that know the most frequent one, the smallest of ties (a tree of maxima). O(log
/// ranks).
class FrequencyCounts {
 public:
  void Reset(size_t num_ranks) {
    leaves_ = std::bit_ceil(std::max<size_t>(1, num_ranks));
    tree_.assign(2 * leaves_, 0);
  }
  void Add(uint32_t rank) { Change(rank, 1); }
  void Remove(uint32_t rank) { Change(rank, static_cast<uint32_t>(-1)); }

  uint32_t MostFrequent() const {
    size_t node = 1;
    while (node < leaves_) node = 2 * node + (tree_[2 * node] == tree_[node] ? 0 : 1);
    return static_cast<uint32_t>(node - leaves_);
  }

 private:
  void Change(uint32_t rank, uint32_t difference) {
    size_t node = leaves_ + rank;
    tree_[node] += difference;
    for (node /= 2; node > 0; node /= 2) {
      const uint32_t greatest = std::max(tree_[2 * node], tree_[2 * node + 1]);
      if (tree_[node] == greatest) break;
      tree_[node] = greatest;
    }
  }

  std::vector<uint32_t> tree_;
  size_t leaves_ = 1;
};

}  // namespace gnomon::pit
