#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <memory_resource>
#include <string>
#include <string_view>
#include <vector>

#include <arrow/type_fwd.h>

#include "base/error.h"
#include "expr/expression.h"
#include "expr/node_internal.h"
#include "expr/vector_internal.h"

namespace gnomon::expr {

/// The rows of a batch for which a value is wanted. An error in any other row does not count.
struct Rows {
  int64_t count = 0;
  const uint8_t* active = nullptr;  ///< a byte per row; null: all

  bool IsActive(int64_t row) const { return active == nullptr || active[row] != 0; }
  /// The first active row, or -1.
  int64_t First() const;
};

/// A column of the schema that a program reads.
struct InputColumn {
  std::string name;
  std::shared_ptr<arrow::DataType> arrow_type;
  Type type;
  int position = 0;  ///< in the schema that was bound: where to look first
};

/// A column as it was read. Rows whose value the language cannot hold are errors where they are
/// used.
struct LoadedColumn {
  bool loaded = false;
  Vector vector;
  std::vector<int64_t> bad_rows;  ///< ascending, none of them null
  std::string problem;            ///< what is wrong with them
};

/// The mutable state of one Evaluate call: the columns read so far and the memory behind texts and
/// lists.
class Evaluation {
 public:
  /// A null batch stands for one row without columns.
  Evaluation(const std::vector<InputColumn>& inputs, const arrow::RecordBatch* batch);

  /// The input of that index, read on first use. kUser when the batch lacks it or its type differs.
  Result<const LoadedColumn*> Column(size_t index);

  /// Memory for a text of that many bytes that lives as long as this.
  char* NewText(size_t bytes) { return static_cast<char*>(texts_.allocate(bytes, 1)); }
  std::string_view CopyText(std::string_view text);

  /// Keeps elements of lists alive.
  const Vector* Keep(Vector elements) { return &kept_.emplace_back(std::move(elements)); }

 private:
  const std::vector<InputColumn>& inputs_;
  const arrow::RecordBatch* const batch_;
  std::vector<LoadedColumn> columns_;
  std::pmr::monotonic_buffer_resource texts_;
  std::deque<Vector> kept_;
};

/// Where the batch has the input's column; kUser when it lacks it or its type differs.
Result<std::shared_ptr<arrow::ArrayData>> FindColumn(const arrow::RecordBatch& batch,
                                                     const InputColumn& input);

/// Reads an Arrow array into a vector. The array outlives the vector's use only through the vector
/// itself.
Status ReadArray(const std::shared_ptr<arrow::ArrayData>& array, Type type, Evaluation* evaluation,
                 LoadedColumn* out);

/// Writes a vector as an Arrow array of `arrow_type`, which is ArrowTypeOf(type), int32 or float32.
Result<std::shared_ptr<arrow::Array>> WriteArray(
    const Vector& vector, Type type, int64_t num_rows,
    const std::shared_ptr<arrow::DataType>& arrow_type);

}  // namespace gnomon::expr
