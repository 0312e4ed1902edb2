// Locks to compare with. A lock is a class with
//   Lock(const Options&)  in the parent, before the fork
//   open()                in each process
//   lock(), unlock()
#ifndef HEDDLE_TESTS_BENCH_LOCK_PEERS_H_
#define HEDDLE_TESTS_BENCH_LOCK_PEERS_H_

#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

#include <new>
#include <string>

#include "tests/bench/pair.h"

#ifdef HEDDLE_BENCH_BOOST
#include <boost/interprocess/sync/interprocess_mutex.hpp>
#endif
#ifdef HEDDLE_BENCH_REDIS
#include <hiredis/hiredis.h>
#endif

namespace heddle::bench {

template <class T>
T* shared_memory() {
  void* at = mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) fail("mmap");
  return static_cast<T*>(at);
}

class RobustMutex {
 public:
  explicit RobustMutex(const Options&) : mutex_(shared_memory<pthread_mutex_t>()) {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(mutex_, &attributes);
  }
  void open() {}
  void lock() {
    if (pthread_mutex_lock(mutex_) != 0) fail("pthread_mutex_lock");
  }
  void unlock() { pthread_mutex_unlock(mutex_); }

 private:
  pthread_mutex_t* mutex_;
};

class PosixSemaphore {
 public:
  explicit PosixSemaphore(const Options&) : semaphore_(shared_memory<sem_t>()) {
    if (sem_init(semaphore_, 1, 1) != 0) fail("sem_init");
  }
  void open() {}
  void lock() {
    while (sem_wait(semaphore_) != 0) {
    }
  }
  void unlock() { sem_post(semaphore_); }

 private:
  sem_t* semaphore_;
};

class Flock {
 public:
  explicit Flock(const Options&) : path_("/tmp/heddle-bench-" + std::to_string(getpid())) {
    const int fd = ::open(path_.c_str(), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0) fail("flock: " + path_);
    close(fd);
  }
  ~Flock() { unlink(path_.c_str()); }
  void open() { fd_ = ::open(path_.c_str(), O_RDWR | O_CLOEXEC); }
  void lock() {
    while (flock(fd_, LOCK_EX) != 0) {
    }
  }
  void unlock() { flock(fd_, LOCK_UN); }

 private:
  const std::string path_;
  int fd_ = -1;
};

#ifdef HEDDLE_BENCH_BOOST
class BoostMutex {
 public:
  explicit BoostMutex(const Options&) : mutex_(new (shared_memory<Mutex>()) Mutex) {}
  void open() {}
  void lock() { mutex_->lock(); }
  void unlock() { mutex_->unlock(); }

 private:
  using Mutex = boost::interprocess::interprocess_mutex;
  Mutex* mutex_;
};
#endif

#ifdef HEDDLE_BENCH_REDIS
/// SET NX PX with a value of one's own; a script that deletes the key if it still has that value.
class RedisLock {
 public:
  explicit RedisLock(const Options& options)
      : socket_(options.socket), key_("lock" + std::to_string(getpid())) {}
  void open() {
    context_ = redisConnectUnix(socket_.c_str());
    if (context_ == nullptr || context_->err != 0) fail("redis: no connection to " + socket_);
    value_ = std::to_string(getpid());
    auto* reply = static_cast<redisReply*>(redisCommand(context_, "SCRIPT LOAD %s", kUnlock));
    if (reply == nullptr || reply->type != REDIS_REPLY_STRING) fail("redis: no script");
    script_.assign(reply->str, reply->len);
    freeReplyObject(reply);
  }
  void lock() {
    while (!is_ok(redisCommand(context_, "SET %s %s NX PX 30000", key_.c_str(), value_.c_str()))) {
    }
  }
  void unlock() {
    freeReplyObject(redisCommand(context_, "EVALSHA %s 1 %s %s", script_.c_str(), key_.c_str(),
                                 value_.c_str()));
  }

 private:
  static constexpr const char* kUnlock =
      "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end "
      "return 0";
  bool is_ok(void* given) {
    auto* reply = static_cast<redisReply*>(given);
    if (reply == nullptr) fail(std::string("redis: ") + context_->errstr);
    const bool ok = reply->type == REDIS_REPLY_STATUS;
    freeReplyObject(reply);
    return ok;
  }
  std::string socket_, key_, value_, script_;
  redisContext* context_ = nullptr;
};
#endif

}  // namespace heddle::bench

#endif  // HEDDLE_TESTS_BENCH_LOCK_PEERS_H_
