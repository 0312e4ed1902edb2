#include "daemon/broker/dict_once.h"

#include <algorithm>

namespace heddle::broker {
namespace {

// Numbers in the catalog must differ, so each begins with its place.
constexpr uint32_t kTagShift = 58;
constexpr uint64_t kTagged = (uint64_t{1} << kTagShift) - 1;
enum Tag : uint64_t { kBefore, kOutcome, kRevision, kCreated, kVersion, kValueHigh, kValueLow };
constexpr size_t kNumbers = 7;
constexpr uint64_t kHalf = 0xffffffff;

uint64_t tagged(Tag tag, uint64_t number) {
  return uint64_t{tag} << kTagShift | (number & kTagged);
}

bool find(const std::vector<uint64_t>& ids, Tag tag, uint64_t* out) {
  const auto at =
      std::find_if(ids.begin(), ids.end(), [tag](uint64_t id) { return id >> kTagShift == tag; });
  if (at == ids.end()) return false;
  *out = *at & kTagged;
  return true;
}

std::vector<uint64_t> numbers_of(const DictDone& done) {
  return {
      tagged(kOutcome, uint64_t{static_cast<uint8_t>(done.outcome)} << 1 | done.written.existed),
      tagged(kRevision, done.written.revision),
      tagged(kCreated, done.written.create_revision),
      tagged(kVersion, done.written.version),
      tagged(kValueHigh, done.value >> 32),
      tagged(kValueLow, done.value & kHalf)};
}

bool read(const std::vector<uint64_t>& ids, DictDone* out) {
  uint64_t outcome = 0, high = 0, low = 0;
  if (!find(ids, kOutcome, &outcome) || !find(ids, kValueHigh, &high) ||
      !find(ids, kValueLow, &low) || !find(ids, kRevision, &out->written.revision) ||
      !find(ids, kCreated, &out->written.create_revision) ||
      !find(ids, kVersion, &out->written.version)) {
    return false;
  }
  out->outcome = static_cast<shm::Outcome>(outcome >> 1);
  out->written.existed = (outcome & 1) != 0;
  out->value = high << 32 | low;
  return true;
}

Status not_known(const MemberRef& ref) {
  return Status(Reason::kBrokerAway,
                "the broker was killed while it was at this change, and somebody has changed the "
                "entry: it may or may not have been made; read it")
      .with_object(ref.member->label());
}

/// Whether one of the keys may have changed since.
bool changed_since(const DictAsk& ask, uint64_t revision) {
  auto& dict = static_cast<objects::Dict&>(*ask.ref.member);
  local::DictNext next{revision + 1, 0};
  const uint64_t last = dict.revision();
  while (next.revision <= last) {
    std::vector<local::DictEvent> events;
    if (!dict.changes({}, false, 256, uint64_t{1} << 20, &next, &events).ok()) return true;
    if (events.empty()) break;
    for (const auto& event : events) {
      if (std::find(ask.keys.begin(), ask.keys.end(), event.item.key) != ask.keys.end()) {
        return true;
      }
    }
  }
  return false;
}

}  // namespace

Status change_once(const DictAsk& ask, const std::function<Status(DictDone*)>& change,
                   DictDone* done, bool* again) {
  *again = false;
  if (ask.request_id.empty()) return change(done);
  auto request = ask.broker.begin_numbers(ask.caller, ask.ref.object_id, ask.ref.member->label(),
                                          ask.request_id, kNumbers);
  if (!request.ok()) return request.status();
  const std::vector<uint64_t>& known = request->record.ids;
  if (read(known, done)) {
    *again = true;
    if (!request->seen) ask.broker.finish_request(*request, known);
    return {};
  }
  uint64_t before = 0;
  if (!find(known, kBefore, &before)) {
    before = static_cast<objects::Dict&>(*ask.ref.member).revision();
    ask.broker.note_number(*request, tagged(kBefore, before));
  } else if (changed_since(ask, before)) {
    ask.broker.finish_request(*request, {});
    return not_known(ask.ref);
  }
  Status status = change(done);
  std::vector<uint64_t> numbers = numbers_of(*done);
  if (status.ok()) {
    for (const uint64_t number : numbers) ask.broker.note_number(*request, number);
    numbers.push_back(tagged(kBefore, before));
  } else {
    numbers.clear();
  }
  ask.broker.finish_request(*request, numbers);
  return status;
}

}  // namespace heddle::broker
