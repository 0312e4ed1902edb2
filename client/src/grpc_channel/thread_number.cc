#include "client/src/grpc_channel/thread_number.h"

#include <mutex>
#include <vector>

namespace heddle::detail {
namespace {

constexpr std::uint32_t kNumbersMax = 1'024;
constexpr std::uint32_t kNone = UINT32_MAX;

struct Numbers {
  std::mutex mutex;
  std::vector<std::uint32_t> free;
  std::uint32_t fresh = 0;
};

// Never destroyed: threads may end after the statics of this file do.
Numbers& numbers() {
  static auto* it = new Numbers;
  return *it;
}

struct Own {
  std::uint32_t number = kNone;
  std::int64_t held = 0;
  ~Own() {
    if (number == kNone || held > 0) return;
    std::lock_guard lock(numbers().mutex);
    numbers().free.push_back(number);
  }
};

Own& mine() {
  thread_local Own own;
  return own;
}

}  // namespace

Status ThreadNumber::own(std::uint32_t* number) {
  Own& own = mine();
  if (own.number == kNone) {
    Numbers& all = numbers();
    std::lock_guard lock(all.mutex);
    if (!all.free.empty()) {
      own.number = all.free.back();
      all.free.pop_back();
    } else if (all.fresh < kNumbersMax) {
      own.number = all.fresh++;
    } else {
      return Status(Reason::kTooManyThreads, "too many threads of this process use remote locks")
          .with_limit(kNumbersMax, kNumbersMax + 1);
    }
  }
  *number = own.number;
  return {};
}

std::uint32_t ThreadNumber::known() {
  const Own& own = mine();
  return own.number == kNone ? kNumbersMax : own.number;
}

void ThreadNumber::held(std::int64_t more) { mine().held += more; }

}  // namespace heddle::detail
