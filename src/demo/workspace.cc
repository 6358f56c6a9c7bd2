#include "demo/workspace.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "base/clock.h"
#include "base/files.h"
#include "base/text.h"
#include "net/client.h"

namespace gnomon::demo {
namespace {

constexpr const char* kMarker = ".gnomon-demo";

}  // namespace

Status PrepareFolder(const std::string& folder) {
  namespace fs = std::filesystem;
  std::error_code error;
  const fs::path path(folder);
  if (fs::exists(path, error) && !fs::is_directory(path, error)) {
    return Error(ErrorKind::kConflict, "not a folder: ", folder);
  }
  if (fs::is_directory(path, error) && !fs::is_empty(path, error)) {
    if (!fs::exists(path / kMarker, error)) {
      return MakeError(ErrorKind::kConflict,
                       Concat("the folder is not empty and no earlier demo made it: ", folder), {},
                       "give another one with --dir");
    }
    for (const auto& entry : fs::directory_iterator(path, error)) {
      fs::remove_all(entry.path(), error);
      if (error)
        return Error(ErrorKind::kDenied, "cannot remove ", entry.path().string(), ": ",
                     error.message());
    }
  }
  GNOMON_RETURN_NOT_OK(MakeFolders(folder));
  return WriteFileAtomic((path / kMarker).string(), "gnomon demo may empty this folder\n");
}

Status Steps::Run(const Context& context, const std::string& name,
                  const std::function<Status()>& body) {
  GNOMON_RETURN_NOT_OK(context.Check());
  const double start = MonotonicSeconds();
  const Status status = body();
  steps_.push_back({name, MonotonicSeconds() - start});
  return WithContext(status, name);
}

double Steps::total() const {
  double sum = 0;
  for (const Step& step : steps_) sum += step.seconds;
  return sum;
}

double Latency::Quantile(double q) const {
  if (seconds.empty()) return 0;
  const auto rank = static_cast<size_t>(std::ceil(q * static_cast<double>(seconds.size())));
  return seconds[std::clamp<size_t>(rank, 1, seconds.size()) - 1];
}

Result<Latency> MeasureRequests(const Context& context, const std::string& url,
                                const std::vector<std::string>& bodies,
                                std::vector<std::string>* replies) {
  net::HttpClient client;
  GNOMON_ASSIGN_OR_RETURN(net::Url target, net::Url::Parse(url));
  Latency latency;
  for (const std::string& body : bodies) {
    const double start = MonotonicSeconds();
    GNOMON_ASSIGN_OR_RETURN(
        net::HttpReply reply,
        client.Request(context, "POST", target, {{"Content-Type", "application/json"}}, body));
    latency.seconds.push_back(MonotonicSeconds() - start);
    if (reply.status != 200) {
      return Error(ErrorKind::kInternal, "the server answered ", reply.status, ": ", reply.body);
    }
    if (replies != nullptr) replies->push_back(std::move(reply.body));
  }
  std::ranges::sort(latency.seconds);
  return latency;
}

}  // namespace gnomon::demo
