#include "daemon/broker/token_store.h"

#include <errno.h>

#include <charconv>

#include "daemon/os/files.h"
#include "daemon/os/log.h"

namespace heddle::broker {

TokenStore::TokenStore(const std::string& state_dir)
    : path_(state_dir.empty() ? "" : state_dir + "/lock-tokens") {}

Result<uint64_t> TokenStore::load() {
  if (path_.empty()) return uint64_t{0};
  std::string text;
  if (!os::read_file(path_, 64, &text)) {
    if (errno == ENOENT) return uint64_t{0};
    return Status::from_errno(errno, "reading " + path_);
  }
  uint64_t mark = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, mark);
  if (error != std::errc() || std::string_view(stop, static_cast<size_t>(end - stop)) != "\n") {
    return Status(Reason::kCorrupt,
                  path_ +
                      " does not hold the number that lock tokens have to stay above; write it "
                      "back, or a number above every token in use, or delete the file if no "
                      "record anywhere holds a token");
  }
  mark_ = mark;
  return mark;
}

bool TokenStore::write(uint64_t mark) {
  std::string why;
  if (os::write_file_atomically(path_, std::to_string(mark) + "\n", 0600, &why)) {
    mark_ = mark;
    complained_ = false;
    return true;
  }
  if (!complained_) {
    os::log(os::LogLevel::kError, "%s: %s; after a cold start lock tokens may come again",
            path_.c_str(), why.c_str());
    complained_ = true;
  }
  return false;
}

void TokenStore::reserve(uint64_t newest) {
  if (path_.empty() || newest + kBlock / 2 < mark_) return;
  (void)write(newest + kBlock);
}

void TokenStore::settle(uint64_t newest, bool exact) {
  if (!path_.empty()) (void)write(exact ? newest : newest + kStopBlock);
}

}  // namespace heddle::broker
