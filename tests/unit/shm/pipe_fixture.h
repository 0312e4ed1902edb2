// A pipe in memory of its own, for tests of the memory protocol.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <string>

#include "proto/shm/pipe.h"
#include "proto/shm/pipe_map.h"

namespace heddle::shm {

inline constexpr uint16_t kOwnerA = 1, kOwnerB = 2;

inline PipeOptions small_pipe(PipeMode mode = PipeMode::kMessage) {
  PipeOptions options;
  options.capacity = kPipeCapacityMin;
  options.max_msg_bytes = 100'000;
  options.mode = mode;
  return options;
}

class PipeSegment {
 public:
  explicit PipeSegment(const PipeOptions& options) : options_(options) {
    fd_ = memfd_create("pipe", MFD_CLOEXEC);
    EXPECT_EQ(ftruncate(fd_, static_cast<off_t>(pipe_segment_bytes(options))), 0);
    base_ = map_pipe(fd_, options);
    EXPECT_NE(base_, nullptr);
    pipe_format(base_, options, 1);
  }
  ~PipeSegment() {
    unmap_pipe(base_, options_);
    close(fd_);
  }
  PipeSegment(const PipeSegment&) = delete;

  std::byte* base() { return static_cast<std::byte*>(base_); }
  Pipe view(PipeSide side) {
    Pipe pipe;
    EXPECT_EQ(Pipe::attach(base_, options_, side, &pipe), Outcome::kOk);
    return pipe;
  }
  /// The end as `owner` uses it.
  Pipe enter(PipeSide side, uint16_t owner) {
    Pipe pipe = view(side);
    EXPECT_EQ(pipe.enter(owner), Outcome::kOk);
    return pipe;
  }

 private:
  const PipeOptions options_;
  int fd_ = -1;
  void* base_ = nullptr;
};

inline PipeActor pipe_actor(uint16_t owner) {
  PipeActor a;
  a.owner = owner;
  return a;
}

inline Outcome send(Pipe& pipe, PipeActor& a, const std::string& body, int64_t deadline_ns = kTry) {
  uint64_t sent = 0;
  const Outcome outcome = pipe.send(a, {body.data(), body.size(), 3}, deadline_ns, &sent);
  if (outcome == Outcome::kOk && pipe.options().mode == PipeMode::kMessage) {
    EXPECT_EQ(sent, body.size());
  }
  return outcome;
}

/// What was received, or "<outcome>".
inline std::string receive(Pipe& pipe, PipeActor& a, int64_t deadline_ns = kTry,
                           uint64_t room = 200'000) {
  std::string body(room, '\0');
  Inbox in;
  in.to = reinterpret_cast<std::byte*>(body.data());
  in.capacity = room;
  const Outcome outcome = pipe.receive(a, &in, deadline_ns);
  if (outcome != Outcome::kOk) return "<" + std::to_string(static_cast<int>(outcome)) + ">";
  if (pipe.options().mode == PipeMode::kMessage) {
    EXPECT_EQ(in.kind, 3);
  }
  body.resize(in.length);
  return body;
}

inline std::string said(Outcome outcome) {
  return "<" + std::to_string(static_cast<int>(outcome)) + ">";
}

}  // namespace heddle::shm
