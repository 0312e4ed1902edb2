// heddle_bench_objects WORK ARGUMENT...: many queues, for the footprint. The daemon is the one that
// HEDDLE_RUNTIME_DIR names.
//   make NAME MAX_LEN     one queue
//   create N | delete N   N queues, one after the other
//   churn N               N times create and delete
//   fill N MESSAGES       MESSAGES of 64 B into the N queues, evenly
//   restart PID N         kills the broker PID; milliseconds until N queues are listed and a new
//                         one is made, and the messages they hold then
#include <heddle/heddle.h>

#include <csignal>
#include <cstdlib>
#include <map>
#include <string>
#include <thread>

#include "tests/bench/pair.h"

namespace heddle::bench {
namespace {

using Arguments = std::vector<std::string>;

constexpr char kPrefix[] = "bench-idle/";
constexpr size_t kBodyBytes = 64;
constexpr double kGiveUpMs = 30'000;

Client connect() { return Client::connect({.timeout = std::chrono::seconds(10)}).value(); }
std::string name_of(uint64_t i) { return kPrefix + std::to_string(i); }

void make(const Arguments& given) {
  QueueOptions options;
  options.max_len = std::stoul(given.at(1));
  options.open_existing = true;
  connect().create_queue(given.at(0), options).or_throw();
}

void create(const Arguments& given) {
  Client client = connect();
  for (uint64_t i = 0, n = std::stoul(given.at(0)); i < n; ++i) {
    client.create_queue(name_of(i)).or_throw();
  }
}

void erase(const Arguments& given) {
  Client client = connect();
  for (uint64_t i = 0, n = std::stoul(given.at(0)); i < n; ++i) {
    client.delete_queue(name_of(i)).or_throw();
  }
}

void churn(const Arguments& given) {
  Client client = connect();
  for (uint64_t i = 0, n = std::stoul(given.at(0)); i < n; ++i) {
    client.create_queue(name_of(i)).or_throw();
    client.delete_queue(name_of(i)).or_throw();
  }
}

void fill(const Arguments& given) {
  Client client = connect();
  const uint64_t queues = std::stoul(given.at(0)), each = std::stoul(given.at(1)) / queues;
  const std::string body(kBodyBytes, 'x');
  for (uint64_t i = 0; i < queues; ++i) {
    Queue queue = client.queue(name_of(i)).value();
    for (uint64_t k = 0; k < each; ++k) queue.put(body).or_throw();
  }
}

uint64_t messages_of(const std::vector<QueueInfo>& queues) {
  uint64_t messages = 0;
  for (const QueueInfo& queue : queues) messages += queue.counts.ready + queue.counts.returned;
  return messages;
}

void restart(const Arguments& given) {
  Client client = connect();
  const uint64_t expected = std::stoul(given.at(1));
  const uint32_t incarnation = client.status().value().incarnation;
  const int64_t begin = now_ns();
  kill(static_cast<pid_t>(std::stol(given.at(0))), SIGKILL);
  for (;;) {
    const double ms = double(now_ns() - begin) / 1e6;
    if (ms > kGiveUpMs) fail("no broker came back");
    auto status = client.status();
    if (!status || status->incarnation == incarnation) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      continue;
    }
    if (!client.create_queue("bench-after-restart")) continue;
    auto queues = client.list(kPrefix);
    if (!queues || queues->size() != expected) fail("queues were lost");
    report({{"ms", double(now_ns() - begin) / 1e6}, {"messages", double(messages_of(*queues))}});
    client.delete_queue("bench-after-restart").or_throw();
    return;
  }
}

}  // namespace
}  // namespace heddle::bench

int main(int argc, char** argv) {
  using namespace heddle::bench;
  const std::map<std::string, void (*)(const Arguments&)> works = {
      {"make", make},   {"create", create}, {"delete", erase},
      {"churn", churn}, {"fill", fill},     {"restart", restart}};
  const auto work = argc < 3 ? works.end() : works.find(argv[1]);
  if (work == works.end()) fail("usage: make|create|delete|churn|fill|restart ARGUMENT...");
  try {
    work->second(Arguments(argv + 2, argv + argc));
  } catch (const std::exception& error) {
    fail(error.what());
  }
}
