// The operations on a pipe that are killed and stopped at every instruction.
#include <cstring>

#include "proto/shm/wait_note.h"
#include "tests/crash/pipes/pipe_stage.h"

namespace heddle::shm {
namespace {

const std::string kLarge(2'500, 'L');  // three frames of a ring of 4 KiB

using Prepare = std::function<void(Pipe&, PipeActor&)>;

Prepare sent(const Bodies& bodies) {
  return [bodies](Pipe& a, PipeActor& sharer) {
    for (const std::string& body : bodies) EXPECT_EQ(send(a, sharer, body), Outcome::kOk);
  };
}

std::function<Outcome(Pipe&, PipeActor&, PipeReport*)> sends(const std::string& body) {
  return [body](Pipe& p, PipeActor& a, PipeReport*) {
    uint64_t n = 0;
    return p.send(a, {body.data(), body.size(), 3}, kTry, &n);
  };
}

void record(PipeReport* report, const void* data, uint64_t length) {
  report->length = static_cast<uint32_t>(length);
  std::memcpy(report->body, data, length);
  report->took = 1;
}

Outcome receives(Pipe& p, PipeActor& a, PipeReport* report) {
  std::byte room[4000];
  Inbox in;
  in.to = room;
  in.capacity = sizeof room;
  const Outcome outcome = p.receive(a, &in, kTry);
  if (outcome == Outcome::kOk) record(report, room, in.length);
  return outcome;
}

Outcome views(Pipe& p, PipeActor& a, PipeReport* report, bool consume) {
  PipeSpan span;
  const Outcome outcome = p.view(a, kTry, &span);
  if (outcome != Outcome::kOk) return outcome;
  PipeReport copy;
  record(&copy, span.data, span.length);
  if (!consume) {
    p.unview(a);
    return outcome;
  }
  p.consume(a, span, span.length);
  record(report, copy.body, copy.length);
  return outcome;
}

Outcome reserves(Pipe& p, PipeActor& a, bool commit) {
  PipeSpan span;
  const Outcome outcome = p.reserve(a, 50, kTry, &span);
  if (outcome != Outcome::kOk) return outcome;
  std::memcpy(span.data, "in place", 8);
  span.kind = 3;
  commit ? p.commit(a, span, 8) : p.abandon(a);
  return outcome;
}

Outcome sends_many(Pipe& p, PipeActor& a) {
  const Bodies bodies = {"one", "two", "", "four"};
  PipePart parts[4];
  for (size_t i = 0; i < 4; ++i) parts[i] = {bodies[i].data(), bodies[i].size(), 3};
  size_t done = 0;
  return p.send_many(a, parts, 4, kTry, &done);
}

Outcome sends_part(Pipe& p, PipeActor& a) {
  Outbox out;
  const Outcome outcome = p.send_part(a, {kLarge.data(), kLarge.size(), 3}, &out);
  if (outcome == Outcome::kFull) p.give_up(a, &out);
  return outcome;
}

Outcome holds(Pipe& p, PipeActor& a) {
  uint64_t n = 0;
  Outcome outcome = p.hold(a, kTry);
  for (const char* body : {"h1", "h2"}) {
    if (outcome == Outcome::kOk) outcome = p.send(a, {body, 2, 3}, kTry, &n);
  }
  p.let_go(a);
  return outcome;
}

/// As one that holds a lock: it tells that it waits, and takes that back when its time is up.
template <class Operate>
auto told(Operate operate) {
  return [operate](Pipe& p, PipeActor& a, PipeReport* report) {
    JournalLine line{};
    LockActor hands;
    hands.journal = &line;
    a.patience_ns = 1'000'000'000;
    a.spins_failed = 8;  // spins would be most of its steps
    a.holding_context = &hands;
    a.holding = [](void* own) { return static_cast<LockActor*>(own); };
    return operate(p, a, report, monotonic_ns() + 4 * kTellNs);
  };
}

void add_told(std::vector<PipeScenario>* all) {
  all->push_back({.name = "send into a full ring, told",
                  .prepare = sent({std::string(2000, 'f'), std::string(2000, 'g')}),
                  .operate = told([](Pipe& p, PipeActor& a, PipeReport*, int64_t deadline_ns) {
                    uint64_t n = 0;
                    return p.send(a, {std::string(200, 'n').data(), 200, 3}, deadline_ns, &n);
                  }),
                  .sends = {std::string(200, 'n')}});
  all->push_back({.name = "poll of an empty pipe, told",
                  .side = PipeSide::kB,
                  .operate = told([](Pipe& p, PipeActor& a, PipeReport*, int64_t deadline_ns) {
                    return p.poll(a, deadline_ns);
                  })});
}

void add_sends(std::vector<PipeScenario>* all) {
  const Prepare two = sent({"m0", "m1"});
  const auto add = [all](PipeScenario s) { all->push_back(std::move(s)); };
  add({.name = "send", .prepare = two, .operate = sends("new"), .sends = {"new"}});
  add({.name = "send, alone", .alone = true, .operate = sends("new"), .sends = {"new"}});
  add({.name = "send over the end of the ring",
       .prepare =
           [](Pipe& a, PipeActor& sharer) {
             for (int i = 0; i < 2; ++i)
               EXPECT_EQ(send(a, sharer, std::string(1900, 'f')), Outcome::kOk);
           },
       .operate = sends(std::string(200, 'n')),
       .sends = {std::string(200, 'n')}});
  add({.name = "send into a full ring",
       .prepare = sent({std::string(2000, 'f'), std::string(2000, 'g')}),
       .operate = sends(std::string(200, 'n')),
       .sends = {std::string(200, 'n')}});
  add({.name = "send of nothing", .prepare = two, .operate = sends(""), .sends = {""}});
  add({.name = "send in frames", .prepare = two, .operate = sends(kLarge), .sends = {kLarge}});
  add({.name = "send in frames, alone",
       .alone = true,
       .operate = sends(kLarge),
       .sends = {kLarge}});
  add({.name = "send as far as there is room",
       .prepare = two,
       .operate = [](Pipe& p, PipeActor& a, PipeReport*) { return sends_part(p, a); },
       .sends = {kLarge}});
  add({.name = "send a part and give it up",
       .prepare = sent({std::string(1900, 'f')}),
       .operate = [](Pipe& p, PipeActor& a, PipeReport*) { return sends_part(p, a); },
       .sends = {kLarge}});
  add({.name = "send_many",
       .prepare = two,
       .operate = [](Pipe& p, PipeActor& a, PipeReport*) { return sends_many(p, a); },
       .sends = {"one", "two", "", "four"}});
  add({.name = "hold and let go",
       .prepare = two,
       .operate = [](Pipe& p, PipeActor& a, PipeReport*) { return holds(p, a); },
       .sends = {"h1", "h2"}});
  add({.name = "reserve and commit",
       .prepare = two,
       .operate = [](Pipe& p, PipeActor& a, PipeReport*) { return reserves(p, a, true); },
       .sends = {"in place"}});
  add({.name = "reserve and abandon",
       .prepare = two,
       .operate = [](Pipe& p, PipeActor& a, PipeReport*) { return reserves(p, a, false); }});
  add({.name = "send bytes",
       .mode = PipeMode::kBytes,
       .prepare = two,
       .operate = sends(std::string(1500, 'b')),
       .sends = {std::string(1500, 'b')}});
}

void add_receives(std::vector<PipeScenario>* all) {
  const Prepare two = sent({"m0", "m1"});
  const auto add = [all](PipeScenario s) {
    s.side = PipeSide::kB;
    all->push_back(std::move(s));
  };
  add({.name = "receive", .prepare = two, .operate = receives, .takes = 1});
  add({.name = "receive from an empty pipe", .operate = receives});
  add({.name = "receive in frames",
       .prepare = sent({kLarge, "m1"}),
       .operate = receives,
       .takes = 1});
  add({.name = "receive bytes",
       .mode = PipeMode::kBytes,
       .prepare = two,
       .operate = receives,
       .takes = 4});
  add({.name = "view and consume",
       .prepare = two,
       .operate = [](Pipe& p, PipeActor& a, PipeReport* r) { return views(p, a, r, true); },
       .takes = 1});
  add({.name = "view and leave it",
       .prepare = two,
       .operate = [](Pipe& p, PipeActor& a, PipeReport* r) { return views(p, a, r, false); }});
  add({.name = "poll", .prepare = two, .operate = [](Pipe& p, PipeActor& a, PipeReport*) {
         return p.poll(a, kTry);
       }});
  add({.name = "leave the receiving end",
       .prepare = two,
       .operate = [](Pipe& p, PipeActor& a, PipeReport*) {
         p.leave(a);
         return Outcome::kOk;
       }});
  add({.name = "leave the receiving end, alone",
       .alone = true,
       .prepare = two,
       .operate = [](Pipe& p, PipeActor& a, PipeReport*) {
         p.leave(a);
         return Outcome::kOk;
       }});
}

void add_ends(std::vector<PipeScenario>* all) {
  const auto leaves = [](Pipe& p, PipeActor& a, PipeReport*) {
    p.leave(a);
    return Outcome::kOk;
  };
  const auto shuts = [](Pipe& p, PipeActor& a, PipeReport*) {
    p.shutdown_write(a);
    return Outcome::kOk;
  };
  all->push_back({.name = "leave", .prepare = sent({"m0"}), .operate = leaves});
  all->push_back(
      {.name = "leave, alone", .alone = true, .prepare = sent({"m0"}), .operate = leaves});
  all->push_back(
      {.name = "shutdown_write, alone", .alone = true, .prepare = sent({"m0"}), .operate = shuts});
  all->push_back(
      {.name = "shutdown_write", .prepare = sent({"m0"}), .operate = shuts, .shuts = true});
}

}  // namespace

std::vector<PipeScenario> pipe_scenarios() {
  std::vector<PipeScenario> all;
  add_sends(&all);
  add_told(&all);
  add_receives(&all);
  add_ends(&all);
  return all;
}

}  // namespace heddle::shm
