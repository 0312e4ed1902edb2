// A broker for the supervisor's tests: speaks the keeper protocol and obeys text commands that
// arrive on local.sock, one packet a command. FAKE_BROKER says how it misbehaves.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <map>
#include <sstream>
#include <string>

#include "proto/local/keeper.h"

namespace {

using heddle::local::Fd;
using heddle::local::Keeper;
using heddle::local::KeeperEvent;
using heddle::local::Kept;
using heddle::local::KeptKind;
using heddle::local::ListenerKind;

struct Broker {
  explicit Broker(Fd socket) : keeper(std::move(socket)) {}
  Keeper keeper;
  std::map<std::uint64_t, Fd> kept;
  std::string labels;  // in the order in which they came back
  std::string config;
  std::string listeners;
  Fd accepting;
  std::string mode;
  bool answers_pings = true;
};

std::string keep(Broker& broker, std::uint64_t key, const std::string& text) {
  Fd fd(::memfd_create("fake", MFD_CLOEXEC));
  if (::write(fd.get(), text.data(), text.size()) < 0) return "write failed";
  const auto kind = text == "catalog" ? KeptKind::kCatalog : KeptKind::kMemory;
  const auto result = broker.keeper.keep(kind, key, fd.get(), text);
  broker.kept[key] = std::move(fd);
  return result.ok() ? "ok" : std::string(result.text()) + " " + std::to_string(result.error);
}

std::string contents(const Fd& fd) {
  char text[256];
  const ssize_t n = ::pread(fd.get(), text, sizeof text, 0);
  return n < 0 ? "unreadable" : std::string(text, static_cast<std::size_t>(n));
}

// A grandchild whose parent has gone: it falls to the supervisor.
std::string make_orphan() {
  int ends[2];
  if (::pipe(ends) != 0) return "no pipe";
  if (::fork() == 0) {
    if (::fork() == 0) {
      ::close(ends[0]);
      const pid_t pid = ::getpid();
      [[maybe_unused]] auto n = ::write(ends[1], &pid, sizeof pid);
    }
    ::_exit(0);
  }
  ::close(ends[1]);
  pid_t pid = 0;
  [[maybe_unused]] auto n = ::read(ends[0], &pid, sizeof pid);
  ::close(ends[0]);
  return std::to_string(pid);
}

std::string obey(Broker& broker, const std::string& line) {
  std::istringstream words(line);
  std::string verb, text;
  std::uint64_t key = 0;
  words >> verb >> key >> text;
  if (verb == "pid") return std::to_string(::getpid());
  if (verb == "keep") return keep(broker, key, text);
  if (verb == "keep_many") {
    for (std::uint64_t i = 0; i < key; ++i) keep(broker, 1000 + i, "many");
    return "ok";
  }
  if (verb == "drop") {
    const auto result = broker.keeper.drop(KeptKind::kMemory, key);
    return std::string(result.text()) + " " + std::to_string(result.error);
  }
  if (verb == "count") return std::to_string(broker.kept.size());
  if (verb == "read") return contents(broker.kept[key]);
  if (verb == "labels") return broker.labels;
  if (verb == "config") return broker.config;
  if (verb == "listeners") return broker.listeners;
  if (verb == "orphan") return make_orphan();
  if (verb == "status") return broker.keeper.status("fake says hello").text();
  if (verb == "mute") broker.answers_pings = false;
  if (verb == "stubborn") broker.mode = "stubborn";
  return "ok";
}

void serve_client(Broker& broker) {
  const Fd client(::accept4(broker.accepting.get(), nullptr, nullptr, SOCK_CLOEXEC));
  char line[512];
  const ssize_t n = client ? ::recv(client.get(), line, sizeof line, 0) : 0;
  if (n <= 0) return;
  const std::string reply = obey(broker, std::string(line, static_cast<std::size_t>(n)));
  ::send(client.get(), reply.data(), reply.size(), MSG_NOSIGNAL);
}

bool take_over(Broker& broker) {
  std::vector<Kept> listeners;
  if (!broker.keeper.config(&broker.config).ok() || !broker.keeper.listeners(&listeners).ok()) {
    return false;
  }
  for (Kept& listener : listeners) {
    broker.listeners += listener.kind + std::string(" ") + listener.label + "\n";
    if (listener.kind == static_cast<char>(ListenerKind::kLocal)) {
      broker.accepting = std::move(listener.fd);
    }
  }
  return broker.keeper
      .return_all([&](Kept kept) {
        if (broker.labels.size() < 400) broker.labels += kept.kind + (" " + kept.label) + "\n";
        broker.kept[kept.key] = std::move(kept.fd);
      })
      .ok();
}

int serve(Broker& broker) {
  while (true) {
    pollfd fds[2] = {{broker.keeper.poll_fd(), POLLIN, 0}, {broker.accepting.get(), POLLIN, 0}};
    ::poll(fds, 2, -1);
    KeeperEvent event;
    while (broker.keeper.next_event(&event)) {
      switch (event.kind) {
        case KeeperEvent::Kind::kGone: return 9;
        case KeeperEvent::Kind::kPing:
          if (broker.answers_pings) (void)broker.keeper.pong(event.ping);
          break;
        case KeeperEvent::Kind::kConfig: broker.config = event.text; break;
        case KeeperEvent::Kind::kStop:
          (void)broker.keeper.stopping();
          if (broker.mode != "stubborn") return 0;
      }
    }
    if (fds[1].revents & POLLIN) serve_client(broker);
  }
}

}  // namespace

int main() {
  Fd socket = Keeper::socket_from_environment();
  if (!socket) return 8;
  const char* mode = ::getenv("FAKE_BROKER");
  Broker broker(std::move(socket));
  broker.mode = mode ? mode : "";
  if (broker.mode == "die") return 7;
  if (broker.mode == "hang") ::pause();
  if (!take_over(broker) || !broker.accepting || !broker.keeper.ready().ok()) return 6;
  return serve(broker);
}
