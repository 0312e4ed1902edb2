#include <gtest/gtest.h>

#include <heddle/limits.h>
#include <heddle/name.h>

namespace heddle {
namespace {

TEST(NameTest, AcceptsTheGrammar) {
  for (const char* name : {"a", "jobs", "a.b/c_d-E9", "9", "-x", "a//b", "sys/broker"}) {
    EXPECT_TRUE(check_object_name(name).ok()) << name;
  }
  EXPECT_TRUE(check_object_name(std::string(kNameBytesMax, 'x')).ok());
}

TEST(NameTest, RefusesAndSaysWhichByte) {
  for (const char* name : {"", "/a", ".a", "~a", "a b", "a\n", "\xc3\xa9"}) {
    EXPECT_EQ(check_object_name(name).reason(), Reason::kInvalidName) << name;
  }
  EXPECT_NE(check_object_name("ab\ncd").message().find("byte 2 is '\\x0a'"),
            std::string_view::npos);
  const Status status = check_object_name(std::string(201, 'x'));
  EXPECT_EQ(status.limit(), 200u);
  EXPECT_EQ(status.actual(), 201u);
}

TEST(NameTest, TildeBecomesTheCallersUid) {
  EXPECT_EQ(expand_object_name("~/x", 1000).value(), "uid-1000/x");
  EXPECT_EQ(expand_object_name("x/~", 1000).reason(), Reason::kInvalidName);
  EXPECT_EQ(expand_object_name("~/", 1000).reason(), Reason::kInvalidName);
  EXPECT_EQ(expand_object_name("~bob/x", 1000).reason(), Reason::kInvalidName);
  EXPECT_EQ(expand_object_name("jobs", 1000).value(), "jobs");
  EXPECT_EQ(expand_object_name("~/" + std::string(195, 'x'), 1000).status().limit(), 200u);
}

TEST(NameTest, SysIsReserved) {
  EXPECT_TRUE(is_reserved_object_name("sys/x"));
  EXPECT_TRUE(is_reserved_object_name("sys"));
  EXPECT_FALSE(is_reserved_object_name("system"));
}

}  // namespace
}  // namespace heddle
