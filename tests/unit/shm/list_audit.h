// Every word of a list nobody is at work on, checked against every other.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "proto/shm/list.h"

namespace heddle::shm {

struct AuditedElement {
  std::string value;
  uint64_t revision;
  friend bool operator==(const AuditedElement&, const AuditedElement&) = default;
};

class ListAudit {
 public:
  explicit ListAudit(List& list) : list_(list), memory_(list.memory()) {}

  /// Empty, or what is wrong.
  std::string run();
  const std::vector<AuditedElement>& elements() const { return elements_; }
  std::vector<std::string> values() const;
  uint64_t revision() const { return revision_; }
  /// Somebody is about to publish.
  static bool is_announced(List& list) {
    for (uint32_t i = 0; i < list.memory().header().rows_used.load(); ++i) {
      const ListJournal& j = list.journal(i);
      if (dict_phase(j.phase.load()) == DictPhase::kRun && j.head.load() != 0) return true;
    }
    return false;
  }

 private:
  uint64_t tree(uint64_t ref, uint32_t height);
  void record(uint64_t ref);
  bool in_use(uint64_t ref, const char* what);
  void rows();
  void extents();
  void chunks(uint32_t e, uint32_t size_class);
  void wrong(const std::string& what) {
    if (wrong_.size() < 400) wrong_ += what + "; ";
  }

  List& list_;
  DictMemory& memory_;
  std::string wrong_;
  std::vector<AuditedElement> elements_;
  uint64_t revision_ = 0, bytes_ = 0;
  std::set<uint32_t> used_, resting_, cached_, lent_;
};

}  // namespace heddle::shm
