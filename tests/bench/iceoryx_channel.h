// iceoryx over a running RouDi: untyped publisher and subscriber, nothing dropped.
#ifndef HEDDLE_TESTS_BENCH_ICEORYX_CHANNEL_H_
#define HEDDLE_TESTS_BENCH_ICEORYX_CHANNEL_H_

#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <iceoryx_posh/popo/untyped_publisher.hpp>
#include <iceoryx_posh/popo/untyped_subscriber.hpp>
#include <iceoryx_posh/runtime/posh_runtime.hpp>
#include <optional>

#include "proto/shm/cpu_pause.h"
#include "tests/bench/pair.h"

namespace heddle::bench {

class Iceoryx {
 public:
  Iceoryx(const Options& options, unsigned number)
      : bytes_(options.bytes),
        depth_(options.bytes < (1u << 20) ? 256 : 8),
        parent_(std::to_string(getpid())),
        channel_("c" + std::to_string(number)),
        copy_(options.bytes) {}

  void open_sender() {
    join();
    iox::popo::PublisherOptions options;
    options.subscriberTooSlowPolicy = iox::popo::ConsumerTooSlowPolicy::WAIT_FOR_CONSUMER;
    publisher_.emplace(description(), options);
    while (!publisher_->hasSubscribers()) usleep(200);
  }
  void open_receiver() {
    join();
    iox::popo::SubscriberOptions options;
    options.queueCapacity = depth_;
    options.queueFullPolicy = iox::popo::QueueFullPolicy::BLOCK_PRODUCER;
    subscriber_.emplace(description(), options);
  }
  void send(const std::byte* data, size_t length) { send_part(data, length, length); }
  std::span<const std::byte> receive() { return receive_part(bytes_); }
  void flush() {}
  // What is published dies with its publisher.
  void finish() {
    while (publisher_->hasSubscribers()) usleep(200);
  }
  // The sides ended without destructors: what their runtimes left.
  void close() {
    const std::string prefix = "bench-" + parent_ + "-";
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator("/tmp", ignored)) {
      if (!entry.path().filename().string().starts_with(prefix)) continue;
      std::filesystem::remove(entry.path(), ignored);
    }
  }

 protected:
  void send_part(const std::byte* data, size_t length, size_t written) {
    for (;;) {
      auto loan = publisher_->loan(static_cast<uint32_t>(length));
      if (loan.has_error()) continue;  // all chunks are with the receiver
      std::memcpy(loan.value(), data, written);
      publisher_->publish(loan.value());
      return;
    }
  }
  std::span<const std::byte> receive_part(size_t read) {
    for (;;) {
      auto taken = subscriber_->take();
      if (taken.has_error()) {
        shm::cpu_pause();
        continue;
      }
      const auto* header = iox::mepoo::ChunkHeader::fromUserPayload(taken.value());
      const size_t length = header->userPayloadSize();
      std::memcpy(copy_.data(), taken.value(), read);
      subscriber_->release(taken.value());
      return {copy_.data(), length};
    }
  }

 private:
  void join() {
    static bool joined = false;
    if (std::exchange(joined, true)) return;
    const std::string name = "bench-" + parent_ + "-" + std::to_string(getpid());
    iox::runtime::PoshRuntime::initRuntime(
        iox::RuntimeName_t(iox::cxx::TruncateToCapacity, name.c_str()));
  }
  iox::capro::ServiceDescription description() const {
    using Id = iox::capro::IdString_t;
    return {Id("heddle-bench"), Id(iox::cxx::TruncateToCapacity, parent_.c_str()),
            Id(iox::cxx::TruncateToCapacity, channel_.c_str())};
  }

  size_t bytes_;
  uint64_t depth_;
  std::string parent_, channel_;
  std::vector<std::byte> copy_;
  std::optional<iox::popo::UntypedPublisher> publisher_;
  std::optional<iox::popo::UntypedSubscriber> subscriber_;
};

// Only the stamp is written and read.
class IceoryxZeroCopy : public Iceoryx {
 public:
  using Iceoryx::Iceoryx;
  void send(const std::byte* data, size_t length) { send_part(data, length, sizeof(Stamp)); }
  std::span<const std::byte> receive() { return receive_part(sizeof(Stamp)); }
};

}  // namespace heddle::bench

#endif  // HEDDLE_TESTS_BENCH_ICEORYX_CHANNEL_H_
