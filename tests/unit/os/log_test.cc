#include "daemon/os/log.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>

#include "daemon/os/files.h"
#include "tests/support/temp_dir.h"

namespace heddle::os {
namespace {

class LogTest : public ::testing::Test {
 protected:
  ~LogTest() override {
    log_to_stderr("heddle");
    set_log_level(LogLevel::kInfo);
  }
  test::TempDir dir_;
  std::string why_, text_;
};

TEST_F(LogTest, FileLinesCarryTimeProgramAndLevelAndStayOneLine) {
  ASSERT_TRUE(log_to_file("prog", dir_.file("log"), &why_)) << why_;
  log(LogLevel::kWarning, "first\nof %d", 2);
  log(LogLevel::kDebug, "not wanted");
  ASSERT_TRUE(read_file(dir_.file("log"), 4096, &text_));
  EXPECT_NE(text_.find("prog[" + std::to_string(::getpid()) + "] warning: first of 2\n"),
            std::string::npos)
      << text_;
  EXPECT_EQ(text_.find("not wanted"), std::string::npos);
}

TEST_F(LogTest, ReopenFollowsARotation) {
  ASSERT_TRUE(log_to_file("prog", dir_.file("log"), &why_)) << why_;
  ASSERT_EQ(::rename(dir_.file("log").c_str(), dir_.file("log.1").c_str()), 0);
  ASSERT_TRUE(reopen_log_file(&why_)) << why_;
  log(LogLevel::kError, "new file");
  ASSERT_TRUE(read_file(dir_.file("log"), 4096, &text_));
  EXPECT_NE(text_.find("new file"), std::string::npos);
}

TEST_F(LogTest, AFileThatCannotBeOpenedIsNamed) {
  EXPECT_FALSE(log_to_file("prog", "/nonexistent/log", &why_));
  EXPECT_NE(why_.find("/nonexistent/log"), std::string::npos);
}

TEST_F(LogTest, JournalLinesCarryPriorities) {
  std::FILE* file = std::fopen(dir_.file("err").c_str(), "w");
  const int saved = ::dup(STDERR_FILENO);
  ::dup2(::fileno(file), STDERR_FILENO);
  struct stat status;
  ::fstat(STDERR_FILENO, &status);
  ::setenv("JOURNAL_STREAM",
           (std::to_string(status.st_dev) + ":" + std::to_string(status.st_ino)).c_str(), 1);
  log_to_stderr("prog");
  log(LogLevel::kNotice, "hello");
  ::unsetenv("JOURNAL_STREAM");
  ::dup2(saved, STDERR_FILENO);
  ::close(saved);
  std::fclose(file);
  ASSERT_TRUE(read_file(dir_.file("err"), 4096, &text_));
  EXPECT_EQ(text_, "<5>hello\n");
}

TEST(LogLevelName, OnlyTheFiveAreKnown) {
  LogLevel level;
  EXPECT_TRUE(parse_log_level("debug", &level));
  EXPECT_EQ(level, LogLevel::kDebug);
  EXPECT_FALSE(parse_log_level("loud", &level));
}

}  // namespace
}  // namespace heddle::os
