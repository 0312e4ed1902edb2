// A unix socket in front of another one, which can lose what passes through it.
#ifndef HEDDLE_TESTS_INTEGRATION_GRPC_RELAY_H_
#define HEDDLE_TESTS_INTEGRATION_GRPC_RELAY_H_

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace heddle::test {

class Relay {
 public:
  Relay(const std::string& path, std::string target) : target_(std::move(target)) {
    const sockaddr_un address = address_of(path);
    listener_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)!::bind(listener_, reinterpret_cast<const sockaddr*>(&address), sizeof address);
    (void)!::listen(listener_, 16);
    acceptor_ = std::thread([this] { accept_all(); });
  }
  ~Relay() {
    over_ = true;
    ::shutdown(listener_, SHUT_RDWR);
    acceptor_.join();
    cut();
    for (std::thread& pump : pumps_) pump.join();
    ::close(listener_);
  }

  // Nothing passes, either way, until it is set back; what came meanwhile then does.
  void freeze(bool on) { frozen_ = on; }
  // What the server says is thrown away.
  void deafen(bool on) { deaf_ = on; }
  // Every connection breaks.
  void cut() {
    std::lock_guard lock(mutex_);
    for (const int fd : open_) ::shutdown(fd, SHUT_RDWR);
    open_.clear();
  }

 private:
  static sockaddr_un address_of(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    return address;
  }

  void accept_all() {
    const sockaddr_un address = address_of(target_);
    for (int client;
         !over_ && (client = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC)) >= 0;) {
      const int server = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
      if (::connect(server, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        ::close(server);
        ::close(client);
        continue;
      }
      std::lock_guard lock(mutex_);
      open_.push_back(client);
      open_.push_back(server);
      pumps_.emplace_back([this, client, server] { pump(client, server); });
    }
  }

  void pump(int client, int server) {
    for (bool more = true; more && !over_;) {
      if (frozen_) {
        ::usleep(5'000);
        continue;
      }
      pollfd fds[] = {{client, POLLIN, 0}, {server, POLLIN, 0}};
      if (::poll(fds, 2, 20) <= 0 || frozen_) continue;
      if (fds[0].revents != 0) more = pass(client, server, false);
      if (more && fds[1].revents != 0) more = pass(server, client, deaf_);
    }
    std::lock_guard lock(mutex_);
    for (const int fd : {client, server}) {
      std::erase(open_, fd);
      ::close(fd);
    }
  }
  static bool pass(int from, int to, bool lose) {
    char buffer[65'536];
    const ssize_t got = ::read(from, buffer, sizeof buffer);
    if (got <= 0) return false;
    for (ssize_t sent = 0; !lose && sent < got;) {
      const ssize_t n = ::send(to, buffer + sent, static_cast<size_t>(got - sent), MSG_NOSIGNAL);
      if (n <= 0) return false;
      sent += n;
    }
    return true;
  }

  const std::string target_;
  int listener_ = -1;
  std::atomic<bool> frozen_{false}, deaf_{false}, over_{false};
  std::thread acceptor_;
  std::mutex mutex_;
  std::vector<int> open_;
  std::vector<std::thread> pumps_;
};

}  // namespace heddle::test

#endif  // HEDDLE_TESTS_INTEGRATION_GRPC_RELAY_H_
