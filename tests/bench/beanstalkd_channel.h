// beanstalkd over a unix socket: put, reserve, delete, one after the other.
#ifndef HEDDLE_TESTS_BENCH_BEANSTALKD_CHANNEL_H_
#define HEDDLE_TESTS_BENCH_BEANSTALKD_CHANNEL_H_

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

#include "tests/bench/kernel_channels.h"
#include "tests/bench/pair.h"

namespace heddle::bench {

class Beanstalkd {
 public:
  Beanstalkd(const Options& options, unsigned number)
      : path_(options.socket),
        tube_("bench" + std::to_string(getpid()) + "-" + std::to_string(number)) {}
  void open_sender() {
    open();
    ask("use " + tube_ + "\r\n", "USING ");
  }
  void open_receiver() {
    open();
    ask("watch " + tube_ + "\r\n", "WATCHING ");
    ask("ignore default\r\n", "WATCHING ");
  }
  void send(const std::byte* data, size_t length) {
    std::string command = "put 0 0 60 " + std::to_string(length) + "\r\n";
    command.append(reinterpret_cast<const char*>(data), length);
    ask(command + "\r\n", "INSERTED ");
  }
  std::span<const std::byte> receive() {
    const std::string answer = ask("reserve-with-timeout 10\r\n", "RESERVED ");
    unsigned long long id = 0;
    size_t length = 0;
    if (std::sscanf(answer.c_str(), "RESERVED %llu %zu", &id, &length) != 2) fail(answer);
    body_.resize(length + 2);
    read_body();
    ask("delete " + std::to_string(id) + "\r\n", "DELETED");
    return {body_.data(), length};
  }
  void flush() {}
  void close() {}

 private:
  void open() {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path_.copy(address.sun_path, sizeof address.sun_path - 1);
    socket_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) fail(path_);
  }
  std::string ask(const std::string& command, const char* expected) {
    write_all(socket_, reinterpret_cast<const std::byte*>(command.data()), command.size());
    size_t end;
    while ((end = pending_.find("\r\n")) == pending_.npos) fill();
    std::string line = pending_.substr(0, end);
    pending_.erase(0, end + 2);
    if (!line.starts_with(expected)) fail("beanstalkd: " + line);
    return line;
  }
  void fill() {
    char buffer[65536];
    const ssize_t length = read(socket_, buffer, sizeof buffer);
    if (length <= 0) fail("beanstalkd went away");
    pending_.append(buffer, static_cast<size_t>(length));
  }
  void read_body() {
    while (pending_.size() < body_.size()) fill();
    std::memcpy(body_.data(), pending_.data(), body_.size());
    pending_.erase(0, body_.size());
  }

  std::string path_, tube_, pending_;
  int socket_ = -1;
  std::vector<std::byte> body_;
};

}  // namespace heddle::bench

#endif  // HEDDLE_TESTS_BENCH_BEANSTALKD_CHANNEL_H_
