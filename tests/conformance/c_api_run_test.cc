// Runs the C program against a heddled of its own, on each plane.
#include <sys/wait.h>

#include <cstdlib>
#include <string>

#include "tests/conformance/planes.h"

namespace heddle::test {
namespace {

class CApiTest : public DaemonFixture {};

TEST_F(CApiTest, EveryCallFromC) {
  const std::string command = built("tests/c_api_test") + " " + runtime_dir();
  EXPECT_EQ(std::system(command.c_str()), 0);
}

}  // namespace
}  // namespace heddle::test
