#pragma once

#include <condition_variable>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <stop_token>
#include <thread>

#include "base/context.h"
#include "base/error.h"
#include "feature/store/feature_store.h"

namespace gnomon::feature_server {

/// The materializations that clients asked for: some run, some wait their turn, the rest is
/// refused. Jobs stand in the registry as running from the moment on that they are taken.
/// Thread-safe.
class MaterializationQueue {
 public:
  struct Limits {
    int running = 2;
    int waiting = 16;
  };
  using Begin = std::function<Result<std::unique_ptr<feature::MaterializationRun>>(const Context&)>;
  using Done = std::function<void(const feature::MaterializationJob& begun, const Status&)>;

  /// `stop` cancels what runs or waits; `done` is told how each job ended, on its thread.
  MaterializationQueue(Limits limits, std::stop_token stop, Done done);
  /// Cancels what runs or waits, and waits for its end.
  ~MaterializationQueue();
  MaterializationQueue(const MaterializationQueue&) = delete;
  MaterializationQueue& operator=(const MaterializationQueue&) = delete;

  /// A place for one job, or null when all are taken.
  std::shared_ptr<void> TakePlace();

  /// Begins a job, waits for its turn and works it off. The caller keeps its place meanwhile.
  Result<feature::MaterializationJob> Run(const Context& context, const Begin& begin);

  /// Begins a job; a thread of its own does the rest, for which only the queue's end and
  /// `gnomon materializations cancel` count, not the context's stop token and deadline.
  Result<feature::MaterializationJob> Start(const Context& context, const Begin& begin,
                                            std::shared_ptr<void> place);

  /// The server stops: what was cancelled, was by that.
  bool is_stopping() const { return stop_.stop_requested(); }

 private:
  struct Background {
    bool ended = false;
    std::jthread thread;
  };

  Result<feature::MaterializationJob> RunInTurn(feature::MaterializationRun& run);

  const Limits limits_;
  const Done done_;
  std::stop_source stop_;
  std::stop_callback<std::function<void()>> outer_;
  std::mutex mutex_;
  std::condition_variable_any turn_;
  int taken_ = 0;                     // guarded by mutex_
  int running_ = 0;                   // guarded by mutex_
  std::list<Background> background_;  // guarded by mutex_; last: ends first
};

}  // namespace gnomon::feature_server
