// main() of every test program: a 30 s watchdog and a leak check around each test.
#include <gtest/gtest.h>

#include <memory>
#include <optional>

#include "tests/support/leak_check.h"
#include "tests/support/watchdog.h"

namespace {

class Guard : public testing::EmptyTestEventListener {
  void OnTestStart(const testing::TestInfo& info) override {
    leak_check_.emplace();
    watchdog_.emplace(std::string(info.test_suite_name()) + "." + info.name());
  }

  void OnTestEnd(const testing::TestInfo&) override {
    watchdog_.reset();
    if (heddle::test::take_leaks_allowed()) return;
    for (const std::string& leak : leak_check_->leaks()) {
      ADD_FAILURE() << "left behind: " << leak;
    }
  }

  std::optional<heddle::test::LeakCheck> leak_check_;
  std::optional<heddle::test::Watchdog> watchdog_;
};

}  // namespace

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  testing::UnitTest::GetInstance()->listeners().Append(new Guard);
  return RUN_ALL_TESTS();
}
