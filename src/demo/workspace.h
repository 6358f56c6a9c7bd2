#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "base/context.h"
#include "base/error.h"

namespace gnomon::demo {

/// Makes the demo's folder. One that an earlier demo made (it holds the file .gnomon-demo) is
/// emptied; another folder that is not empty is kConflict.
Status PrepareFolder(const std::string& folder);

/// Named steps with their wall time, in order. Each is announced on standard error.
class Steps {
 public:
  struct Step {
    std::string name;
    double seconds = 0;
  };

  /// Runs one step.
  Status Run(const Context& context, const std::string& name, const std::function<Status()>& body);
  /// A step that was timed elsewhere.
  void Add(std::string name, double seconds) { steps_.push_back({std::move(name), seconds}); }

  const std::vector<Step>& steps() const { return steps_; }
  double total() const;

 private:
  std::vector<Step> steps_;
};

/// What a prediction client saw: requests one after another over one connection to a server on
/// loopback.
struct Latency {
  std::vector<double> seconds;  ///< sorted
  double Quantile(double q) const;
};

/// Posts each body to `url` and times it. The first replies' bodies are returned in `*replies` when
/// it is not null.
Result<Latency> MeasureRequests(const Context& context, const std::string& url,
                                const std::vector<std::string>& bodies,
                                std::vector<std::string>* replies);

}  // namespace gnomon::demo
