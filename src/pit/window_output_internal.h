#pragma once

#include <memory>

#include <arrow/type_fwd.h>

#include "base/memory_reservation.h"
#include "pit/window_kernels_internal.h"

namespace gnomon::pit {

/// Room for one value per label, all null (counts: 0).
Result<Output> MakeOutput(const AggregateSpec& spec, KeyKind kind, size_t num_labels,
                          MemoryReservation* memory);

/// Between the passes: gives every list its place. kUnsupported when the lists have 2^31 elements
/// or more.
Status PlaceLists(Output* output, MemoryReservation* memory);

/// The array of ResultType.
Result<std::shared_ptr<arrow::Array>> CollectOutput(const AggregateSpec& spec,
                                                    const ValueColumn& column, Output output);

}  // namespace gnomon::pit
