#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "base/context.h"
#include "base/error.h"
#include "base/mutex.h"
#include "runtime/backend.h"
#include "runtime/local/child_worker_internal.h"
#include "runtime/stage.h"

namespace gnomon::runtime {

/// An actor in this process.
Result<std::unique_ptr<Actor>> MakeThreadActor(const Context& context,
                                               const StageRegistry& registry,
                                               const std::string& type, std::string_view arguments);
/// An actor in a worker process of its own.
Result<std::unique_ptr<Actor>> MakeProcessActor(const Context& context,
                                                const ChildWorkerOptions& options,
                                                const std::string& type,
                                                std::string_view arguments);

/// The actors of a local backend: calls of one actor come one at a time. Thread-safe.
class LocalActors {
 public:
  Result<ActorId> Create(const Context& context, Result<std::unique_ptr<Actor>> made);
  Result<std::string> Call(const Context& context, ActorId actor, std::string_view method,
                           std::string_view payload);
  void Kill(ActorId actor);

 private:
  struct Slot {
    std::mutex calls;
    std::unique_ptr<Actor> actor;
    std::stop_source killed;
  };

  Mutex mutex_;
  std::map<ActorId, std::shared_ptr<Slot>> slots_ GNOMON_GUARDED_BY(mutex_);
  ActorId last_ GNOMON_GUARDED_BY(mutex_) = 0;
};

}  // namespace gnomon::runtime
