// What the broker needs of every object that is one segment with a name: dicts, and kinds that come
// to stand beside them. The rest is the kind's own.
//
// Threads: every method may be called from any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

namespace heddle::objects {

class Member {
 public:
  Member(std::string name, std::string label, uint64_t object_id)
      : name_(std::move(name)), label_(std::move(label)), object_id_(object_id) {}
  virtual ~Member() = default;

  const std::string& name() const { return name_; }
  const std::string& label() const { return label_; }  // "dict settings"
  uint64_t object_id() const { return object_id_; }

  // Its memory contradicts itself; it serves nobody any more.
  bool quarantined() const { return quarantined_.load(); }
  // This session has ended: repairs what its threads left, and gives back what was to end with it.
  // Again = no change.
  virtual void reap(uint16_t owner, uint64_t session_id) = 0;
  // 20 times a second: what is due by the clock, and help for what a stopped thread left half done.
  virtual void tick() = 0;
  // It was deleted. Whoever waits is told.
  virtual void end_of_object() = 0;
  // Remote callers that wait.
  virtual uint32_t waiting_callers() const { return 0; }

 protected:
  std::atomic<bool> quarantined_{false};

 private:
  const std::string name_, label_;
  const uint64_t object_id_;
};

}  // namespace heddle::objects
