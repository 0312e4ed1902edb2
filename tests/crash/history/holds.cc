#include "tests/crash/history/holds.h"

#include <algorithm>

namespace heddle::history {

Processes::Processes(const History& history) {
  for (const Span& death : history.deaths) deaths_[death.process] = death;
  for (const Span& stop : history.stops) stops_[stop.process].push_back(stop);
  for (const Span& loss : history.losses) losses_[loss.process].push_back(loss);
  for (auto& [process, stops] : stops_) {
    std::sort(stops.begin(), stops.end(),
              [](const Span& a, const Span& b) { return a.from_ns < b.from_ns; });
  }
}

const Span* Processes::death(uint32_t process) const {
  const auto found = deaths_.find(process);
  return found == deaths_.end() ? nullptr : &found->second;
}

const Span* Processes::loss(uint32_t process, int64_t from_ns, int64_t to_ns) const {
  const auto found = losses_.find(process);
  if (found == losses_.end()) return nullptr;
  const Span* first = nullptr;
  for (const Span& loss : found->second) {
    const bool within = loss.from_ns < to_ns && loss.to_ns > from_ns;
    if (within && (first == nullptr || loss.from_ns < first->from_ns)) first = &loss;
  }
  return first;
}

int64_t Processes::before(uint32_t process, int64_t ns, int64_t span) const {
  const auto found = stops_.find(process);
  if (found == stops_.end()) return ns - span;
  for (auto stop = found->second.rbegin(); stop != found->second.rend(); ++stop) {
    if (stop->from_ns >= ns) continue;
    const int64_t ran = ns - std::min(stop->to_ns, ns);
    if (ran >= span) break;
    span -= ran;
    ns = stop->from_ns;
  }
  return ns - span;
}

int64_t Processes::stopped(uint32_t process, int64_t from_ns, int64_t to_ns) const {
  const auto found = stops_.find(process);
  int64_t sum = 0;
  if (found == stops_.end()) return sum;
  for (const Span& stop : found->second) {
    sum += std::max<int64_t>(0, std::min(stop.to_ns, to_ns) - std::max(stop.from_ns, from_ns));
  }
  return sum;
}

std::string where(const char* what, const Hold& a, const Hold* b) {
  const auto tell = [](const Hold& hold) {
    return "process " + std::to_string(hold.process) + " (token " + std::to_string(hold.token) +
           ", had it at " + std::to_string(hold.had_ns) + ", left at " +
           (hold.left_ns == kNever ? "its end" : std::to_string(hold.left_ns)) + ")";
  };
  return std::string(what) + ": " + tell(a) + (b == nullptr ? "" : " and " + tell(*b));
}

namespace {

bool acquires(const Record& record) { return record.op == Op::kAcquire || record.op == Op::kTry; }

/// What one process did, one call after the other.
class Reader {
 public:
  Reader(const Model& model, const Processes& processes, uint32_t process, std::vector<Hold>* holds)
      : model_(model), processes_(processes), death_(processes.death(process)), holds_(holds) {}

  std::string read(const Record& record) {
    if (record.return_ns != 0 && record.return_ns < record.call_ns)
      return "returned before it came";
    if (acquires(record)) return acquired(record);
    return record.op == Op::kRelease ? released(record) : "";  // writes: check_writes()
  }
  void finish() {
    for (const size_t i : open_) end((*holds_)[i]);
  }

 private:
  void end(Hold& hold) const {
    if (death_ == nullptr) {
      const Span* loss = processes_.loss(hold.process, hold.asked_ns, kNever);
      hold.died = loss != nullptr;
      if (hold.died) hold.leaving_ns = loss->from_ns;
      return;
    }
    hold.died = true;
    hold.sure_death = hold.granted;
    hold.leaving_ns = death_->from_ns;
    hold.left_ns = death_->to_ns;
    const Span* loss = processes_.loss(hold.process, hold.asked_ns, death_->from_ns);
    if (loss != nullptr) hold.leaving_ns = loss->from_ns;
  }

  /// It was granted to a session that was then lost, before the caller could hear of it.
  void maybe_unheard(const Record& record) const {
    const Span* loss = processes_.loss(record.process, record.call_ns, record.return_ns);
    if (loss == nullptr) return;
    Hold hold{.process = record.process, .n = record.n, .mode = record.mode, .died = true};
    hold.asked_ns = record.call_ns;
    hold.leaving_ns = loss->from_ns;
    hold.left_ns = std::max(loss->to_ns, record.return_ns);
    holds_->push_back(hold);
  }

  std::string acquired(const Record& record) {
    if (record.return_ns != 0) maybe_unheard(record);
    if (record.end == End::kNo || record.end == End::kLost) return "";
    const bool entered = model_.kind == Kind::kReentrant && record.end == End::kOk;
    // Out of sight since it entered, it may have lost that entry; this one is its next session's.
    if (entered && !open_.empty() && record.token != (*holds_)[open_.back()].token &&
        gone_by(record)) {
      let_go(record);
    }
    if (entered && !open_.empty()) {
      ++depth_;
      const Hold& outer = (*holds_)[open_.back()];
      if (record.token != outer.token) return where("a second entry has another token", outer);
      return record.abandoned ? where("a second entry is told of a death", outer) : "";
    }
    if (record.end == End::kOk && !open_.empty() && model_.kind != Kind::kSemaphore &&
        record.mode == Mode::kExclusive) {
      return where("its owner is granted it again", (*holds_)[open_.back()]);
    }
    Hold hold{.process = record.process, .n = record.n, .mode = record.mode};
    hold.granted = record.end == End::kOk;
    hold.asked_ns = record.call_ns;
    hold.token = record.token;
    hold.abandoned = record.abandoned;
    if (hold.granted) hold.had_ns = record.return_ns;
    if (!hold.granted && death_ == nullptr) return "";  // it still waits
    if (!hold.granted) end(hold);
    holds_->push_back(hold);
    if (hold.granted) open_.push_back(holds_->size() - 1);
    return "";
  }

  std::string released(const Record& record) {
    if (record.end == End::kLost) return lost(record);
    const auto found = std::find_if(open_.begin(), open_.end(), [&](size_t i) {
      return (*holds_)[i].mode == record.mode && (*holds_)[i].n == record.n;
    });
    if (found == open_.end()) {
      return record.end == End::kOk
                 ? "process " + std::to_string(record.process) + " releases at " +
                       std::to_string(record.call_ns) + " what it does not hold"
                 : "";
    }
    if (depth_ > 0) {
      depth_ -= record.end == End::kOk;
      return "";
    }
    Hold& hold = (*holds_)[*found];
    open_.erase(found);
    hold.leaving_ns = record.call_ns;
    hold.left_ns = record.return_ns;
    if (record.end == End::kOk) return "";
    hold.left_ns = death_ != nullptr ? death_->to_ns : kNever;
    hold.died = death_ != nullptr;
    return "";
  }

  const Span* loss_of(const Hold& hold, const Record& record) const {
    return processes_.loss(hold.process, hold.asked_ns, record.return_ns);
  }
  bool gone_by(const Record& record) const {
    return std::all_of(open_.begin(), open_.end(), [&](size_t i) {
      return loss_of((*holds_)[i], record) != nullptr;
    });
  }
  /// All of it is gone since the process was out of sight.
  void let_go(const Record& record) {
    for (const size_t i : open_) {
      Hold& hold = (*holds_)[i];
      hold.died = hold.sure_death = true;
      hold.leaving_ns = std::min(loss_of(hold, record)->from_ns, record.call_ns);
      hold.left_ns = record.return_ns;
    }
    open_.clear();
    depth_ = 0;
  }
  /// Not its own any more: only if it was out of sight since it asked.
  std::string lost(const Record& record) {
    for (const size_t i : open_) {
      const Hold& hold = (*holds_)[i];
      if (loss_of(hold, record) == nullptr) return where("what it holds is not its own", hold);
    }
    let_go(record);
    return "";
  }

  const Model& model_;
  const Processes& processes_;
  const Span* death_;
  std::vector<Hold>* holds_;
  std::vector<size_t> open_;
  int depth_ = 0;
};

}  // namespace

std::string holds_of(const Model& model, const History& history, const Processes& processes,
                     std::vector<Hold>* holds) {
  std::unordered_map<uint32_t, Reader> readers;
  for (const Record& record : history.records) {
    Reader& reader =
        readers.try_emplace(record.process, model, processes, record.process, holds).first->second;
    const std::string wrong = reader.read(record);
    if (!wrong.empty()) return wrong;
  }
  for (auto& [process, reader] : readers) reader.finish();
  std::sort(holds->begin(), holds->end(),
            [](const Hold& a, const Hold& b) { return a.asked_ns < b.asked_ns; });
  return "";
}

History only(const History& history, uint16_t object) {
  History part = history;
  std::erase_if(part.records, [&](const Record& record) { return record.object != object; });
  std::erase_if(part.written, [&](const auto& write) { return write.object != object; });
  return part;
}

}  // namespace heddle::history
