// The models. Where two holds exclude each other, where tokens must rise, and so on.
#include <algorithm>
#include <map>

#include "tests/crash/history/holds.h"

namespace heddle::history {
namespace {

bool excludes(const Model& model, Mode held, Mode wanted) {
  if (model.kind == Kind::kSemaphore) return false;
  if (model.kind != Kind::kRw) return true;
  if (held == Mode::kExclusive || wanted == Mode::kExclusive) return true;
  return held == Mode::kUpdate && wanted == Mode::kUpdate;
}

bool exclusive(const Hold& hold) { return hold.mode == Mode::kExclusive; }

}  // namespace

/// Whoever is surely inside at one time must be allowed to be.
std::string check_exclusion(const Model& model, std::vector<Hold> holds) {
  std::erase_if(holds, [](const Hold& h) { return !h.granted || h.had_ns >= h.leaving_ns; });
  std::sort(holds.begin(), holds.end(),
            [](const Hold& a, const Hold& b) { return a.had_ns < b.had_ns; });
  std::vector<const Hold*> inside;
  for (const Hold& hold : holds) {
    std::erase_if(inside, [&](const Hold* other) { return other->leaving_ns <= hold.had_ns; });
    uint32_t permits = hold.n;
    for (const Hold* other : inside) {
      permits += other->n;
      if (excludes(model, other->mode, hold.mode)) return where("held by two", *other, &hold);
    }
    if (model.kind == Kind::kSemaphore && permits > model.count) {
      return where("more permits than there are", hold, inside.empty() ? nullptr : inside.back());
    }
    inside.push_back(&hold);
  }
  return "";
}

/// Tokens of exclusive grants are different and rise with time; a reader has that of the last one.
std::string check_tokens(const Model& model, const std::vector<Hold>& holds) {
  std::vector<const Hold*> grants;
  for (const Hold& hold : holds) {
    if (hold.granted && (exclusive(hold) || model.kind == Kind::kSemaphore))
      grants.push_back(&hold);
  }
  std::sort(grants.begin(), grants.end(),
            [](const Hold* a, const Hold* b) { return a->token < b->token; });
  for (size_t i = 1; i < grants.size(); ++i) {
    if (grants[i - 1]->token == grants[i]->token) {
      return where("one token for two", *grants[i - 1], grants[i]);
    }
  }
  if (model.kind == Kind::kSemaphore) return "";
  // From the highest token down: nobody with a higher one was through before this one asked.
  const Hold* soonest = nullptr;
  std::map<uint64_t, const Hold*> soonest_above;  // of all with that token or a higher one
  for (auto grant = grants.rbegin(); grant != grants.rend(); ++grant) {
    if (soonest != nullptr && soonest->had_ns < (*grant)->asked_ns) {
      return where("a later grant has a lower token", **grant, soonest);
    }
    // In the order of tokens, each has begun to leave when the next one is in.
    if (soonest != nullptr && (*grant)->leaving_ns > soonest->had_ns) {
      return where("the next one is in before it leaves", **grant, soonest);
    }
    if (soonest == nullptr || (*grant)->had_ns < soonest->had_ns) soonest = *grant;
    soonest_above[(*grant)->token] = soonest;
  }
  const Hold* latest = nullptr;
  std::map<uint64_t, const Hold*> latest_below;  // asked last of all with that token or a lower one
  for (const Hold* grant : grants) {
    if (latest == nullptr || grant->asked_ns > latest->asked_ns) latest = grant;
    latest_below[grant->token] = latest;
  }
  for (const Hold& hold : holds) {
    if (hold.mode != Mode::kShared || !hold.granted) continue;
    const auto above = soonest_above.upper_bound(hold.token);
    if (above != soonest_above.end() && above->second->had_ns < hold.asked_ns) {
      return where("a reader has an old token", hold, above->second);
    }
    auto below = latest_below.upper_bound(hold.token);
    if (below == latest_below.begin()) continue;
    if ((--below)->second->asked_ns > hold.had_ns) {
      return where("a reader has a token of a later time", hold, below->second);
    }
  }
  return "";
}

/// Of a death inside, one exclusive grant is told, the next one; and of none that did not happen.
std::string check_deaths(const Model& model, const std::vector<Hold>& holds) {
  if (model.kind == Kind::kSemaphore) return "";
  std::vector<const Hold*> grants, unknown;
  for (const Hold& hold : holds) {
    if (hold.granted && exclusive(hold)) grants.push_back(&hold);
    // May have been granted, and may have been told in place of another.
    if (!hold.granted && exclusive(hold)) unknown.push_back(&hold);
  }
  std::sort(grants.begin(), grants.end(),
            [](const Hold* a, const Hold* b) { return a->token < b->token; });
  const auto hidden = [&](int64_t from_ns, int64_t to_ns) {
    return std::any_of(unknown.begin(), unknown.end(), [&](const Hold* hold) {
      return hold->asked_ns < to_ns && hold->left_ns > from_ns;
    });
  };
  for (size_t i = 0; i < grants.size(); ++i) {
    const Hold& now = *grants[i];
    const Hold* before = i == 0 ? nullptr : grants[i - 1];
    // A mutex counts each grant once, so nobody was between two tokens that follow on each other.
    const uint64_t between = before == nullptr ? 1 : now.token - before->token - 1;
    const bool counted = model.kind != Kind::kRw && before != nullptr;
    const bool maybe =
        counted ? between != 0 : hidden(before == nullptr ? 0 : before->asked_ns, now.had_ns);
    const bool died = before != nullptr && before->died;
    if (now.abandoned && !died && !maybe) {
      return where("told of a death that nobody died", now, before);
    }
    if (!now.abandoned && died && before->sure_death && !maybe) {
      return where("not told of a death", now, before);
    }
    // Those between that nobody saw died with it in hand.
    if (counted && between != 0 && !now.abandoned) {
      return where("a grant is missing, and its death is not told", now, before);
    }
    if (counted && between > unknown.size())
      return where("too many grants are missing", now, before);
  }
  return "";
}

namespace {

/// Whether anybody other than the one who waits can have been in its way, at most.
struct InTheWay {
  int64_t from_ns, to_ns;
  uint32_t n;
};

/// The longest time in which nobody was, of [from, to).
int64_t longest_free(std::vector<InTheWay> ways, uint32_t enough, int64_t from_ns, int64_t to_ns) {
  std::map<int64_t, int64_t> steps;
  for (const InTheWay& way : ways) {
    if (way.to_ns <= from_ns || way.from_ns >= to_ns) continue;
    steps[std::max(way.from_ns, from_ns)] += way.n;
    steps[std::min(way.to_ns, to_ns)] -= way.n;
  }
  steps[to_ns] += 0;
  int64_t taken = 0, since = from_ns, longest = 0;
  for (const auto& [at, change] : steps) {
    if (taken < enough) longest = std::max(longest, at - since);
    if (taken >= enough || taken + change >= enough) since = at;
    taken += change;
  }
  return longest;
}

}  // namespace

/// Nobody who runs waits long for what is free.
std::string check_sleepers(const Model& model, const History& history, const Processes& processes,
                           const std::vector<Hold>& holds) {
  constexpr int64_t kGraceNs = 500'000'000;  // of running time from the grant to its return
  for (const Record& wait : history.records) {
    if (wait.op != Op::kAcquire) continue;
    const Span* death = processes.death(wait.process);
    int64_t end_ns = wait.return_ns;
    if (end_ns == 0) end_ns = death != nullptr ? death->from_ns : history.end_ns;
    if (end_ns - wait.call_ns <= model.patience_ns) continue;
    std::vector<InTheWay> ways;
    for (const Hold& hold : holds) {
      if (hold.process == wait.process) continue;
      // Also one reader of another: a writer may wait in front of it.
      const int64_t seen = std::min(hold.had_ns, hold.leaving_ns);
      const int64_t from = std::max(hold.asked_ns, processes.before(hold.process, seen, kGraceNs));
      ways.push_back({from, hold.left_ns, hold.n});
    }
    const uint32_t enough = model.kind == Kind::kSemaphore ? model.count - wait.n + 1 : 1;
    const int64_t free_ns = longest_free(std::move(ways), enough, wait.call_ns, end_ns) -
                            processes.stopped(wait.process, wait.call_ns, end_ns);
    if (free_ns <= model.patience_ns) continue;
    return "process " + std::to_string(wait.process) + " sleeps on what is free from " +
           std::to_string(wait.call_ns) + " for " + std::to_string(free_ns) + " ns";
  }
  return "";
}

/// A try may fail only while somebody may have been inside, or waited: it may be handed over.
std::string check_refusals(const Model& model, const History& history,
                           const std::vector<Hold>& holds) {
  // Of the other kinds one that fails may be in the way of others for a moment.
  if (model.kind != Kind::kMutex && model.kind != Kind::kReentrant) return "";
  std::vector<InTheWay> ways;
  for (const Hold& hold : holds) {
    const bool repaired_later = hold.died && hold.left_ns != kNever;
    ways.push_back({hold.asked_ns, hold.left_ns + (repaired_later ? model.patience_ns : 0), 1});
  }
  std::vector<const Record*> refused;
  for (const Record& record : history.records) {
    if (record.end != End::kNo) continue;
    if (record.op == Op::kTry) refused.push_back(&record);
    if (record.op == Op::kAcquire) ways.push_back({record.call_ns, record.return_ns, 1});
  }
  std::sort(refused.begin(), refused.end(),
            [](const Record* a, const Record* b) { return a->call_ns < b->call_ns; });
  std::sort(ways.begin(), ways.end(),
            [](const InTheWay& a, const InTheWay& b) { return a.from_ns < b.from_ns; });
  size_t next = 0;
  int64_t until_ns = 0;  // somebody was in the way up to here
  for (const Record* record : refused) {
    for (; next < ways.size() && ways[next].from_ns < record->return_ns; ++next) {
      until_ns = std::max(until_ns, ways[next].to_ns);
    }
    if (until_ns < record->call_ns) {
      return "process " + std::to_string(record->process) + " is refused at " +
             std::to_string(record->call_ns) + " what is free";
    }
  }
  return "";
}

/// What was written carries tokens that never fall, each of them from a grant; and nobody who holds
/// it for sure is refused.
std::string check_writes(const History& history, const Processes& processes,
                         const std::vector<Hold>& holds) {
  for (size_t i = 1; i < history.written.size(); ++i) {
    if (history.written[i].token >= history.written[i - 1].token) continue;
    return "written with token " + std::to_string(history.written[i].token) + " after " +
           std::to_string(history.written[i - 1].token);
  }
  std::map<uint64_t, const Hold*> granted;
  for (const Hold& hold : holds) {
    if (hold.granted && exclusive(hold)) granted[hold.token] = &hold;
  }
  std::map<uint64_t, uint32_t> written;  // token -> how often
  for (const History::Written& write : history.written) ++written[write.token];
  std::map<uint64_t, uint32_t> told;
  for (const Record& record : history.records) {
    if (record.op != Op::kWrite) continue;
    const auto hold = granted.find(record.token);
    if (hold == granted.end() && record.return_ns != 0) {
      return "process " + std::to_string(record.process) + " writes with no grant's token " +
             std::to_string(record.token);
    }
    if (record.end == End::kOk) ++told[record.token];
    if (record.end != End::kLost) continue;
    if (processes.loss(record.process, hold->second->asked_ns, record.return_ns) == nullptr) {
      return where("refused to write what it holds", *hold->second);
    }
  }
  for (const auto& [token, times] : told) {
    if (written[token] < times) return "a write with token " + std::to_string(token) + " is gone";
  }
  return "";
}

std::string check(const Model& model, const History& history) {
  const Processes processes(history);
  if (model.kind == Kind::kBarrier) return check_barrier(model, history, processes);
  std::vector<Hold> holds;
  std::string wrong = holds_of(model, history, processes, &holds);
  if (wrong.empty()) wrong = check_exclusion(model, holds);
  if (wrong.empty()) wrong = check_tokens(model, holds);
  if (wrong.empty()) wrong = check_deaths(model, holds);
  if (wrong.empty()) wrong = check_refusals(model, history, holds);
  if (wrong.empty()) wrong = check_sleepers(model, history, processes, holds);
  if (wrong.empty()) wrong = check_writes(history, processes, holds);
  return wrong;
}

}  // namespace heddle::history
