// Boost.Interprocess message_queue.
#ifndef HEDDLE_TESTS_BENCH_BOOST_CHANNEL_H_
#define HEDDLE_TESTS_BENCH_BOOST_CHANNEL_H_

#include <unistd.h>

#include <boost/interprocess/ipc/message_queue.hpp>
#include <memory>

#include "tests/bench/pair.h"

namespace heddle::bench {

class BoostMq {
 public:
  BoostMq(const Options& options, unsigned number)
      : name_("heddle_bench_" + std::to_string(getpid()) + "_" + std::to_string(number)),
        queue_(boost::interprocess::create_only, name_.c_str(), options.depth(), options.bytes),
        buffer_(options.bytes) {
    boost::interprocess::message_queue::remove(name_.c_str());  // the mapping is inherited
  }
  void open_sender() {}
  void open_receiver() {}
  void send(const std::byte* data, size_t length) { queue_.send(data, length, 0); }
  std::span<const std::byte> receive() {
    boost::interprocess::message_queue::size_type length = 0;
    unsigned priority = 0;
    queue_.receive(buffer_.data(), buffer_.size(), length, priority);
    return {buffer_.data(), length};
  }
  void flush() {}
  void close() {}

 private:
  std::string name_;
  boost::interprocess::message_queue queue_;
  std::vector<std::byte> buffer_;
};

}  // namespace heddle::bench

#endif  // HEDDLE_TESTS_BENCH_BOOST_CHANNEL_H_
