// What is measured over a channel (pair.h): rate, round trip, wake-up.
#ifndef HEDDLE_TESTS_BENCH_MEASURE_H_
#define HEDDLE_TESTS_BENCH_MEASURE_H_

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "tests/bench/pair.h"

namespace heddle::bench {

inline constexpr unsigned kProducerCore = 0, kConsumerCore = 1;
inline constexpr int64_t kAsleepNs = 200'000;
inline constexpr unsigned kRoundTripsPerStamp = 8;  // reading the clock costs as much as a line
inline constexpr unsigned kSendsPerLook = 64;

inline Stamp stamp_of(std::span<const std::byte> body, size_t bytes) {
  if (body.size() != bytes) {
    fail("a message of " + std::to_string(body.size()) + " bytes, not " + std::to_string(bytes));
  }
  Stamp stamp;
  std::memcpy(&stamp, body.data(), sizeof stamp);
  return stamp;
}

template <class Channel>
void send_stamp(Channel& channel, std::vector<std::byte>& body, uint64_t sequence, int64_t ns) {
  const Stamp stamp{sequence, ns};
  std::memcpy(body.data(), &stamp, sizeof stamp);
  channel.send(body.data(), body.size());
}

// After the last send of a process, which then ends without destructors.
template <class Channel>
void finish(Channel& channel) {
  channel.flush();
  if constexpr (requires { channel.finish(); }) channel.finish();
}

template <class Channel>
void produce(Channel& channel, const Options& options, Shared& shared, unsigned me) {
  std::vector<std::byte> body(options.bytes);
  channel.open_sender();
  meet(shared, options.producers + options.consumers);
  const int64_t end = now_ns() + static_cast<int64_t>(options.seconds * 1e9);
  uint64_t sent = 0;
  do {
    for (unsigned i = 0; i < kSendsPerLook; ++i) send_stamp(channel, body, ++sent, me);
  } while (now_ns() < end);
  shared.sides[me].sent = sent;
  shared.producers_done.fetch_add(1);
  if (me == 0) {
    while (shared.producers_done.load() < options.producers) usleep(20);
    for (unsigned i = 0; i < options.consumers; ++i) send_stamp(channel, body, kEnd, 0);
  }
  finish(channel);
}

// Counts, and checks that what comes from one producer comes in order.
template <class Channel>
void consume(Channel& channel, const Options& options, Shared& shared, unsigned me) {
  channel.open_receiver();
  meet(shared, options.producers + options.consumers);
  uint64_t last[kSidesMax] = {}, received = 0;
  int64_t first_ns = 0;
  for (;; ++received) {
    const Stamp stamp = stamp_of(channel.receive(), options.bytes);
    if (first_ns == 0) first_ns = now_ns();
    if (stamp.sequence == kEnd) break;
    uint64_t& before = last[stamp.sent_ns % kSidesMax];
    const bool alone = options.consumers * options.producers == 1;
    if (alone ? stamp.sequence != before + 1 : stamp.sequence <= before) {
      fail("message " + std::to_string(stamp.sequence) + " came after " + std::to_string(before));
    }
    before = stamp.sequence;
  }
  shared.sides[options.producers + me] = {0, received, first_ns, now_ns()};
}

// Messages per second from the first receipt to the last, so that a backlog is paid for.
template <class Channel>
void measure_rate(const Options& options) {
  Shared& shared = *Shared::map();
  Channel channel(options, 0);
  std::vector<Side> sides;
  for (unsigned i = 0; i < options.producers; ++i) {
    sides.push_back({kProducerCore, [&, i] { produce(channel, options, shared, i); }});
  }
  for (unsigned i = 0; i < options.consumers; ++i) {
    sides.push_back({kConsumerCore, [&, i] { consume(channel, options, shared, i); }});
  }
  run_sides(sides);
  channel.close();
  uint64_t sent = 0, received = 0;
  int64_t first = INT64_MAX, last = 0;
  for (const auto& side : shared.sides) {
    sent += side.sent;
    received += side.received;
    if (side.last_ns == 0) continue;
    first = std::min(first, side.first_ns);
    last = std::max(last, side.last_ns);
  }
  if (sent != received) {
    fail(std::to_string(sent) + " sent, " + std::to_string(received) + " received");
  }
  report({{"per_s", double(received) * 1e9 / double(last - first)},
          {"messages", double(received)}});
}

template <class Channel>
void ping(Channel& there, Channel& back, const Options& options, Shared& shared) {
  std::vector<std::byte> body(options.bytes);
  there.open_sender();
  back.open_receiver();
  meet(shared, 2);
  const int64_t end = now_ns() + static_cast<int64_t>(options.seconds * 1e9);
  uint64_t sequence = 0;
  for (int64_t before = now_ns(); before < end && shared.samples < kSamplesMax;) {
    for (unsigned i = 0; i < kRoundTripsPerStamp; ++i) {
      send_stamp(there, body, ++sequence, 0);
      there.flush();
      if (stamp_of(back.receive(), options.bytes).sequence != sequence) fail("a wrong answer");
    }
    const int64_t now = now_ns();
    shared.sample_us[shared.samples++] = float(now - before) / (1e3f * kRoundTripsPerStamp);
    before = now;
  }
  send_stamp(there, body, kEnd, 0);
  finish(there);
}

template <class Channel>
void pong(Channel& there, Channel& back, const Options& options, Shared& shared) {
  std::vector<std::byte> body(options.bytes);
  there.open_receiver();
  back.open_sender();
  meet(shared, 2);
  for (;;) {
    const uint64_t sequence = stamp_of(there.receive(), options.bytes).sequence;
    if (sequence == kEnd) break;
    send_stamp(back, body, sequence, 0);
    back.flush();
  }
}

template <class Channel>
void measure_round_trip(const Options& options) {
  Shared& shared = *Shared::map();
  Channel there(options, 0), back(options, 1);
  run_sides({{kProducerCore, [&] { ping(there, back, options, shared); }},
             {kConsumerCore, [&] { pong(there, back, options, shared); }}});
  there.close();
  back.close();
  report_samples(shared);
}

// From just before the send until the sleeping receiver has the message.
template <class Channel>
void measure_wake(const Options& options) {
  Shared& shared = *Shared::map();
  Channel channel(options, 0);
  const auto sender = [&] {
    std::vector<std::byte> body(options.bytes);
    channel.open_sender();
    meet(shared, 2);
    const int64_t end = now_ns() + static_cast<int64_t>(options.seconds * 1e9);
    for (uint64_t sequence = 1; now_ns() < end; ++sequence) {
      for (const int64_t until = now_ns() + kAsleepNs; now_ns() < until;) {
      }
      send_stamp(channel, body, sequence, now_ns());
      channel.flush();
    }
    send_stamp(channel, body, kEnd, 0);
    finish(channel);
  };
  const auto receiver = [&] {
    channel.open_receiver();
    meet(shared, 2);
    for (;;) {
      const Stamp stamp = stamp_of(channel.receive(), options.bytes);
      const int64_t now = now_ns();
      if (stamp.sequence == kEnd) break;
      if (shared.samples < kSamplesMax) {
        shared.sample_us[shared.samples++] = float(now - stamp.sent_ns) / 1e3f;
      }
    }
  };
  run_sides({{kProducerCore, sender}, {kConsumerCore, receiver}});
  channel.close();
  report_samples(shared);
}

// Runs what options.work says.
template <class Channel>
void measure(const Options& options) {
  if (options.work == "rate") return measure_rate<Channel>(options);
  if (options.work == "rtt") return measure_round_trip<Channel>(options);
  if (options.work == "wake") return measure_wake<Channel>(options);
  fail("work " + options.work + " is not one of rate, rtt, wake");
}

}  // namespace heddle::bench

#endif  // HEDDLE_TESTS_BENCH_MEASURE_H_
