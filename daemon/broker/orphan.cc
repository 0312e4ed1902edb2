#include "daemon/broker/orphan.h"

#include <utility>

#include "daemon/os/pidfile.h"

namespace heddle::broker {
namespace {

constexpr int64_t kLookNs = 250'000'000;
constexpr uint32_t kPage = 1'000;

}  // namespace

Orphan::Orphan(Loop& loop, Core& core, std::string pid_path, std::function<void(End)> end)
    : loop_(loop), core_(core), pid_path_(std::move(pid_path)), end_(std::move(end)) {
  look_later();
}

void Orphan::look_later() {
  loop_.at(core_.now_ns() + kLookNs, [this, alive = std::weak_ptr(alive_)] {
    if (!alive.expired()) look();
  });
}

void Orphan::look() {
  if (os::pid_file_locked(pid_path_)) return end_(End::kReplaced);
  if (unused()) return end_(End::kUnused);
  look_later();
}

bool Orphan::unused() {
  const Stats stats = core_.stats();
  if (stats.sessions_local + stats.sessions_remote + stats.waiting_callers != 0) return false;
  Caller root;
  root.uid = 0;
  std::string token;
  do {
    const auto page = core_.list(root, ObjectKind::kQueue, "", kPage, token);
    if (!page.ok()) return false;
    for (const ObjectInfo& queue : page->objects) {
      if (queue.counts.unfinished() != 0) return false;
    }
    token = page->next_page_token;
  } while (!token.empty());
  return true;
}

}  // namespace heddle::broker
