// A dict segment of one's own, with actors of as many owners as a test wants.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <string_view>

#include "proto/shm/dict.h"

namespace heddle::shm {

inline constexpr uint64_t kTestSeed = 0x1234567890abcdef;

class DictSegment {
 public:
  explicit DictSegment(const DictLimits& limits, uint64_t hash_mask = ~uint64_t{0})
      : bytes_(dict_segment_bytes(limits)), fd_(memfd_create("dict", MFD_CLOEXEC)) {
    EXPECT_EQ(ftruncate(fd_, static_cast<off_t>(bytes_)), 0);
    base_ = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
    EXPECT_NE(base_, MAP_FAILED);
    dict_format(base_, limits, 7, kTestSeed, hash_mask);
    EXPECT_EQ(Dict::attach(base_, bytes_, fd_, &dict_), Outcome::kOk);
  }
  ~DictSegment() {
    munmap(base_, bytes_);
    close(fd_);
  }
  DictSegment(const DictSegment&) = delete;

  Dict& dict() { return dict_; }
  std::byte* base() { return static_cast<std::byte*>(base_); }
  int fd() const { return fd_; }
  uint64_t bytes() const { return bytes_; }

  DictActor actor(uint16_t owner) {
    DictActor a;
    a.owner = owner;
    EXPECT_EQ(dict_.enter(a), Outcome::kOk);
    return a;
  }

 private:
  uint64_t bytes_;
  int fd_;
  void* base_;
  Dict dict_;
};

inline DictLimits small_dict() {
  DictLimits limits;
  limits.max_entries = 2000;
  limits.max_bytes = 4 << 20;
  limits.max_value_bytes = 1 << 20;
  limits.history = 16;
  return limits;
}

inline DictKey key_of(std::string_view key) {
  return {key.data(), static_cast<uint32_t>(key.size())};
}

inline Outcome put(Dict& d, DictActor& a, std::string_view key, std::string_view value,
                   DictWritten* out = nullptr) {
  return d.set(a, key_of(key), value.data(), value.size(), DictKind::kBytes, out);
}

inline Outcome drop(Dict& d, DictActor& a, std::string_view key, DictWritten* out = nullptr) {
  return d.erase(a, key_of(key), out);
}

/// The value, or the outcome in angle brackets.
inline std::string value_of(const Dict& d, std::string_view key, DictEntry* entry = nullptr,
                            DictActor* helper = nullptr) {
  std::string room(64, '\0');
  DictEntry own;
  DictEntry& e = entry != nullptr ? *entry : own;
  for (;;) {
    e.room = reinterpret_cast<std::byte*>(room.data());
    e.room_bytes = room.size();
    const Outcome outcome = d.get(key_of(key), &e, helper);
    if (outcome == Outcome::kOk) return room.substr(0, e.bytes);
    if (outcome != Outcome::kTooLarge) return "<" + std::to_string(static_cast<int>(outcome)) + ">";
    room.resize(e.bytes);
  }
}
inline const std::string kAbsent = "<" + std::to_string(static_cast<int>(Outcome::kNotFound)) + ">";

}  // namespace heddle::shm
