// A broker whose supervisor has died. Nobody can keep new memory for it, so it makes nothing and
// takes no new local client; whoever is attached it serves on, and what its queues hold may be
// taken out over gRPC. It ends when that is over, or when there is a new heddled, whose names are
// the ones that count.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "daemon/broker/core.h"
#include "daemon/broker/loop.h"

namespace heddle::broker {

// Broker thread only.
class Orphan {
 public:
  enum class End { kUnused, kReplaced };  // no client and no message is left; another heddled runs

  // Looks a few times a second whether it is over, and calls `end` once. `pid_path`: the pid file,
  // whose lock every heddled of this runtime directory holds.
  Orphan(Loop& loop, Core& core, std::string pid_path, std::function<void(End)> end);

 private:
  void look();
  void look_later();
  bool unused();

  Loop& loop_;
  Core& core_;
  const std::string pid_path_;
  const std::function<void(End)> end_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // for work left in the loop
};

}  // namespace heddle::broker
