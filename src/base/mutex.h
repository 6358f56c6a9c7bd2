#pragma once

#include <condition_variable>
#include <mutex>

/// std::mutex with clang's thread-safety annotations (libstdc++'s carries none). Checked by `make
/// tidy`.
#if defined(__clang__)
#define GNOMON_THREAD_ANNOTATION(x) __attribute__((x))
#else
#define GNOMON_THREAD_ANNOTATION(x)
#endif
#define GNOMON_GUARDED_BY(x) GNOMON_THREAD_ANNOTATION(guarded_by(x))
#define GNOMON_REQUIRES(...) GNOMON_THREAD_ANNOTATION(requires_capability(__VA_ARGS__))

namespace gnomon {

class GNOMON_THREAD_ANNOTATION(capability("mutex")) Mutex {
 public:
  void lock() GNOMON_THREAD_ANNOTATION(acquire_capability()) { mutex_.lock(); }
  void unlock() GNOMON_THREAD_ANNOTATION(release_capability()) { mutex_.unlock(); }
  bool try_lock() GNOMON_THREAD_ANNOTATION(try_acquire_capability(true)) {
    return mutex_.try_lock();
  }

 private:
  std::mutex mutex_;
};

class GNOMON_THREAD_ANNOTATION(scoped_lockable) MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) GNOMON_THREAD_ANNOTATION(acquire_capability(mutex))
      : mutex_(mutex) {
    mutex_.lock();
  }
  ~MutexLock() GNOMON_THREAD_ANNOTATION(release_capability()) { mutex_.unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

}  // namespace gnomon
