// ZeroMQ PUSH and PULL over ipc://. Its I/O threads batch: it uses more than two threads.
#ifndef HEDDLE_TESTS_BENCH_ZEROMQ_CHANNEL_H_
#define HEDDLE_TESTS_BENCH_ZEROMQ_CHANNEL_H_

#include <unistd.h>
#include <zmq.h>

#include "tests/bench/pair.h"

namespace heddle::bench {

class ZeroMq {
 public:
  ZeroMq(const Options& options, unsigned number)
      : address_("ipc:///tmp/heddle_bench_" + std::to_string(getpid()) + "_" +
                 std::to_string(number)),
        buffer_(options.bytes) {}
  // Returns once the receiver is there.
  void open_sender() {
    open(ZMQ_PUSH, false);
    zmq_pollitem_t writable{socket_, 0, ZMQ_POLLOUT, 0};
    if (zmq_poll(&writable, 1, kConnectMs) != 1) fail(address_ + ": nobody listens");
  }
  void open_receiver() { open(ZMQ_PULL, true); }
  void send(const std::byte* data, size_t length) {
    if (zmq_send(socket_, data, length, 0) < 0) fail(zmq_strerror(zmq_errno()));
  }
  std::span<const std::byte> receive() {
    const int length = zmq_recv(socket_, buffer_.data(), buffer_.size(), 0);
    if (length < 0) fail(zmq_strerror(zmq_errno()));
    return {buffer_.data(), static_cast<size_t>(length)};
  }
  void flush() {}
  void close() { unlink(address_.c_str() + sizeof "ipc://" - 1); }
  // Delivers what the I/O thread still holds.
  void finish() {
    zmq_close(socket_);
    zmq_ctx_term(context_);
  }

 private:
  static constexpr long kConnectMs = 10'000;
  void open(int kind, bool listens) {
    context_ = zmq_ctx_new();
    socket_ = zmq_socket(context_, kind);
    const int on = 1, retry_ms = 1;
    zmq_setsockopt(socket_, ZMQ_IMMEDIATE, &on, sizeof on);  // queue for connections only
    zmq_setsockopt(socket_, ZMQ_RECONNECT_IVL, &retry_ms, sizeof retry_ms);
    const int result =
        listens ? zmq_bind(socket_, address_.c_str()) : zmq_connect(socket_, address_.c_str());
    if (result != 0) fail(address_ + ": " + zmq_strerror(zmq_errno()));
  }

  std::string address_;
  void* context_ = nullptr;
  void* socket_ = nullptr;
  std::vector<std::byte> buffer_;
};

}  // namespace heddle::bench

#endif  // HEDDLE_TESTS_BENCH_ZEROMQ_CHANNEL_H_
