#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/error.h"
#include "plugin/abi.h"

/// Users' C++ libraries: loaded, checked and called. plugin/abi.h is the contract with them,
/// plugin/sdk.h what they are written with.
namespace gnomon::plugin {

class Library;

/// A function of the expression language that a library offers. Immutable, thread-safe; usable as
/// long as the process lives.
class Function {
 public:
  const std::string& name() const { return name_; }
  const std::string& doc() const { return doc_; }
  const std::vector<std::shared_ptr<arrow::DataType>>& parameters() const { return parameters_; }
  const std::shared_ptr<arrow::DataType>& result() const { return result_; }
  /// Does it look at null arguments? Otherwise the caller gives it rows without any.
  bool sees_nulls() const { return (table_->flags & GNOMON_FUNCTION_SEES_NULLS) != 0; }
  /// "haversine(float64, float64) -> float64"
  std::string Signature() const;

  /// One value per row. REQUIRES: arrays of the parameters' types and of `num_rows`. The library's
  /// own errors keep their kind, and their row as the location; a result that is no array of that
  /// type and length is kInternal and names the library.
  Result<std::shared_ptr<arrow::Array>> Call(
      std::span<const std::shared_ptr<arrow::Array>> arguments, int64_t num_rows) const;

 private:
  friend class Library;
  const GnomonFunction* table_ = nullptr;
  std::string library_;  ///< path, for errors
  std::string name_;
  std::string doc_;
  std::vector<std::shared_ptr<arrow::DataType>> parameters_;
  std::shared_ptr<arrow::DataType> result_;
};

/// Values for aggregates: an array of an aggregate's input type, in the form that libraries read.
class AggregateInput {
 public:
  static Result<AggregateInput> Make(const std::shared_ptr<arrow::Array>& values);
  AggregateInput(AggregateInput&& other) noexcept;
  AggregateInput& operator=(AggregateInput&&) = delete;
  ~AggregateInput();
  const ArrowArray& array() const { return array_; }

 private:
  AggregateInput() : array_{} {}
  ArrowArray array_;
};

/// What an aggregate gives. `text` is valid until the next Finish on this thread.
struct AggregateValue {
  bool is_valid = false;
  int64_t integer = 0;  ///< also of a bool
  double real = 0;
  std::string_view text;
};

/// A window aggregate that a library offers. Immutable, thread-safe; usable as long as the process
/// lives.
class Aggregate {
 public:
  const std::string& name() const { return name_; }
  const std::string& doc() const { return doc_; }
  const std::shared_ptr<arrow::DataType>& input() const { return input_; }
  const std::shared_ptr<arrow::DataType>& result() const { return result_; }
  /// Has a window without values a value?
  bool has_value_of_nothing() const { return (table_->flags & GNOMON_AGGREGATE_OF_NOTHING) != 0; }
  /// "value_range(float64) -> float64"
  std::string Signature() const;

  /// A state of this aggregate, in memory of its own. Not thread-safe.
  class State {
   public:
    static Result<std::unique_ptr<State>> Make(const Aggregate& aggregate);
    State(const State&) = delete;
    State& operator=(const State&) = delete;
    ~State();

    Status Reset();
    /// Rows [begin, end) of the input, none of them null.
    Status Accumulate(const AggregateInput& input, int64_t begin, int64_t end);
    /// `later`: a state of the same aggregate.
    Status Merge(const State& later);
    Result<AggregateValue> Finish() const;

   private:
    explicit State(const Aggregate& aggregate);
    const Aggregate& aggregate_;
    void* memory_;
    bool alive_ = false;
  };

 private:
  friend class Library;
  Status ErrorOf(const GnomonError& error) const;
  const GnomonAggregate* table_ = nullptr;
  std::string library_;
  std::string name_;
  std::string doc_;
  std::shared_ptr<arrow::DataType> input_;
  std::shared_ptr<arrow::DataType> result_;
};

/// A loaded library. Immutable, thread-safe. The code stays in the process until its end, because
/// arrays that it made may.
class Library {
 public:
  /// kNotFound: no such file; kUser: no shared library, no plug-in, a name or type that is not
  /// allowed, or an overload that stands twice; kUnsupported: made for a newer Gnomon. An error of
  /// the library's own registration keeps its kind. Every error names the path.
  static Result<std::shared_ptr<const Library>> Load(const std::string& path);

  const std::string& path() const { return path_; }
  const std::string& id() const { return id_; }  ///< sha256 of the file, in hex
  const std::string& name() const { return name_; }
  const std::string& version() const { return version_; }  ///< may be empty
  const std::vector<Function>& functions() const { return functions_; }
  const std::vector<Aggregate>& aggregates() const { return aggregates_; }

 private:
  Library() = default;
  Status Read(const GnomonPlugin& plugin);
  Status AddFunction(const GnomonFunction* table);
  Status AddAggregate(const GnomonAggregate* table);
  Status Refuse(std::string_view what, std::string_view name, std::string_view why) const;

  std::string path_;
  std::string id_;
  std::string name_;
  std::string version_;
  std::vector<Function> functions_;
  std::vector<Aggregate> aggregates_;
};

/// Loads libraries in order, each once. kConflict when two offer the same overload of a function or
/// an aggregate of the same name; names both.
Result<std::vector<std::shared_ptr<const Library>>> LoadLibraries(
    std::span<const std::string> paths);

}  // namespace gnomon::plugin
