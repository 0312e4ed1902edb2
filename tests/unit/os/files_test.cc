#include "daemon/os/files.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <thread>

#include "daemon/os/memory.h"
#include "daemon/os/pidfile.h"
#include "tests/support/temp_dir.h"

namespace heddle::os {
namespace {

TEST(Files, AtomicWriteReplacesTheWholeAndLeavesNoTemporaryBehind) {
  test::TempDir dir;
  const std::string path = dir.file("f");
  std::string why, text;
  ASSERT_TRUE(write_file_atomically(path, "a longer first version", 0640, &why)) << why;
  ASSERT_TRUE(write_file_atomically(path, "second", 0600, &why)) << why;
  ASSERT_TRUE(read_file(path, 100, &text));
  EXPECT_EQ(text, "second");
  struct stat status;
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0600u);
  std::size_t entries = 0;
  for ([[maybe_unused]] auto& entry : std::filesystem::directory_iterator(dir.path())) ++entries;
  EXPECT_EQ(entries, 1u);
}

TEST(Files, AtomicWriteNamesTheFileThatFailed) {
  std::string why;
  EXPECT_FALSE(write_file_atomically("/nonexistent/f", "x", 0600, &why));
  EXPECT_NE(why.find("/nonexistent/f"), std::string::npos);
  EXPECT_NE(why.find("No such file"), std::string::npos);
}

TEST(Files, ReadStopsAtTheLimit) {
  test::TempDir dir;
  std::string why, text;
  ASSERT_TRUE(write_file_atomically(dir.file("f"), std::string(10000, 'x'), 0600, &why));
  ASSERT_TRUE(read_file(dir.file("f"), 5000, &text));
  EXPECT_EQ(text.size(), 5000u);
  EXPECT_FALSE(read_file(dir.file("absent"), 1, &text));
  EXPECT_EQ(errno, ENOENT);
}

TEST(Files, DirectoriesAreMadeWithTheirParentsAndTheirMode) {
  test::TempDir dir;
  std::string why;
  const mode_t before = ::umask(077);
  EXPECT_TRUE(make_directory(dir.file("a/b/c"), 0755, &why)) << why;
  ::umask(before);
  struct stat status;
  ASSERT_EQ(::stat(dir.file("a/b/c").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0755u);
  EXPECT_TRUE(make_directory(dir.file("a/b/c"), 0700, &why));  // exists: its mode stays
}

TEST(Files, DirectoriesOfOthersAreRefused) {
  test::TempDir dir;
  std::string why;
  ASSERT_TRUE(make_directory(dir.file("open"), 0777, &why));
  EXPECT_FALSE(make_directory(dir.file("open"), 0755, &why));
  EXPECT_NE(why.find("writable by everybody"), std::string::npos) << why;
  ASSERT_TRUE(write_file_atomically(dir.file("file"), "x", 0600, &why));
  EXPECT_FALSE(make_directory(dir.file("file"), 0755, &why));
  EXPECT_NE(why.find("not a directory"), std::string::npos) << why;
}

TEST(Files, MemfdIsSizedOnceAndSealed) {
  const Fd fd = make_sealed_memfd("test", 8192);
  ASSERT_TRUE(fd);
  struct stat status;
  ASSERT_EQ(::fstat(fd.get(), &status), 0);
  EXPECT_EQ(status.st_size, 8192);
  EXPECT_EQ(status.st_blocks, 0);
  EXPECT_NE(::ftruncate(fd.get(), 4096), 0);
  EXPECT_NE(::ftruncate(fd.get(), 16384), 0);
  EXPECT_EQ(::fallocate(fd.get(), 0, 0, 8192), 0);
  EXPECT_NE(::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_WRITE), 0);
}

TEST(PidFile, SecondHolderIsToldThePid) {
  test::TempDir dir;
  std::string why;
  pid_t holder = 0;
  PidFile first, second;
  ASSERT_EQ(first.acquire(dir.file("p"), &holder, &why), PidFile::Outcome::kHeld) << why;
  ASSERT_TRUE(first.write(::getppid(), &why)) << why;
  EXPECT_EQ(second.acquire(dir.file("p"), &holder, &why), PidFile::Outcome::kTaken);
  EXPECT_EQ(holder, ::getppid());
}

TEST(PidFile, SecondHolderWaitsForThePidOfOneThatLives) {
  test::TempDir dir;
  std::string why;
  pid_t holder = 0;
  PidFile first, second;
  ASSERT_EQ(first.acquire(dir.file("p"), &holder, &why), PidFile::Outcome::kHeld) << why;
  EXPECT_EQ(second.acquire(dir.file("p"), &holder, &why), PidFile::Outcome::kTaken);
  EXPECT_EQ(holder, 0);  // it never wrote one
  const pid_t dead = ::fork();
  if (dead == 0) ::_exit(0);
  ASSERT_EQ(::waitpid(dead, nullptr, 0), dead);
  ASSERT_TRUE(first.write(dead, &why)) << why;  // what one that was killed left behind
  std::thread late([&] {
    ::usleep(20'000);
    std::string reason;
    EXPECT_TRUE(first.write(::getpid(), &reason)) << reason;
  });
  EXPECT_EQ(second.acquire(dir.file("p"), &holder, &why), PidFile::Outcome::kTaken);
  EXPECT_EQ(holder, ::getpid());
  late.join();
}

TEST(PidFile, LockPassesThroughForkAndDiesWithTheLastHolder) {
  test::TempDir dir;
  std::string why;
  pid_t holder;
  int gate[2];
  ASSERT_EQ(::pipe2(gate, O_CLOEXEC), 0);
  pid_t child;
  {
    PidFile first;
    ASSERT_EQ(first.acquire(dir.file("p"), &holder, &why), PidFile::Outcome::kHeld);
    child = ::fork();
    if (child == 0) {
      char byte;
      ::close(gate[1]);
      ::_exit(::read(gate[0], &byte, 1) == 0 ? 0 : 1);
    }
  }
  PidFile second;
  EXPECT_EQ(second.acquire(dir.file("p"), &holder, &why), PidFile::Outcome::kTaken);
  ::close(gate[0]);
  ::close(gate[1]);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  EXPECT_EQ(second.acquire(dir.file("p"), &holder, &why), PidFile::Outcome::kHeld);
}

TEST(PidFile, DoesNotFollowALink) {
  test::TempDir dir;
  std::string why;
  pid_t holder;
  ASSERT_EQ(::symlink("/dev/null", dir.file("p").c_str()), 0);
  PidFile file;
  EXPECT_EQ(file.acquire(dir.file("p"), &holder, &why), PidFile::Outcome::kFailed);
  EXPECT_NE(why.find(dir.file("p")), std::string::npos);
}

TEST(Memory, AvailableIsPlausible) {
  EXPECT_GT(memory_available_bytes(), 1u << 20);
  EXPECT_LT(memory_available_bytes(), std::uint64_t{1} << 50);
}

}  // namespace
}  // namespace heddle::os
