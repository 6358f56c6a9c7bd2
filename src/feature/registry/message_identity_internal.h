#pragma once

#include <string>

#include "feast/core/registry.pb.h"

namespace gnomon::feature {

/// Name and project of each kind of message; a data source has them itself, the others in `spec`.
template <typename Message>
const std::string& NameOfMessage(const Message& message) {
  return message.spec().name();
}
inline const std::string& NameOfMessage(const feast::core::DataSource& message) {
  return message.name();
}
inline const std::string& NameOfMessage(const feast::core::ValidationReference& message) {
  return message.name();
}

template <typename Message>
const std::string& ProjectOf(const Message& message) {
  return message.spec().project();
}
inline const std::string& ProjectOf(const feast::core::DataSource& message) {
  return message.project();
}
inline const std::string& ProjectOf(const feast::core::ValidationReference& message) {
  return message.project();
}

}  // namespace gnomon::feature
