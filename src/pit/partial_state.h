#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/error.h"
#include "pit/window.h"

/// What stands for the events of a lifetime window that are not kept themselves. Two kinds of
/// aggregates: of some a few events say all (min, max, first, last, last_k: SelectKeptRows), of the
/// others a state does (PartialState). Either way the old events' part and the later events
/// together give the bits that AggregateWindows gives for all of them.
namespace gnomon::pit {

/// Aggregates of one kind over one column share what is kept. The numbers are stored.
enum class PartialKind : uint8_t {
  kNone = 0,  ///< custom aggregates: every event has to be kept
  kCount = 1,
  kSum = 2,          ///< sum, mean
  kMoments = 3,      ///< std, var
  kValueCounts = 4,  ///< count_distinct, median, quantile, most_frequent
  kMinRow = 5,
  kMaxRow = 6,
  kFirstRow = 7,
  kLastRows = 8,  ///< last, last_k
};

PartialKind PartialKindOf(AggregateFunction function);
const char* NameOf(PartialKind kind);
/// Is what is kept a few of the events?
bool KeepsRows(PartialKind kind);

/// Which of `rows`, events of one entity in (time, created, input) order, an aggregate of a kind
/// that keeps rows needs of them: appended to `kept` in no order, maybe none. `count` is how many
/// kLastRows keeps. Leaving out the other rows changes no result over windows that hold them all.
void SelectKeptRows(PartialKind kind, int64_t count, const std::shared_ptr<arrow::Array>& values,
                    std::span<const uint32_t> rows, std::vector<uint32_t>* kept);

/// The state of a kind that keeps no rows. Exact: the value depends neither on the order of the
/// events nor on how they were split into states. Not thread-safe.
class PartialState {
 public:
  virtual ~PartialState() = default;

  /// Of a column of this type, without events. `max_bytes` bounds what kValueCounts keeps: see Add.
  static Result<std::unique_ptr<PartialState>> Make(PartialKind kind, const arrow::DataType& type,
                                                    int64_t max_bytes);
  /// What Encode wrote. kDataLoss when the bytes are damaged, or of another kind or type;
  /// kUnsupported when a newer version wrote them.
  static Result<std::unique_ptr<PartialState>> Decode(PartialKind kind, const arrow::DataType& type,
                                                      int64_t max_bytes, std::string_view bytes);

  /// Adds values of the column, nulls left out. kExhausted when the counted values would take more
  /// than the bytes allowed: the state is then of no use.
  virtual Status Add(const std::shared_ptr<arrow::Array>& values,
                     std::span<const uint32_t> rows) = 0;
  /// Adds another state of the same kind and type. kExhausted as above.
  virtual Status Merge(const PartialState& other) = 0;

  /// Appends the state: u8 version (1), u8 kind, u8 type class, the state, u64 FNV-1a of all that.
  void Encode(std::string* bytes) const;

  /// Appends the aggregate's value over the events to a builder of its ResultType: what
  /// AggregateWindows gives, errors too.
  virtual Status AppendValue(const AggregateSpec& spec, arrow::ArrayBuilder* builder) const = 0;

 protected:
  PartialState(PartialKind kind, uint8_t type_class) : kind_(kind), type_class_(type_class) {}
  virtual void EncodeState(std::string* bytes) const = 0;

 private:
  const PartialKind kind_;
  const uint8_t type_class_;
};

}  // namespace gnomon::pit
