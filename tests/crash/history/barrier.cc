// A barrier: nobody is through before as many as it has parties have come.
#include <algorithm>
#include <map>

#include "tests/crash/history/holds.h"

namespace heddle::history {
namespace {

using Arrivals = std::map<uint32_t, std::vector<const Record*>>;  // by process

/// How many others were at the barrier while `one` was.
size_t beside(const Arrivals& arrivals, const Record& one) {
  return static_cast<size_t>(std::count_if(arrivals.begin(), arrivals.end(), [&](const auto& all) {
    if (all.first == one.process) return false;
    // One after the other, so the last one that had come by then is the one that was there longest.
    const auto later =
        std::upper_bound(all.second.begin(), all.second.end(), one.return_ns,
                         [](int64_t ns, const Record* other) { return ns < other->call_ns; });
    if (later == all.second.begin()) return false;
    const Record& other = **std::prev(later);
    return other.return_ns == 0 || other.return_ns >= one.call_ns;
  }));
}

}  // namespace

std::string check_barrier(const Model& model, const History& history, const Processes& processes) {
  Arrivals arrivals;
  std::map<uint32_t, uint64_t> of_index;
  uint64_t through = 0, vanished = 0, broken = 0, causes = history.deaths.size();
  for (const Record& record : history.records) {
    if (record.op != Op::kArrive) continue;
    broken += record.end == End::kBroken;
    causes += record.end == End::kNo;
    if (record.end == End::kOk) {
      ++through;
      ++of_index[record.n];
      if (record.n >= model.count) return "an index of " + std::to_string(record.n);
    }
    const bool died = record.end == End::kNever && processes.death(record.process) != nullptr;
    vanished += died;
    if (record.end == End::kOk || died) arrivals[record.process].push_back(&record);
    const int64_t end_ns = record.end == End::kNever ? history.end_ns : record.return_ns;
    if (died || end_ns - record.call_ns <= model.patience_ns) continue;
    if (record.end == End::kNever) {
      return "process " + std::to_string(record.process) + " still waits at the end";
    }
  }
  for (const auto& [process, all] : arrivals) {
    for (const Record* record : all) {
      if (record->end == End::kOk && beside(arrivals, *record) + 1 < model.count) {
        return "process " + std::to_string(process) + " is through at " +
               std::to_string(record->return_ns) + " before all have come";
      }
    }
  }
  // Each generation gives each index once.
  uint64_t generations = 0;
  for (const auto& [index, times] : of_index) generations = std::max(generations, times);
  if (generations * model.count > through + vanished) {
    return "an index is given twice: " + std::to_string(generations) + " times one of them, " +
           std::to_string(through) + " arrivals";
  }
  if (broken > causes * model.count) return "broken, and nobody died or gave up";
  return "";
}

}  // namespace heddle::history
