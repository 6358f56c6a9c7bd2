#pragma once

#include <string>

#include <google/protobuf/map.h>
#include <google/protobuf/util/json_util.h>

#include "feature/registry/feast_message_internal.h"
#include "gnomon/spec_tag.pb.h"

/// The tag gnomon.spec: what Feast's message has no field for, as canonical JSON.
namespace gnomon::feature {

using TagMap = google::protobuf::Map<std::string, std::string>;

/// Sets the tag; an empty message leaves it out.
void WriteSpecTag(const google::protobuf::Message& spec, TagMap* tags);

/// Takes the tag out of `tags` and reads it; kDataLoss when it is broken.
template <typename Spec>
Result<Spec> TakeSpecTag(Tags* tags) {
  Spec spec;
  const auto found = tags->find(std::string(kSpecTag));
  if (found == tags->end()) return spec;
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = true;
  const auto status = google::protobuf::util::JsonStringToMessage(found->second, &spec, options);
  if (!status.ok()) {
    return Error(ErrorKind::kDataLoss, "the tag ", kSpecTag, " is broken: ", status.ToString());
  }
  tags->erase(found);
  return spec;
}

}  // namespace gnomon::feature
