// The committed documents say what the table says. HEDDLE_UPDATE_DOCS=1 writes them anew.
#include <gtest/gtest.h>

#include <cstdlib>

#include "daemon/config/option_table.h"
#include "daemon/config/option_text.h"
#include "daemon/config/options_json.h"
#include "daemon/os/files.h"

namespace heddle::config {
namespace {

constexpr std::string_view kBegin = ".\\\" KEYS: written from daemon/config/option_table.cc\n";
constexpr std::string_view kEnd = ".\\\" END OF KEYS\n";

class Documents : public ::testing::Test {
 protected:
  // The file's text, after `renew` has put it right if that was asked for.
  void compare(const std::string& name, const std::function<std::string(std::string)>& renew) {
    const char* root = std::getenv("HEDDLE_SOURCE_DIR");
    if (!root) GTEST_SKIP() << "HEDDLE_SOURCE_DIR is not set; run by ctest";
    const std::string path = std::string(root) + "/" + name;
    std::string text, why;
    ASSERT_TRUE(os::read_file(path, 1 << 20, &text) || std::getenv("HEDDLE_UPDATE_DOCS")) << path;
    if (std::getenv("HEDDLE_UPDATE_DOCS")) {
      ASSERT_TRUE(os::write_file_atomically(path, renew(text), 0644, &why)) << why;
    } else {
      EXPECT_EQ(text, renew(text)) << path << " is not what the option table says; run this test "
                                   << "with HEDDLE_UPDATE_DOCS=1";
    }
  }
};

TEST_F(Documents, ExampleConfigurationIsCurrent) {
  compare("deploy/config/heddled.json", [](const std::string&) { return example_json(); });
}

TEST_F(Documents, ManualPageListsEveryKey) {
  compare("deploy/man/heddled.json.5", [](const std::string& text) {
    const std::size_t begin = text.find(kBegin), end = text.find(kEnd);
    if (begin == std::string::npos || end == std::string::npos) return std::string("no markers");
    return text.substr(0, begin + kBegin.size()) + manual_keys_roff() + text.substr(end);
  });
}

TEST_F(Documents, ExampleConfigurationIsTheDefaults) {
  Options options;
  const Status status = options_from_json(example_json(), "example", &options);
  ASSERT_TRUE(status.ok()) << status.to_string();
  EXPECT_EQ(options, Options());
}

TEST_F(Documents, HelpNamesEveryFlag) {
  const std::string help = help_text();
  for (const OptionRow& row : option_table()) {
    EXPECT_NE(help.find("  " + flag_of(row) + " VALUE\n"), std::string::npos) << row.name;
  }
  std::size_t column = 0;
  for (char c : help) {
    column = c == '\n' ? 0 : column + 1;
    EXPECT_LE(column, 100u);
  }
}

}  // namespace
}  // namespace heddle::config
