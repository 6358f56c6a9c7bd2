#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/error.h"

/// Functions that are not of the language itself: a user's plug-in, or whatever else implements
/// this interface.
namespace gnomon::expr {

/// One typing of a function. Immutable, thread-safe. Pure: the same arguments give the same bits,
/// for a call with constant arguments is made once.
class CustomFunction {
 public:
  virtual ~CustomFunction() = default;
  virtual const std::string& name() const = 0;
  /// bool, int64, float64, string, timestamp[us, UTC], date32 or duration[us]; at least one.
  virtual const std::vector<std::shared_ptr<arrow::DataType>>& parameters() const = 0;
  virtual const std::shared_ptr<arrow::DataType>& result() const = 0;
  /// Does it look at null arguments? Otherwise a row with one gives null and is not asked for.
  virtual bool sees_nulls() const = 0;

  /// One value per row. Only rows whose value is wanted are in the arguments. The location of an
  /// error may have a row of these.
  virtual Result<std::shared_ptr<arrow::Array>> Evaluate(
      std::span<const std::shared_ptr<arrow::Array>> arguments, int64_t num_rows) const = 0;
};

/// What the names of an expression are looked up in after the language's own functions. Immutable,
/// thread-safe.
class FunctionSet {
 public:
  /// Functions of one name are its overloads. kConflict for a name that the language has already;
  /// kUser for a name that cannot be called, a type that it has not, and an overload that stands
  /// twice.
  static Result<std::shared_ptr<const FunctionSet>> Make(
      std::vector<std::shared_ptr<const CustomFunction>> functions);
  /// `known`, which may be null, and names of functions that are not there but ought to be, with
  /// the library that has them: a call of one is an error that says so. Names that are known are
  /// passed over.
  static std::shared_ptr<const FunctionSet> WithAbsent(const FunctionSet* known,
                                                       std::map<std::string, std::string> owners);
  ~FunctionSet();

  std::vector<std::string> names() const;  ///< sorted

  struct Table;
  const Table& table() const { return *table_; }

 private:
  explicit FunctionSet(std::unique_ptr<const Table> table);
  std::unique_ptr<const Table> table_;
};

}  // namespace gnomon::expr
