// A directory of one's own, gone with everything in it when the object goes.
#ifndef HEDDLE_TESTS_SUPPORT_TEMP_DIR_H_
#define HEDDLE_TESTS_SUPPORT_TEMP_DIR_H_

#include <filesystem>
#include <string>

namespace heddle::test {

class TempDir {
 public:
  // Below $TMPDIR or /tmp; the path is short enough for a unix socket. Aborts on failure.
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::string file(const std::string& name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

}  // namespace heddle::test

#endif  // HEDDLE_TESTS_SUPPORT_TEMP_DIR_H_
