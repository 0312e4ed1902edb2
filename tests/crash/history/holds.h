// From calls to holds: what the checks of the models work on.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "tests/crash/history/history.h"

namespace heddle::history {

/// Something that was acquired, or may have been.
struct Hold {
  uint32_t process = 0;
  uint32_t n = 1;
  Mode mode = Mode::kExclusive;
  bool granted = false;     // its acquire returned
  bool died = false;        // it was held, or may have been, when its process was killed or lost
  bool sure_death = false;  // and for sure
  bool abandoned = false;
  uint64_t token = 0;
  // asked <= had < leaving <= left: for sure within the inner two, at most within the outer two.
  int64_t asked_ns = 0, had_ns = kNever, leaving_ns = kNever, left_ns = kNever;
};

class Processes {
 public:
  explicit Processes(const History& history);
  const Span* death(uint32_t process) const;
  /// The first time within the two at which it was out of sight; null: it was not.
  const Span* loss(uint32_t process, int64_t from_ns, int64_t to_ns) const;
  /// `ns` less `span` of time in which the process was not stopped.
  int64_t before(uint32_t process, int64_t ns, int64_t span) const;
  /// How much of the time between the two it was stopped.
  int64_t stopped(uint32_t process, int64_t from_ns, int64_t to_ns) const;

 private:
  std::unordered_map<uint32_t, Span> deaths_;
  std::unordered_map<uint32_t, std::vector<Span>> stops_, losses_;
};

/// All holds, by the time their acquire was called; a complaint when a process was told something
/// that its own calls rule out.
std::string holds_of(const Model& model, const History& history, const Processes& processes,
                     std::vector<Hold>* holds);

/// Where in the history something is wrong.
std::string where(const char* what, const Hold& a, const Hold* b = nullptr);

std::string check_exclusion(const Model& model, std::vector<Hold> holds);
std::string check_tokens(const Model& model, const std::vector<Hold>& holds);
std::string check_deaths(const Model& model, const std::vector<Hold>& holds);
std::string check_sleepers(const Model& model, const History& history, const Processes& processes,
                           const std::vector<Hold>& holds);
std::string check_refusals(const Model& model, const History& history,
                           const std::vector<Hold>& holds);
std::string check_writes(const History& history, const Processes& processes,
                         const std::vector<Hold>& holds);
std::string check_barrier(const Model& model, const History& history, const Processes& processes);

}  // namespace heddle::history
