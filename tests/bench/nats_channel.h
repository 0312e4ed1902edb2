// NATS core over loopback; it has no unix socket and no flow control.
#ifndef HEDDLE_TESTS_BENCH_NATS_CHANNEL_H_
#define HEDDLE_TESTS_BENCH_NATS_CHANNEL_H_

#include <nats/nats.h>
#include <unistd.h>

#include "tests/bench/pair.h"

namespace heddle::bench {

class Nats {
 public:
  Nats(const Options& options, unsigned number)
      : url_(options.socket),
        gathers_(options.work == "rate"),
        subject_("bench" + std::to_string(getpid()) + "." + std::to_string(number)) {}
  void open_sender() {
    natsOptions* options = nullptr;
    check(natsOptions_Create(&options));
    check(natsOptions_SetURL(options, url_.c_str()));
    check(natsOptions_SetSendAsap(options, !gathers_));
    check(natsConnection_Connect(&connection_, options));
    natsOptions_Destroy(options);
  }
  void open_receiver() {
    check(natsConnection_ConnectTo(&connection_, url_.c_str()));
    check(natsConnection_SubscribeSync(&subscription_, connection_, subject_.c_str()));
    check(natsSubscription_SetPendingLimits(subscription_, -1, -1));
    check(natsConnection_Flush(connection_));
  }
  void send(const std::byte* data, size_t length) {
    check(natsConnection_Publish(connection_, subject_.c_str(), data, static_cast<int>(length)));
  }
  std::span<const std::byte> receive() {
    natsMsg_Destroy(message_);
    check(natsSubscription_NextMsg(&message_, subscription_, kWaitMs));
    return {reinterpret_cast<const std::byte*>(natsMsg_GetData(message_)),
            static_cast<size_t>(natsMsg_GetDataLength(message_))};
  }
  void flush() {}
  void finish() { check(natsConnection_Flush(connection_)); }
  void close() {}

 private:
  static constexpr int64_t kWaitMs = 10'000;
  static void check(natsStatus status) {
    if (status != NATS_OK) fail(std::string("nats: ") + natsStatus_GetText(status));
  }

  std::string url_;
  bool gathers_;  // sends from a thread of its own, many at once
  std::string subject_;
  natsConnection* connection_ = nullptr;
  natsSubscription* subscription_ = nullptr;
  natsMsg* message_ = nullptr;
};

}  // namespace heddle::bench

#endif  // HEDDLE_TESTS_BENCH_NATS_CHANNEL_H_
