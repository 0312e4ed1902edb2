// Works that only Heddle's locks know, and their counterparts.
#ifndef HEDDLE_TESTS_BENCH_LOCK_HEDDLE_H_
#define HEDDLE_TESTS_BENCH_LOCK_HEDDLE_H_

#include <heddle/heddle.h>

#include "tests/bench/pair.h"

namespace heddle::bench {

Client connect();

class HeddleMutex {
 public:
  explicit HeddleMutex(const Options&) {}
  void open() { lock_ = connect().lock("bench-mutex").value(); }
  void lock() {
    if (!lock_.acquire()) fail("acquire");
  }
  void unlock() { (void)lock_.release(); }

 private:
  Lock lock_;
};

void measure_blocked(const Options& options);
void measure_futex(const Options& options);
void measure_death(const Options& options);
void measure_deadlock(const Options& options);
void measure_kin(const Options& options);

}  // namespace heddle::bench

#endif  // HEDDLE_TESTS_BENCH_LOCK_HEDDLE_H_
