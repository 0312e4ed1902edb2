// Where programs write down what they do: memory that they share, so that it outlives a SIGKILL.
#pragma once

#include <atomic>
#include <vector>

#include "tests/crash/history/history.h"

namespace heddle::history {

int64_t now_ns();

class Recorder;

/// Made before the processes that share it.
class Archive {
 public:
  explicit Archive(size_t records_max);
  ~Archive();
  Archive(const Archive&) = delete;

  /// All that was written, in the order of each process's calls. Nobody may write any more.
  std::vector<Record> read() const;
  bool full() const;

 private:
  friend class Recorder;
  static constexpr uint32_t kPerChunk = 64;
  struct Chunk {
    std::atomic<uint32_t> used;
    Record records[kPerChunk];
  };
  struct Header {
    std::atomic<uint64_t> chunks_used;
  };
  Header* header_;
  Chunk* chunks_;
  size_t chunks_max_, bytes_;
};

/// One process's pen; one thread.
class Recorder {
 public:
  Recorder(Archive& archive, uint32_t process) : archive_(archive), process_(process) {}

  /// Before the call. Null when the archive is full: then do nothing.
  Record* call(uint16_t object, Op op, Mode mode = Mode::kExclusive, uint32_t n = 1);
  /// After it.
  static void end(Record& record, End end, uint64_t token = 0, bool abandoned = false);

 private:
  Archive& archive_;
  const uint32_t process_;
  Archive::Chunk* chunk_ = nullptr;
};

}  // namespace heddle::history
