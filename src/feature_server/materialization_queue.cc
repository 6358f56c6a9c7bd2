#include <utility>

#include "feature_server/materialization_queue_internal.h"

namespace gnomon::feature_server {

MaterializationQueue::MaterializationQueue(Limits limits, std::stop_token stop, Done done)
    : limits_(limits),
      done_(std::move(done)),
      outer_(std::move(stop), [this] { stop_.request_stop(); }) {}

MaterializationQueue::~MaterializationQueue() {
  stop_.request_stop();
  std::list<Background> rest;
  {
    const std::lock_guard lock(mutex_);
    rest.swap(background_);
  }
  for (Background& each : rest) each.thread.join();
}

std::shared_ptr<void> MaterializationQueue::TakePlace() {
  const std::lock_guard lock(mutex_);
  if (taken_ == limits_.running + limits_.waiting) return nullptr;
  ++taken_;
  return {this, [](MaterializationQueue* queue) {
            const std::lock_guard free(queue->mutex_);
            --queue->taken_;
          }};
}

Result<feature::MaterializationJob> MaterializationQueue::Run(const Context& context,
                                                              const Begin& begin) {
  std::stop_source stop;
  const std::stop_callback from_client(context.stop, [&] { stop.request_stop(); });
  const std::stop_callback from_queue(stop_.get_token(), [&] { stop.request_stop(); });
  GNOMON_ASSIGN_OR_RETURN(const auto run, begin(context.WithStop(stop.get_token())));
  return RunInTurn(*run);
}

Result<feature::MaterializationJob> MaterializationQueue::Start(const Context& context,
                                                                const Begin& begin,
                                                                std::shared_ptr<void> place) {
  Context alone = context.WithStop(stop_.get_token());
  alone.deadline.reset();
  GNOMON_ASSIGN_OR_RETURN(std::shared_ptr<feature::MaterializationRun> run, begin(alone));
  const feature::MaterializationJob job = run->job();
  const std::lock_guard lock(mutex_);
  background_.remove_if([](const Background& each) { return each.ended; });
  Background& added = background_.emplace_back();
  added.thread =
      std::jthread([this, &added, run = std::move(run), place = std::move(place)]() mutable {
        (void)RunInTurn(*run);  // `done_` is told
        run.reset();
        place.reset();
        const std::lock_guard end(mutex_);
        added.ended = true;
      });
  return job;
}

Result<feature::MaterializationJob> MaterializationQueue::RunInTurn(
    feature::MaterializationRun& run) {
  const feature::MaterializationJob begun = run.job();
  bool has_turn = false;
  {
    std::unique_lock lock(mutex_);
    has_turn = turn_.wait(lock, run.stop_token(), [&] { return running_ < limits_.running; });
    if (has_turn) ++running_;
  }
  auto job = run.Run();
  if (has_turn) {
    {
      const std::lock_guard lock(mutex_);
      --running_;
    }
    turn_.notify_one();
  }
  done_(begun, job.status());
  return job;
}

}  // namespace gnomon::feature_server
