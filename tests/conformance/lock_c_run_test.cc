// Runs the C program about locks against a heddled of its own.
#include <cstdlib>
#include <string>

#include "tests/conformance/planes.h"

namespace heddle::test {
namespace {

class LockCTest : public DaemonFixture {};

TEST_F(LockCTest, EveryCallFromC) {
  const std::string command =
      "HEDDLE_PLANE=shm " + built("tests/c_lock_test") + " " + runtime_dir();
  EXPECT_EQ(std::system(command.c_str()), 0);
}

}  // namespace
}  // namespace heddle::test
