// A list segment of one's own, with actors of as many owners as a test wants.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <string>
#include <string_view>
#include <vector>

#include "proto/shm/list.h"

namespace heddle::shm {

class ListSegment {
 public:
  explicit ListSegment(const ListLimits& limits)
      : bytes_(list_segment_bytes(limits)), fd_(memfd_create("list", MFD_CLOEXEC)) {
    EXPECT_EQ(ftruncate(fd_, static_cast<off_t>(bytes_)), 0);
    base_ = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
    EXPECT_NE(base_, MAP_FAILED);
    list_format(base_, limits, 7);
    EXPECT_EQ(List::attach(base_, bytes_, fd_, &list_), Outcome::kOk);
  }
  ~ListSegment() {
    munmap(base_, bytes_);
    close(fd_);
  }
  ListSegment(const ListSegment&) = delete;

  List& list() { return list_; }
  std::byte* base() { return static_cast<std::byte*>(base_); }
  int fd() const { return fd_; }
  uint64_t bytes() const { return bytes_; }

  ListActor actor(uint16_t owner) {
    ListActor a;
    a.owner = owner;
    EXPECT_EQ(list_.enter(a), Outcome::kOk);
    return a;
  }

 private:
  uint64_t bytes_;
  int fd_;
  void* base_;
  List list_;
};

inline ListLimits small_list() {
  ListLimits limits;
  limits.max_len = 5000;
  limits.max_bytes = 4 << 20;
  limits.max_value_bytes = 1 << 20;
  return limits;
}

inline Outcome change(List& l, ListActor& a, ListOp op, int64_t index, std::string_view value = "",
                      ListWritten* out = nullptr, std::string* previous = nullptr) {
  ListChange c;
  c.op = op;
  c.index = index;
  c.value = value.data();
  c.bytes = value.size();
  std::string room(previous != nullptr ? 8192 : 0, '\0');
  ListEntry entry;
  entry.room = reinterpret_cast<std::byte*>(room.data());
  entry.room_bytes = room.size();
  if (previous != nullptr) c.previous = &entry;
  ListWritten w;
  const Outcome outcome = l.change(a, c, out != nullptr ? out : &w);
  if (previous != nullptr && outcome == Outcome::kOk) *previous = room.substr(0, entry.bytes);
  return outcome;
}
inline Outcome append(List& l, ListActor& a, std::string_view value, ListWritten* out = nullptr) {
  return change(l, a, ListOp::kInsert, kListEnd, value, out);
}
inline Outcome pop(List& l, ListActor& a, int64_t index = -1, std::string* previous = nullptr) {
  return change(l, a, ListOp::kRemove, index, "", nullptr, previous);
}

/// The value, or the outcome in angle brackets.
inline std::string value_at(const List& l, int64_t index, ListEntry* entry = nullptr) {
  std::string room(64, '\0');
  ListEntry own;
  ListEntry& e = entry != nullptr ? *entry : own;
  for (;;) {
    e.room = reinterpret_cast<std::byte*>(room.data());
    e.room_bytes = room.size();
    const Outcome outcome = l.get(index, &e);
    if (outcome == Outcome::kOk) return room.substr(0, e.bytes);
    if (outcome != Outcome::kTooLarge) return "<" + std::to_string(static_cast<int>(outcome)) + ">";
    room.resize(e.bytes);
  }
}

/// All of it, by pages; a list that changes meanwhile is told in between.
inline std::vector<std::string> values_of(const List& l) {
  std::vector<std::string> values;
  std::vector<std::byte> room(1 << 16);
  for (;;) {
    ListEntry entries[100];
    ListPage page;
    const Outcome outcome = l.page(static_cast<int64_t>(values.size()), entries, 100, room.data(),
                                   room.size(), kListAnyRevision, &page);
    if (outcome == Outcome::kTooLarge) {
      room.resize(page.needed);
      continue;
    }
    EXPECT_EQ(outcome, Outcome::kOk);
    if (outcome != Outcome::kOk || page.n == 0) return values;
    for (size_t i = 0; i < page.n; ++i) {
      values.emplace_back(reinterpret_cast<char*>(entries[i].room), entries[i].bytes);
    }
  }
}

}  // namespace heddle::shm
