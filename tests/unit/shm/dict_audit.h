// Every word of a dict nobody is at work on, checked against every other.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "proto/shm/dict.h"

namespace heddle::shm {

struct AuditedEntry {
  std::string value;
  uint64_t create_revision, mod_revision, version;
  uint8_t kind;
  int64_t expires_ms;
  uint64_t owner;
};

class DictAudit {
 public:
  explicit DictAudit(Dict& dict) : dict_(dict), memory_(dict.memory()) {}

  /// Empty, or what is wrong. `pending`: a change may be without revision and somebody at work.
  std::string run();
  const std::map<std::string, AuditedEntry>& entries() const { return entries_; }
  uint64_t tail() const { return tail_; }

 private:
  void node(uint64_t heap, uint32_t level);
  void bucket(std::atomic<uint64_t>& word, uint64_t prefix, uint32_t depth);
  void block(uint32_t line, uint64_t prefix, uint32_t depth);
  void record(uint64_t pair, uint64_t prefix, uint32_t depth);
  void history();
  void previous(uint64_t before);
  void list(uint32_t line, uint64_t revision);
  void budget();
  void extents();
  void chunks(uint32_t e, uint32_t size_class);
  void rows();
  void lent(uint32_t line, uint64_t stamp);
  void wrong(const std::string& what) {
    if (wrong_.size() < 400) wrong_ += what + "; ";
  }

  Dict& dict_;
  DictMemory& memory_;
  std::string wrong_;
  std::map<std::string, AuditedEntry> entries_;
  std::map<uint32_t, uint64_t> pins_;  // record -> those it must have
  std::set<uint32_t> used_;            // blocks and arrays
  std::set<uint32_t> cached_;          // named in a magazine of a row that is taken
  std::set<uint32_t> lent_;
  uint64_t tail_ = 0, live_bytes_ = 0;
};

}  // namespace heddle::shm
