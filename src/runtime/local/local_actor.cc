#include <mutex>
#include <stop_token>
#include <utility>

#include "base/text.h"
#include "runtime/local/local_actor_internal.h"

namespace gnomon::runtime {

namespace {

class ProcessActor : public Actor {
 public:
  explicit ProcessActor(std::unique_ptr<ChildWorker> worker) : worker_(std::move(worker)) {}
  Result<std::string> Call(const Context& context, std::string_view method,
                           std::string_view payload) override {
    return worker_->CallActor(context, method, payload);
  }

 private:
  std::unique_ptr<ChildWorker> worker_;
};

}  // namespace

Result<std::unique_ptr<Actor>> MakeThreadActor(const Context& context,
                                               const StageRegistry& registry,
                                               const std::string& type,
                                               std::string_view arguments) {
  GNOMON_ASSIGN_OR_RETURN(const ActorFactory* factory, registry.FindActor(type));
  return (*factory)(context, arguments);
}

Result<std::unique_ptr<Actor>> MakeProcessActor(const Context& context,
                                                const ChildWorkerOptions& options,
                                                const std::string& type,
                                                std::string_view arguments) {
  GNOMON_ASSIGN_OR_RETURN(auto worker, ChildWorker::Start(context, options));
  GNOMON_RETURN_NOT_OK(worker->CreateActor(context, type, arguments));
  return std::make_unique<ProcessActor>(std::move(worker));
}

Result<ActorId> LocalActors::Create(const Context& context, Result<std::unique_ptr<Actor>> made) {
  GNOMON_RETURN_NOT_OK(context.Check());
  GNOMON_RETURN_NOT_OK(made.status());
  auto slot = std::make_shared<Slot>();
  slot->actor = std::move(*made);
  const MutexLock lock(mutex_);
  slots_.emplace(++last_, std::move(slot));
  return last_;
}

Result<std::string> LocalActors::Call(const Context& context, ActorId actor,
                                      std::string_view method, std::string_view payload) {
  GNOMON_RETURN_NOT_OK(context.Check());
  std::shared_ptr<Slot> slot;
  {
    const MutexLock lock(mutex_);
    const auto found = slots_.find(actor);
    if (found == slots_.end()) return Error(ErrorKind::kNotFound, "no such actor: ", actor);
    slot = found->second;
  }
  const std::lock_guard calls(slot->calls);
  // The call ends when the caller stops, and when the actor is killed.
  std::stop_source stop;
  const std::stop_callback from_caller(context.stop, [&] { stop.request_stop(); });
  const std::stop_callback from_kill(slot->killed.get_token(), [&] { stop.request_stop(); });
  auto answer = slot->actor->Call(context.WithStop(stop.get_token()), method, payload);
  if (!answer.ok() && slot->killed.stop_requested()) {
    return Error(ErrorKind::kUnavailable, "the actor was killed");
  }
  return answer;
}

void LocalActors::Kill(ActorId actor) {
  std::shared_ptr<Slot> slot;
  {
    const MutexLock lock(mutex_);
    const auto found = slots_.find(actor);
    if (found == slots_.end()) return;
    slot = std::move(found->second);
    slots_.erase(found);
  }
  slot->killed.request_stop();
}

}  // namespace gnomon::runtime
