#include "tests/crash/pipes/pipe_stage.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "tests/support/states.h"

namespace heddle::shm {
namespace {

PipeOptions options_of(const PipeScenario& scenario) { return small_pipe(scenario.mode); }

std::string joined(const Bodies& bodies) {
  return std::accumulate(bodies.begin(), bodies.end(), std::string());
}

}  // namespace

PipeStage::PipeStage(const PipeScenario& scenario)
    : scenario_(scenario),
      segment_(options_of(scenario)),
      sharer_(pipe_actor(kSharer)),
      receiver_(pipe_actor(kReceiver)),
      victim_(pipe_actor(kVictim)),
      report_(static_cast<PipeReport*>(mmap(nullptr, sizeof(PipeReport), PROT_READ | PROT_WRITE,
                                            MAP_SHARED | MAP_ANONYMOUS, -1, 0))) {
  near_ = segment_.view(PipeSide::kA);
  far_ = segment_.view(PipeSide::kB);
  // Even where the victim is alone something had to be sent before.
  const bool alone_at_a = scenario.alone && scenario.side == PipeSide::kA;
  const bool alone_at_b = scenario.alone && scenario.side == PipeSide::kB;
  victim_end_ = segment_.enter(scenario.side, kVictim);
  if (!alone_at_a) segment_.enter(PipeSide::kA, kSharer);
  if (!alone_at_b) segment_.enter(PipeSide::kB, kReceiver);
  scenario.prepare(near_, sharer_);
  prepared_ = save();
  Outcome last;
  before_ = drain(&last);
  restore();
}

PipeStage::Image PipeStage::save() {
  const PipeOptions options = options_of(scenario_);
  Image image(kPipeHeaderBytes + 2 * options.capacity);
  std::byte* to = image.data();
  std::memcpy(to, segment_.base(), kPipeHeaderBytes);
  for (uint64_t ring = 0; ring < 2; ++ring) {
    std::memcpy(to + kPipeHeaderBytes + ring * options.capacity,
                segment_.base() + kPipeHeaderBytes + ring * 2 * options.capacity, options.capacity);
  }
  return image;
}

void PipeStage::restore(const Image& image) {
  const PipeOptions options = options_of(scenario_);
  std::memcpy(segment_.base(), image.data(), kPipeHeaderBytes);
  for (uint64_t ring = 0; ring < 2; ++ring) {
    std::memcpy(segment_.base() + kPipeHeaderBytes + ring * 2 * options.capacity,
                image.data() + kPipeHeaderBytes + ring * options.capacity, options.capacity);
  }
  std::memset(static_cast<void*>(report_), 0, sizeof *report_);
  sharer_ = pipe_actor(kSharer);
  receiver_ = pipe_actor(kReceiver);
}

uint64_t PipeStage::hash() {
  const uint64_t h = test::mix(1, segment_.base(), sizeof(PipeHeader));
  return test::mix(h, segment_.base() + kPipeHeaderBytes, options_of(scenario_).capacity);
}

Bodies PipeStage::drain(Outcome* last) {
  Bodies bodies;
  std::string room(100'000, '\0');
  Inbox in;
  in.to = reinterpret_cast<std::byte*>(room.data());
  in.capacity = room.size();
  for (;;) {
    *last = far_.receive(receiver_, &in, kTry);
    if (*last != Outcome::kOk) break;
    bodies.push_back(room.substr(0, in.length));
  }
  if (in.filled != 0) far_.drop_partial(receiver_, &in);
  return bodies;
}

void PipeStage::laps(int messages, Bodies* sent, Bodies* got) {
  for (int i = 0; i < messages; ++i) {
    const std::string body = "s" + std::to_string(i) + std::string(i % 7 == 0 ? 300 : 5, '.');
    if (send(near_, sharer_, body) == Outcome::kOk) sent->push_back(body);
    Outcome last;
    for (std::string& one : drain(&last)) got->push_back(std::move(one));
  }
}

std::string PipeStage::compare(const Bodies& got, size_t taken_at_least) const {
  Bodies all = before_;
  all.insert(all.end(), scenario_.sends.begin(), scenario_.sends.end());
  if (scenario_.mode == PipeMode::kBytes) {
    const std::string stream = joined(all), rest = joined(got), old = joined(before_);
    for (size_t taken = taken_at_least; taken <= scenario_.takes; ++taken) {
      const std::string left = stream.substr(std::min(taken, stream.size()));
      if (left.compare(0, rest.size(), rest) == 0 && taken + rest.size() >= old.size()) return "";
    }
    return "found " + std::to_string(rest.size()) + " bytes of " + std::to_string(stream.size());
  }
  for (size_t taken = taken_at_least; taken <= scenario_.takes; ++taken) {
    for (size_t n = before_.size(); n <= all.size(); ++n) {
      if (taken <= n &&
          got == Bodies(all.begin() + static_cast<long>(taken), all.begin() + static_cast<long>(n)))
        return "";
    }
  }
  std::string found = "found {";
  for (const std::string& body : got) found += body.substr(0, 6) + " ";
  return found + "}";
}

std::string PipeStage::check_after_death() {
  if (const char* wrong = audit()) return wrong;
  const bool a_ended = far_.ended(PipeSide::kA), b_ended = far_.ended(PipeSide::kB);
  const bool a_alone = scenario_.alone && scenario_.side == PipeSide::kA;
  const bool b_alone = scenario_.alone && scenario_.side == PipeSide::kB;
  if (a_ended != a_alone || b_ended != b_alone) return "an end is open that nobody uses, or shut";
  if (b_alone) {
    const Outcome outcome = send(near_, sharer_, "into nothing");
    return outcome == Outcome::kBrokenPipe || outcome == Outcome::kClosed ? "" : "no BROKEN_PIPE";
  }
  Outcome last;
  const Bodies after = drain(&last);
  if (const std::string wrong = compare(after, 0); !wrong.empty()) return wrong;
  const bool clean = last == Outcome::kEndOfStream;
  if (a_alone && !clean && last != Outcome::kPeerDied) return "no end: " + said(last);
  if (a_alone && last == Outcome::kPeerDied && far_.peer_death().pid != 77) return "pid unknown";
  const bool shut = far_.info(PipeSide::kA).shut;
  if (a_alone || (clean && shut && scenario_.shuts)) return "";
  if (clean || shut) return "shut, but not ended";
  return last == Outcome::kEmpty ? use_fully() : "drained to " + said(last);
}

std::string PipeStage::use_fully() {
  Bodies sent, got;
  laps(200, &sent, &got);
  if (sent.size() != 200) return "only " + std::to_string(sent.size()) + " of 200 could be sent";
  if (scenario_.mode == PipeMode::kBytes ? joined(got) != joined(sent) : got != sent)
    return "what came is not what was sent";
  const char* wrong = audit();
  return wrong == nullptr ? "" : wrong;
}

}  // namespace heddle::shm
