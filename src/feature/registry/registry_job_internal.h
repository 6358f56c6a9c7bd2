#pragma once

#include "feature/registry/registry.h"
#include "gnomon/side_registry.pb.h"

/// Jobs and intervals as messages, and back.
namespace gnomon::feature {

void WriteJob(const MaterializationJob& job, gnomon::proto::SideJob* message);
MaterializationJob ReadJob(const gnomon::proto::SideJob& message);

}  // namespace gnomon::feature
