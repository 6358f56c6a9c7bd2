#pragma once

#include "base/config.h"
#include "base/error.h"
#include "feature/definition/repository.h"

namespace gnomon::feature {

/// The section `s3`; a null node leaves everything to the environment.
Status ReadS3(const ConfigNode& node, RepositoryConfig::S3* settings);

}  // namespace gnomon::feature
