// A Redis list over a unix socket: LPUSH and BRPOP, or 64 commands in flight and RPOP of 64.
#ifndef HEDDLE_TESTS_BENCH_REDIS_CHANNEL_H_
#define HEDDLE_TESTS_BENCH_REDIS_CHANNEL_H_

#include <hiredis/hiredis.h>
#include <unistd.h>

#include <cstring>
#include <memory>

#include "tests/bench/pair.h"

namespace heddle::bench {

class Redis {
 public:
  Redis(const Options& options, unsigned number)
      : socket_(options.socket),
        key_("bench" + std::to_string(getpid()) + "-" + std::to_string(number)) {}
  void open_sender() { open(); }
  void open_receiver() { open(); }
  void send(const std::byte* data, size_t length) {
    push(data, length);
    await_length();
  }
  std::span<const std::byte> receive() {
    reply_ = ask("BRPOP %s 10", key_.c_str());
    if (reply_->type != REDIS_REPLY_ARRAY) fail("BRPOP gave nothing");
    return body_of(reply_->element[1]);
  }
  void flush() {}
  void close() {}

 protected:
  struct Free {
    void operator()(redisReply* reply) const { freeReplyObject(reply); }
  };
  using Reply = std::unique_ptr<redisReply, Free>;

  static std::span<const std::byte> body_of(const redisReply* reply) {
    return {reinterpret_cast<const std::byte*>(reply->str), reply->len};
  }
  template <class... Arguments>
  Reply ask(const char* format, Arguments... arguments) {
    redisAppendCommand(context_, format, arguments...);
    return next();
  }
  Reply next() {
    void* reply = nullptr;
    if (redisGetReply(context_, &reply) != REDIS_OK)
      fail(std::string("redis: ") + context_->errstr);
    return Reply(static_cast<redisReply*>(reply));
  }
  void push(const std::byte* data, size_t length) {
    redisAppendCommand(context_, "LPUSH %s %b", key_.c_str(), data, length);
  }
  // LPUSH answers with the length of the list; a list has no end, so a long one is waited for.
  void await_length() {
    const Reply reply = next();
    if (reply->type != REDIS_REPLY_INTEGER) fail("LPUSH was refused");
    if (reply->integer > kLengthMax) usleep(500);
  }

  static constexpr long long kLengthMax = 20'000;
  std::string socket_, key_;
  redisContext* context_ = nullptr;
  Reply reply_;

 private:
  void open() {
    context_ = redisConnectUnix(socket_.c_str());
    if (context_ == nullptr || context_->err != 0) fail("redis: no connection to " + socket_);
  }
};

class RedisPipelined : public Redis {
 public:
  using Redis::Redis;
  void send(const std::byte* data, size_t length) {
    push(data, length);
    if (++in_flight_ == kInFlight) flush();
  }
  void flush() {
    for (; in_flight_ > 0; --in_flight_) await_length();
  }
  std::span<const std::byte> receive() {
    while (reply_ == nullptr || next_ == reply_->elements) {
      reply_ = ask("RPOP %s %d", key_.c_str(), kInFlight);
      next_ = 0;
    }
    return body_of(reply_->element[next_++]);
  }

 private:
  static constexpr int kInFlight = 64;
  int in_flight_ = 0;
  size_t next_ = 0;
};

}  // namespace heddle::bench

#endif  // HEDDLE_TESTS_BENCH_REDIS_CHANNEL_H_
