// Those who use pipes in the kill soak, each in a process of its own.
#ifndef HEDDLE_TESTS_CRASH_SOAK_PIPE_WORKERS_H_
#define HEDDLE_TESTS_CRASH_SOAK_PIPE_WORKERS_H_

#include <sys/types.h>

#include <functional>
#include <string>

#include "tests/crash/soak/pipe_books.h"

namespace heddle::test {

struct SoakPipe {
  const char* name;
  PipeOptions options;
  int senders, receivers;
  std::uint32_t body_bytes_max;
  bool kills_receivers;
};

inline const SoakPipe kSoakPipes[kSoakMessagePipes] = {
    {"soak/small", {.resumable = true}, 3, 2, 400, true},
    // Most of them are larger than the ring.
    {"soak/large", {.capacity = 4096, .resumable = true}, 2, 2, 20'000, true},
    // Whoever receives here lives, so nothing may be missing.
    {"soak/kept", {.capacity = 8192, .resumable = true}, 2, 1, 12'000, false},
};
inline constexpr char kSoakStream[] = "soak/stream";
inline const PipeOptions kSoakStreamOptions{
    .mode = PipeMode::kBytes, .duplex = false, .capacity = 4096, .resumable = true};

Client soak_client(const std::string& dir);
// Forks; the child runs `work` with its own connection and ends with it, or with this process.
pid_t soak_process(Books& books, const std::string& dir, const std::function<void(Client&)>& work);

// These go on until they are killed.
void soak_send(Books& books, Client& client, int pipe, unsigned seed);
void soak_send_stream(Books& books, Client& client, unsigned seed);
void soak_receive_stream(Books& books, Client& client, unsigned seed);
// Until they are killed, or `books.over`.
void soak_receive(Books& books, Client& client, int pipe, unsigned seed);
// Connections whose one end dies or closes, until `books.over`. Not to be killed.
void soak_judge(Books& books, Client& client, const std::string& dir, unsigned seed);

}  // namespace heddle::test

#endif  // HEDDLE_TESTS_CRASH_SOAK_PIPE_WORKERS_H_
