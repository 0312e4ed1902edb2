#include "tests/support/temp_dir.h"

#include <cstdio>
#include <cstdlib>

namespace heddle::test {

TempDir::TempDir() {
  const char* base = std::getenv("TMPDIR");
  std::string pattern = std::string(base && *base ? base : "/tmp") + "/heddle-XXXXXX";
  if (mkdtemp(pattern.data()) == nullptr) {
    std::perror(("mkdtemp " + pattern).c_str());
    std::abort();
  }
  path_ = pattern;
}

TempDir::~TempDir() {
  std::error_code ignored;  // what cannot be removed shows up in the leak check of the run
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace heddle::test
