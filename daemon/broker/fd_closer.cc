#include "daemon/broker/fd_closer.h"

#include <errno.h>
#include <sys/socket.h>

#include <deque>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

namespace heddle::broker {
namespace {

struct Queue {
  std::mutex mutex;
  std::deque<local::Fd> fds;
  bool running = false;
};

// Never destroyed: the thread may be in it when the process ends.
Queue& queue() {
  static auto* const only = new Queue;
  return *only;
}

void run() {
  for (;;) {
    local::Fd next;  // closed after the lock has gone
    std::lock_guard lock(queue().mutex);
    if (queue().fds.empty()) {
      queue().running = false;
      return;
    }
    next = std::move(queue().fds.front());
    queue().fds.pop_front();
  }
}

// A bundle that was emptied, as most are: nothing but the socket goes.
bool closes_at_once(int fd) {
  int domain = 0;
  socklen_t bytes = sizeof domain;
  if (::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &bytes) != 0 || domain != AF_UNIX) {
    return false;
  }
  char byte;
  return ::recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

}  // namespace

Bundle hold_bundle(local::Fd fd) {
  auto owned = std::make_unique<local::Fd>(std::move(fd));
  return Bundle(owned.release(), [](local::Fd* last) {
    const std::unique_ptr<local::Fd> mine(last);
    if (*mine) close_apart(mine->release());
  });
}

void close_apart(int number) {
  local::Fd fd(number);
  if (closes_at_once(number)) return;
  std::lock_guard lock(queue().mutex);
  queue().fds.push_back(std::move(fd));
  if (queue().running) return;
  try {
    std::thread(run).detach();
    queue().running = true;
  } catch (const std::system_error&) {
    // No thread to be had: with the next one that is closed.
  }
}

}  // namespace heddle::broker
