#include "daemon/broker/dict_once.h"

#include <algorithm>

#include "daemon/broker/change_once.h"

namespace heddle::broker {
namespace {

constexpr uint64_t kHalf = 0xffffffff;

OnceNumbers numbers_of(const DictDone& done) {
  return {uint64_t{static_cast<uint8_t>(done.outcome)} << 1 | done.written.existed,
          done.written.revision,
          done.written.create_revision,
          done.written.version,
          done.value >> 32,
          done.value & kHalf};
}

void read_done(const OnceNumbers& numbers, DictDone* out) {
  out->outcome = static_cast<shm::Outcome>(numbers[0] >> 1);
  out->written.existed = (numbers[0] & 1) != 0;
  out->written.revision = numbers[1];
  out->written.create_revision = numbers[2];
  out->written.version = numbers[3];
  out->value = numbers[4] << 32 | numbers[5];
}

/// Whether one of the keys may have changed since.
bool changed_since(objects::Dict& dict, const std::vector<std::string_view>& keys,
                   uint64_t revision) {
  local::DictNext next{revision + 1, 0};
  const uint64_t last = dict.revision();
  while (next.revision <= last) {
    std::vector<local::DictEvent> events;
    if (!dict.changes({}, false, 256, uint64_t{1} << 20, &next, &events).ok()) return true;
    if (events.empty()) break;
    for (const auto& event : events) {
      if (std::find(keys.begin(), keys.end(), event.item.key) != keys.end()) return true;
    }
  }
  return false;
}

}  // namespace

Status change_dict_once(const DictAsk& ask, const std::function<Status(DictDone*)>& change,
                        DictDone* done, bool* again) {
  auto& dict = static_cast<objects::Dict&>(*ask.ref.member);
  OnceNumbers numbers{};
  Status status = change_once(
      {ask.broker, ask.caller, ask.ref, ask.request_id, [&dict] { return dict.revision(); },
       [&](uint64_t revision) { return changed_since(dict, ask.keys, revision); }},
      [&](OnceNumbers* made) {
        Status ended = change(done);
        *made = numbers_of(*done);
        return ended;
      },
      &numbers, again);
  if (*again) read_done(numbers, done);
  return status;
}

}  // namespace heddle::broker
