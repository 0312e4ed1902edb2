#include "daemon/os/loop.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <string>

#include "daemon/os/clock.h"

namespace heddle::os {
namespace {

TEST(Loop, TimersFireInOrderAndCancelledOnesDoNot) {
  Loop loop;
  std::string seen;
  loop.after_ms(20, [&] { seen += 'c', loop.stop(); });
  loop.after_ms(10, [&] { seen += 'b'; });
  const auto dead = loop.after_ms(5, [&] { seen += 'x'; });
  loop.after_ms(0, [&] { seen += 'a', loop.cancel(dead); });
  const std::int64_t start = monotonic_ms();
  loop.run();
  EXPECT_EQ(seen, "abc");
  EXPECT_GE(monotonic_ms() - start, 19);
}

TEST(Loop, ACallbackMayRemoveItselfAndOthers) {
  Loop loop;
  int a[2], b[2];
  ASSERT_EQ(::pipe2(a, O_CLOEXEC), 0);
  ASSERT_EQ(::pipe2(b, O_CLOEXEC), 0);
  int calls = 0;
  const auto once = [&](std::uint32_t) {
    ++calls;
    loop.remove(a[0]);
    loop.remove(b[0]);
  };
  ASSERT_TRUE(loop.add(a[0], EPOLLIN, once));
  ASSERT_TRUE(loop.add(b[0], EPOLLIN, once));
  ASSERT_EQ(::write(a[1], "x", 1), 1);
  ASSERT_EQ(::write(b[1], "x", 1), 1);
  loop.after_ms(20, [&] { loop.stop(); });
  loop.run();
  EXPECT_EQ(calls, 1);
  for (int fd : {a[0], a[1], b[0], b[1]}) ::close(fd);
}

TEST(Loop, SignalsArriveAsCalls) {
  sigset_t before;
  ::sigprocmask(SIG_SETMASK, nullptr, &before);
  {
    Loop loop;
    int got = 0;
    ASSERT_TRUE(loop.add_signals({SIGUSR1, SIGHUP}, [&](int signal) {
      got = signal;
      loop.stop();
    }));
    ::kill(::getpid(), SIGHUP);
    loop.run();
    EXPECT_EQ(got, SIGHUP);
  }
  ::sigprocmask(SIG_SETMASK, &before, nullptr);
}

TEST(Clock, TextIsUtcWithMilliseconds) {
  EXPECT_EQ(utc_text(0), "1970-01-01T00:00:00.000Z");
  EXPECT_EQ(utc_text(1700000000123), "2023-11-14T22:13:20.123Z");
}

TEST(Clock, CoarseIsNeverAheadAndNearlyExact) {
  const std::int64_t coarse = monotonic_coarse_ns();
  const std::int64_t exact = monotonic_ns();
  EXPECT_LE(coarse, exact);
  EXPECT_LT(exact - coarse, 1'000'000'000);
}

}  // namespace
}  // namespace heddle::os
