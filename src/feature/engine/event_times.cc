#include "feature/engine/event_times.h"

#include <limits>

#include <arrow/array.h>
#include <arrow/type.h>

#include "pit/time_unit.h"
#include "table/column.h"

namespace gnomon::feature {

Result<EventTimes> EventTimesOf(const arrow::Array& times, const arrow::Array* created) {
  EventTimes events;
  events.unit_nanos = table::UnitNanos(*times.type());
  GNOMON_ASSIGN_OR_RETURN(events.times, table::RawTimes(times));
  if (created == nullptr) return events;
  GNOMON_ASSIGN_OR_RETURN(events.created, table::RawTimes(*created));
  const int64_t created_nanos = table::UnitNanos(*created->type());
  if (created_nanos < events.unit_nanos &&
      pit::RefineUnit(&events.times, events.unit_nanos, created_nanos)) {
    events.unit_nanos = created_nanos;
  }
  if (created_nanos != events.unit_nanos) {
    for (int64_t& value : events.created)
      value = pit::FloorToUnit(pit::ToNanos(value, created_nanos), events.unit_nanos);
  }
  for (int64_t i = 0; created->null_count() > 0 && i < created->length(); ++i) {
    if (created->IsNull(i))
      events.created[static_cast<size_t>(i)] = std::numeric_limits<int64_t>::min();
  }
  return events;
}

}  // namespace gnomon::feature
