// The books of the pipes' kill soak, in memory shared by all of its processes, and what a message
// looks like that can be checked by itself.
#ifndef HEDDLE_TESTS_CRASH_SOAK_PIPE_BOOKS_H_
#define HEDDLE_TESTS_CRASH_SOAK_PIPE_BOOKS_H_

#include <heddle/heddle.h>
#include <sys/mman.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <map>
#include <new>
#include <span>
#include <vector>

namespace heddle::test {

inline constexpr std::uint64_t kSoakMessagesMax = 16 << 20;  // of one pipe
inline constexpr std::uint64_t kSoakMix = 0x9E37'79B9'7F4A'7C15;

inline std::uint64_t mixed(std::uint64_t n) {
  n = (n ^ (n >> 30)) * 0xBF58'476D'1CE4'E5B9;
  n = (n ^ (n >> 27)) * 0x94D0'49BB'1331'11EB;
  return n ^ (n >> 31);
}

enum class Fate : std::uint8_t {
  kUnknown,    // its sender was killed meanwhile, or is at it
  kSent,       // its sender was told so
  kWithdrawn,  // there was no room in time, so it must not come
};

// Of one pipe. Each message has a number of its own.
struct PipeBooks {
  std::atomic<std::uint64_t> next_number{0};
  std::atomic<std::uint32_t> next_sender{1};
  std::atomic<std::uint64_t> sender_kills{0}, receiver_kills{0};
  std::atomic<std::uint64_t> received{0}, received_large{0}, bytes{0};
  std::array<std::atomic<Fate>, kSoakMessagesMax> fate;
  std::array<std::atomic<std::uint8_t>, kSoakMessagesMax> seen;
};

inline constexpr int kSoakMessagePipes = 3;

struct Books {
  std::array<PipeBooks, kSoakMessagePipes> pipes;
  std::atomic<std::uint64_t> stream_bytes{0}, stream_kills{0};
  std::atomic<std::uint64_t> rounds{0}, deaths_told{0}, clean_ends_told{0}, broken_told{0};
  std::atomic<bool> over{false};  // for those that are not killed
  std::atomic<std::uint32_t> wrong{0};
  std::array<char, 300> why{};

  // Of the first only is it told why.
  void complain(const char* what, const std::string& details) {
    if (wrong++ == 0) std::snprintf(why.data(), why.size(), "%s: %s", what, details.c_str());
  }
  void complain(const char* what, const Status& status) { complain(what, status.to_string()); }

  static Books* make() {
    void* memory = mmap(nullptr, sizeof(Books), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return memory == MAP_FAILED ? nullptr : new (memory) Books;
  }
};

// In front of each body. The checksum covers the rest of the head and the body.
struct MessageHead {
  std::uint64_t checksum;
  std::uint64_t number;
  std::uint64_t sequence;  // of this sender, from 1
  std::uint32_t sender;
  std::uint32_t body_bytes;
};

inline std::uint64_t checksum_of(std::span<const std::byte> bytes) {
  std::uint64_t sum = bytes.size();
  std::size_t i = 0;
  for (; i + 8 <= bytes.size(); i += 8) {
    std::uint64_t word;
    std::memcpy(&word, bytes.data() + i, sizeof word);
    sum = (sum ^ word) * kSoakMix + (sum >> 47);
  }
  for (; i < bytes.size(); ++i) sum = (sum ^ static_cast<std::uint64_t>(bytes[i])) * kSoakMix;
  return sum;
}

// The whole of a message in `to`, which has room for head and body.
inline void write_message(MessageHead head, std::span<std::byte> to) {
  for (std::size_t i = 0; i < head.body_bytes; ++i) {
    to[sizeof head + i] = static_cast<std::byte>(mixed(head.number + i / 64) >> (i % 8 * 8));
  }
  std::memcpy(to.data(), &head, sizeof head);
  head.checksum = checksum_of(to.subspan(sizeof head.checksum));
  std::memcpy(to.data(), &head, sizeof head.checksum);
}

// Null, or what is wrong with it.
inline const char* read_message(std::span<const std::byte> from, MessageHead* head) {
  if (from.size() < sizeof *head) return "shorter than its head";
  std::memcpy(head, from.data(), sizeof *head);
  if (from.size() != sizeof *head + head->body_bytes) return "not as long as it was sent";
  if (head->checksum != checksum_of(from.subspan(sizeof head->checksum))) return "a wrong checksum";
  return nullptr;
}

// What one receiver has got: in order per sender, each once, none that was withdrawn.
class Ledger {
 public:
  Ledger(Books& books, int pipe, bool alone) : books_(books), pipe_(pipe), alone_(alone) {}

  void enter(std::span<const std::byte> message) {
    PipeBooks& pipe = books_.pipes[pipe_];
    MessageHead head;
    if (const char* wrong = read_message(message, &head)) return books_.complain("message", wrong);
    const std::string which = "pipe " + std::to_string(pipe_) + ", sender " +
                              std::to_string(head.sender) + ", message " +
                              std::to_string(head.sequence);
    if (head.number >= kSoakMessagesMax) return books_.complain("nobody's number", which);
    if (pipe.seen[head.number].exchange(1) != 0) return books_.complain("twice", which);
    if (pipe.fate[head.number] == Fate::kWithdrawn) return books_.complain("withdrawn", which);
    std::uint64_t& last = last_[head.sender];
    if (head.sequence <= last) return books_.complain("out of order", which);
    if (alone_ && head.sequence != last + 1) return books_.complain("one is missing before", which);
    last = head.sequence;
    ++pipe.received;
    if (head.body_bytes > 4096) ++pipe.received_large;
    pipe.bytes += message.size();
  }

 private:
  Books& books_;
  const int pipe_;
  const bool alone_;  // it gets all that comes through this pipe
  std::map<std::uint32_t, std::uint64_t> last_;
};

// A stream whose byte at position p follows from p.
inline void write_stream(std::uint64_t position, std::span<std::byte> to) {
  for (std::size_t i = 0; i < to.size(); ++i) {
    const std::uint64_t at = position + i;
    to[i] = static_cast<std::byte>(mixed(at / 8) >> (at % 8 * 8));
  }
}

inline bool is_stream(std::uint64_t position, std::span<const std::byte> from) {
  for (std::size_t i = 0; i < from.size(); ++i) {
    const std::uint64_t at = position + i;
    if (from[i] != static_cast<std::byte>(mixed(at / 8) >> (at % 8 * 8))) return false;
  }
  return true;
}

}  // namespace heddle::test

#endif  // HEDDLE_TESTS_CRASH_SOAK_PIPE_BOOKS_H_
