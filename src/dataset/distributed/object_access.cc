// How workers reach s3:// paths: what UseS3 was told in the driver's process.
#include "dataset/distributed/object_access_internal.h"
#include "gnomon/stage_plan.pb.h"
#include "table/file_system.h"

namespace gnomon::dataset {

namespace internal {

Status TakeObjectAccess(std::string_view bytes) {
  proto::ObjectAccess access;
  if (!access.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())))
    return Error(ErrorKind::kDataLoss, "not the access to object stores");
  for (const proto::ObjectStore& store : access.stores()) {
    table::S3Settings settings{.endpoint_url = store.endpoint_url(),
                               .scheme = store.scheme(),
                               .region = store.region(),
                               .access_key_id = store.access_key_id(),
                               .secret_access_key = Secret(store.secret_access_key()),
                               .session_token = Secret(store.session_token()),
                               .path_style = {},
                               .anonymous = store.anonymous(),
                               .ca_file = store.ca_file()};
    if (store.has_path_style()) settings.path_style = store.path_style();
    table::UseS3(store.prefix(), std::move(settings));
  }
  return Status::OK();
}

}  // namespace internal

std::map<std::string, Secret> AccessForWorkers() {
  proto::ObjectAccess access;
  for (const auto& [prefix, settings] : table::S3InUse()) {
    proto::ObjectStore& store = *access.add_stores();
    store.set_prefix(prefix);
    store.set_endpoint_url(settings.endpoint_url);
    store.set_scheme(settings.scheme);
    store.set_region(settings.region);
    store.set_access_key_id(settings.access_key_id);
    store.set_secret_access_key(settings.secret_access_key.Reveal());
    store.set_session_token(settings.session_token.Reveal());
    if (settings.path_style) store.set_path_style(*settings.path_style);
    store.set_anonymous(settings.anonymous);
    store.set_ca_file(settings.ca_file);
  }
  if (access.stores().empty()) return {};
  return {{internal::kObjectAccess, Secret(access.SerializeAsString())}};
}

}  // namespace gnomon::dataset
