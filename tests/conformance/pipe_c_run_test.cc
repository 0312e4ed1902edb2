// Runs the C program about pipes against a heddled of its own.
#include <cstdlib>
#include <string>

#include "tests/conformance/planes.h"

namespace heddle::test {
namespace {

class PipeCTest : public DaemonFixture {};

TEST_F(PipeCTest, EveryCallFromC) {
  const std::string command =
      "HEDDLE_PLANE=shm " + built("tests/c_pipe_test") + " " + runtime_dir();
  EXPECT_EQ(std::system(command.c_str()), 0);
}

}  // namespace
}  // namespace heddle::test
