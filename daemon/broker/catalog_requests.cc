// The ring of request ids: what makes a repeated put one put.
#include <algorithm>
#include <cstring>
#include <string>

#include "daemon/broker/catalog.h"

namespace heddle::broker {

std::string Catalog::request_key(const RequestEntry& entry) {
  std::string key(reinterpret_cast<const char*>(&entry), offsetof(RequestEntry, id_bytes));
  key.append(entry.id, std::min<size_t>(entry.id_bytes, sizeof entry.id));
  return key;
}

uint32_t Catalog::request_slot(uint64_t number) const {
  if ((number & kChangeBit) != 0)
    return static_cast<uint32_t>((number & ~kChangeBit) % kChangesMax);
  return kChangesMax + static_cast<uint32_t>(number % header_->requests_max);
}

template <class Visit>
void Catalog::each_request_slot(Visit visit) const {
  const uint64_t changes = std::min<uint64_t>(kChangesMax, header_->next_change.load() + 1);
  const uint64_t puts = std::min<uint64_t>(header_->requests_max, header_->next_request.load() + 1);
  for (uint32_t slot = 0; slot < changes; ++slot) visit(slot);
  for (uint32_t slot = 0; slot < puts; ++slot) visit(kChangesMax + slot);
}

void Catalog::index_requests() {
  each_request_slot([this](uint32_t slot) {
    if (requests_[slot].commit.load(std::memory_order_acquire) == 0) return;
    request_slots_[request_key(requests_[slot].entry)] = slot;
  });
}

void Catalog::forget_request(uint32_t slot) {
  RequestRecord& record = requests_[slot];
  if (record.commit.load() == 0) return;
  const auto it = request_slots_.find(request_key(record.entry));
  if (it != request_slots_.end() && it->second == slot) request_slots_.erase(it);
  record.commit.store(0, std::memory_order_release);
}

Catalog::Request Catalog::begin_request(uint64_t object_id, uint32_t uid, std::string_view id,
                                        uint32_t count) {
  RequestEntry entry{};
  entry.object_id = object_id;
  entry.uid = uid;
  entry.id_bytes = static_cast<uint8_t>(std::min<size_t>(id.size(), kRequestIdBytesMax));
  std::memcpy(entry.id, id.data(), entry.id_bytes);
  std::lock_guard lock(mutex_);
  Request request;
  if (const auto it = request_slots_.find(request_key(entry)); it != request_slots_.end()) {
    RequestRecord& record = requests_[it->second];
    const uint64_t word = record.commit.load(std::memory_order_acquire);
    request.number = commit_number(word);
    request.state = static_cast<RequestState>(commit_state(word));
    if (request.state == RequestState::kStarted) return request;
    const uint32_t noted = std::min(record.ids_count.load(), kRequestMessagesMax);
    for (uint32_t i = 0; i < noted; ++i) request.ids.push_back(record.ids[i].load());
    if (request.state == RequestState::kPartly && noted >= count) {
      request.state = RequestState::kDone;
    } else if (request.state == RequestState::kPartly) {
      record.commit.store(commit_word(request.number, static_cast<uint8_t>(RequestState::kStarted)),
                          std::memory_order_release);
    }
    return request;
  }
  request.number = header_->next_request.fetch_add(1) + 1;
  RequestRecord& record = new_request(entry, request.number);
  record.commit.store(commit_word(request.number, static_cast<uint8_t>(RequestState::kStarted)),
                      std::memory_order_release);
  return request;
}

RequestRecord& Catalog::new_request(const RequestEntry& entry, uint64_t number) {
  const uint32_t slot = request_slot(number);
  forget_request(slot);
  RequestRecord& record = requests_[slot];
  std::memcpy(&record.entry, &entry, sizeof entry);
  record.ids_count.store(0);
  request_slots_[request_key(entry)] = slot;
  return record;
}

RequestRecord* Catalog::started_request(uint64_t number) const {
  RequestRecord& record = requests_[request_slot(number)];
  const uint64_t started = commit_word(number, static_cast<uint8_t>(RequestState::kStarted));
  // Otherwise the ring went round meanwhile.
  return record.commit.load(std::memory_order_acquire) == started ? &record : nullptr;
}

void Catalog::note_request(uint64_t number, uint64_t id) {
  std::lock_guard lock(mutex_);
  RequestRecord* record = started_request(number);
  if (!record) return;
  const uint32_t noted = record->ids_count.load();
  if (noted >= kRequestMessagesMax) return;
  for (uint32_t i = 0; i < noted; ++i) {
    if (record->ids[i].load() == id) return;
  }
  record->ids[noted].store(id);
  record->ids_count.store(noted + 1, std::memory_order_release);
}

void Catalog::end_request_locked(RequestRecord& record, bool done) {
  const uint64_t number = commit_number(record.commit.load());
  if (record.ids_count.load() == 0) {
    forget_request(request_slot(number));
    return;
  }
  const RequestState state = done ? RequestState::kDone : RequestState::kPartly;
  record.commit.store(commit_word(number, static_cast<uint8_t>(state)), std::memory_order_release);
}

void Catalog::end_request(uint64_t number, bool done) {
  std::lock_guard lock(mutex_);
  if (RequestRecord* record = started_request(number)) end_request_locked(*record, done);
}

uint64_t Catalog::request_object(uint64_t number) const {
  std::lock_guard lock(mutex_);
  const RequestRecord* record = started_request(number);
  return record ? record->entry.object_id : 0;
}

void Catalog::end_all_requests() {
  std::lock_guard lock(mutex_);
  each_request_slot([this](uint32_t slot) {
    const uint64_t word = requests_[slot].commit.load(std::memory_order_acquire);
    if (commit_state(word) == static_cast<uint8_t>(RequestState::kStarted)) {
      end_request_locked(requests_[slot], false);
    }
  });
}

namespace {

// Nobody's uid, so that no put has the key of a change.
constexpr uint32_t kChangeUid = UINT32_MAX;

RequestEntry change_entry(uint64_t object_id, uint64_t request) {
  RequestEntry entry{};
  entry.object_id = object_id;
  entry.uid = kChangeUid;
  entry.id_bytes = sizeof request;
  std::memcpy(entry.id, &request, sizeof request);
  return entry;
}

}  // namespace

uint64_t Catalog::begin_change(const objects::HoldChange& change) {
  const RequestEntry entry = change_entry(change.object_id, change.request);
  std::lock_guard lock(mutex_);
  const auto known = request_slots_.find(request_key(entry));
  if (known != request_slots_.end()) forget_request(known->second);
  const uint64_t number = kChangeBit | (header_->next_change.fetch_add(1) + 1);
  RequestRecord& record = new_request(entry, number);
  record.ids[0].store(uint64_t{change.before} << 32 | change.n);
  record.ids[1].store(uint64_t{change.mode} << 33 | uint64_t{change.release} << 32 | change.holder);
  record.ids_count.store(2);
  record.commit.store(commit_word(number, static_cast<uint8_t>(RequestState::kStarted)),
                      std::memory_order_release);
  return number;
}

void Catalog::settle_change(uint64_t number, bool done) {
  std::lock_guard lock(mutex_);
  RequestRecord* const record = started_request(number);
  if (!record) return;
  uint64_t request;
  std::memcpy(&request, record->entry.id, sizeof request);
  if (done && request != 0) {
    end_request_locked(*record, true);
  } else {
    forget_request(request_slot(number));
  }
}

bool Catalog::take_change(uint64_t object_id, uint64_t request) {
  std::lock_guard lock(mutex_);
  const auto known = request_slots_.find(request_key(change_entry(object_id, request)));
  if (known == request_slots_.end()) return false;
  const uint64_t word = requests_[known->second].commit.load();
  const bool made = commit_state(word) == static_cast<uint8_t>(RequestState::kDone);
  if (!made || commit_number(word) > (kChangeBit | inherited_changes_)) return false;
  forget_request(known->second);
  return true;
}

std::vector<std::pair<uint64_t, objects::HoldChange>> Catalog::open_changes() const {
  std::vector<std::pair<uint64_t, objects::HoldChange>> open;
  std::lock_guard lock(mutex_);
  each_request_slot([&](uint32_t slot) {
    const RequestRecord& record = requests_[slot];
    const uint64_t word = record.commit.load(std::memory_order_acquire);
    const bool started = commit_state(word) == static_cast<uint8_t>(RequestState::kStarted);
    if (!started || record.entry.uid != kChangeUid) return;
    const uint64_t first = record.ids[0].load(), second = record.ids[1].load();
    open.emplace_back(commit_number(word),
                      objects::HoldChange{.object_id = record.entry.object_id,
                                          .holder = static_cast<uint32_t>(second),
                                          .n = static_cast<uint32_t>(first),
                                          .before = static_cast<uint32_t>(first >> 32),
                                          .release = (second >> 32 & 1) != 0,
                                          .mode = static_cast<uint8_t>(second >> 33)});
  });
  return open;
}

}  // namespace heddle::broker
