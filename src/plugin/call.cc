#include <cstddef>
#include <new>
#include <utility>

#include <arrow/array.h>
#include <arrow/c/bridge.h>
#include <arrow/type.h>

#include "base/text.h"
#include "plugin/library.h"
#include "plugin/type_internal.h"

namespace gnomon::plugin {

namespace {

/// Without zeroing the whole message: calls are many.
struct FreshError : GnomonError {
  FreshError() {
    kind = GNOMON_ERROR_USER;
    row = -1;
    message[0] = '\0';
  }
};

/// Arrays lent to a library for one call.
class Lent {
 public:
  Lent() = default;
  Lent(const Lent&) = delete;
  Lent& operator=(const Lent&) = delete;
  ~Lent() {
    for (ArrowArray& array : arrays_) {
      if (array.release != nullptr) array.release(&array);
    }
  }

  Status Add(std::span<const std::shared_ptr<arrow::Array>> arrays) {
    arrays_.resize(arrays.size());
    for (size_t i = 0; i < arrays.size(); ++i) {
      arrays_[i] = {};
      GNOMON_RETURN_NOT_OK(arrow::ExportArray(*arrays[i], &arrays_[i]));
      pointers_.push_back(&arrays_[i]);
    }
    return Status::OK();
  }
  const ArrowArray* const* pointers() const { return pointers_.data(); }

 private:
  std::vector<ArrowArray> arrays_;
  std::vector<const ArrowArray*> pointers_;
};

}  // namespace

std::string Function::Signature() const {
  std::vector<std::string> types;
  for (const auto& parameter : parameters_) types.push_back(NameOfType(*parameter));
  return Concat(name_, "(", Join(types, ", "), ") -> ", NameOfType(*result_));
}

Result<std::shared_ptr<arrow::Array>> Function::Call(
    std::span<const std::shared_ptr<arrow::Array>> arguments, int64_t num_rows) const {
  Lent lent;
  GNOMON_RETURN_NOT_OK(lent.Add(arguments));
  ArrowArray raw = {};
  FreshError error;
  const int32_t code = table_->call(table_->self, num_rows, lent.pointers(), &raw, &error);
  if (code != 0) {
    if (raw.release != nullptr) raw.release(&raw);
    return StatusOf(error);
  }
  const auto broken = [&](std::string_view why) {
    return Error(ErrorKind::kInternal, "function ", name_, " of plug-in library ", library_,
                 " gave a broken result: ", why);
  };
  if (raw.release == nullptr) return broken("no array");
  auto array = arrow::ImportArray(&raw, result_);
  if (!array.ok()) return broken(array.status().message());
  if ((*array)->length() != num_rows) {
    return broken(Concat((*array)->length(), " values for ", num_rows, " rows"));
  }
  const bool is_text = result_->id() == arrow::Type::STRING;
  const Status valid = is_text ? (*array)->ValidateFull() : (*array)->Validate();
  if (!valid.ok()) return broken(valid.message());
  return array;
}

Result<AggregateInput> AggregateInput::Make(const std::shared_ptr<arrow::Array>& values) {
  AggregateInput input;
  GNOMON_RETURN_NOT_OK(arrow::ExportArray(*values, &input.array_));
  return input;
}

AggregateInput::AggregateInput(AggregateInput&& other) noexcept
    : array_(std::exchange(other.array_, ArrowArray{})) {}

AggregateInput::~AggregateInput() {
  if (array_.release != nullptr) array_.release(&array_);
}

std::string Aggregate::Signature() const {
  return Concat(name_, "(", NameOfType(*input_), ") -> ", NameOfType(*result_));
}

Status Aggregate::ErrorOf(const GnomonError& error) const {
  return WithContext(StatusOf(error), Concat("aggregate ", name_));
}

Aggregate::State::State(const Aggregate& aggregate)
    : aggregate_(aggregate),
      memory_(::operator new(aggregate.table_->state_size,
                             std::align_val_t(aggregate.table_->state_align))) {}

Result<std::unique_ptr<Aggregate::State>> Aggregate::State::Make(const Aggregate& aggregate) {
  std::unique_ptr<State> state(new State(aggregate));
  GNOMON_RETURN_NOT_OK(state->Reset());
  return state;
}

Aggregate::State::~State() {
  const GnomonAggregate& table = *aggregate_.table_;
  if (alive_) table.destroy(table.self, memory_);
  ::operator delete(memory_, std::align_val_t(table.state_align));
}

Status Aggregate::State::Reset() {
  const GnomonAggregate& table = *aggregate_.table_;
  if (std::exchange(alive_, false)) table.destroy(table.self, memory_);
  FreshError error;
  if (table.init(table.self, memory_, &error) != 0) return aggregate_.ErrorOf(error);
  alive_ = true;
  return Status::OK();
}

Status Aggregate::State::Accumulate(const AggregateInput& input, int64_t begin, int64_t end) {
  const GnomonAggregate& table = *aggregate_.table_;
  FreshError error;
  const int32_t code = table.accumulate(table.self, memory_, &input.array(), begin, end, &error);
  return code == 0 ? Status::OK() : aggregate_.ErrorOf(error);
}

Status Aggregate::State::Merge(const State& later) {
  const GnomonAggregate& table = *aggregate_.table_;
  FreshError error;
  const int32_t code = table.merge(table.self, memory_, later.memory_, &error);
  return code == 0 ? Status::OK() : aggregate_.ErrorOf(error);
}

Result<AggregateValue> Aggregate::State::Finish() const {
  const GnomonAggregate& table = *aggregate_.table_;
  FreshError error;
  GnomonValue value = {};
  if (table.finish(table.self, memory_, &value, &error) != 0) return aggregate_.ErrorOf(error);
  AggregateValue result{
      .is_valid = value.is_valid != 0, .integer = value.integer, .real = value.real, .text = {}};
  if (result.is_valid && value.data != nullptr && value.size > 0) {
    result.text = {value.data, static_cast<size_t>(value.size)};
  }
  return result;
}

}  // namespace gnomon::plugin
