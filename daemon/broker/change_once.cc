#include "daemon/broker/change_once.h"

#include <algorithm>
#include <tuple>
#include <vector>

namespace heddle::broker {
namespace {

// Numbers in the catalog must differ, so each begins with its place: 0 is the revision before.
constexpr uint32_t kTagShift = 58;
constexpr uint64_t kTagged = (uint64_t{1} << kTagShift) - 1;
constexpr size_t kOnceNumbers = 1 + std::tuple_size_v<OnceNumbers>;

uint64_t tagged(uint64_t tag, uint64_t number) { return tag << kTagShift | (number & kTagged); }

bool find_tagged(const std::vector<uint64_t>& ids, uint64_t tag, uint64_t* out) {
  const auto at =
      std::find_if(ids.begin(), ids.end(), [tag](uint64_t id) { return id >> kTagShift == tag; });
  if (at == ids.end()) return false;
  *out = *at & kTagged;
  return true;
}

bool read_numbers(const std::vector<uint64_t>& ids, OnceNumbers* out) {
  for (size_t i = 0; i < out->size(); ++i) {
    if (!find_tagged(ids, i + 1, &(*out)[i])) return false;
  }
  return true;
}

Status not_known(const MemberRef& ref) {
  return Status(Reason::kBrokerAway,
                "the broker was killed while it was at this change, and somebody has changed the "
                "same since: it may or may not have been made; read it")
      .with_object(ref.member->label());
}

}  // namespace

Status change_once(const OnceAsk& ask, const std::function<Status(OnceNumbers*)>& change,
                   OnceNumbers* done, bool* again) {
  *again = false;
  if (ask.request_id.empty()) return change(done);
  auto request = ask.broker.begin_numbers(ask.caller, ask.ref.object_id, ask.ref.member->label(),
                                          ask.request_id, kOnceNumbers);
  if (!request.ok()) return request.status();
  const std::vector<uint64_t>& known = request->record.ids;
  if (read_numbers(known, done)) {
    *again = true;
    if (!request->seen) ask.broker.finish_request(*request, known);
    return {};
  }
  uint64_t before = 0;
  if (!find_tagged(known, 0, &before)) {
    before = ask.revision();
    ask.broker.note_number(*request, tagged(0, before));
  } else if (ask.changed_since(before)) {
    ask.broker.finish_request(*request, {});
    return not_known(ask.ref);
  }
  Status status = change(done);
  std::vector<uint64_t> numbers;
  if (status.ok()) {
    for (size_t i = 0; i < done->size(); ++i) {
      numbers.push_back(tagged(i + 1, (*done)[i]));
      ask.broker.note_number(*request, numbers.back());
    }
    numbers.push_back(tagged(0, before));
  }
  ask.broker.finish_request(*request, numbers);
  return status;
}

}  // namespace heddle::broker
