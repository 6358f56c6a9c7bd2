#pragma once

#include "pit/time_unit.h"

namespace gnomon::feature {

using pit::CeilToUnit;
using pit::FloorToUnit;
using pit::Nanos;
using pit::RefineUnit;
using pit::ToNanos;

}  // namespace gnomon::feature
