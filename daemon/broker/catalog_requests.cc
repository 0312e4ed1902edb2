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

void Catalog::index_requests() {
  const uint64_t used =
      std::min<uint64_t>(header_->requests_max, header_->next_request.load() + 1);
  for (uint32_t slot = 0; slot < used; ++slot) {
    if (requests_[slot].commit.load(std::memory_order_acquire) == 0) continue;
    request_slots_[request_key(requests_[slot].entry)] = slot;
  }
}

void Catalog::forget_request(uint32_t slot) {
  RequestRecord& record = requests_[slot];
  if (record.commit.load() == 0) return;
  const auto it = request_slots_.find(request_key(record.entry));
  if (it != request_slots_.end() && it->second == slot) request_slots_.erase(it);
  record.commit.store(0, std::memory_order_release);
}

Catalog::Request Catalog::begin_request(uint64_t object_id, uint32_t uid, std::string_view id) {
  RequestEntry entry{};
  entry.object_id = object_id;
  entry.uid = uid;
  entry.id_bytes = static_cast<uint8_t>(std::min<size_t>(id.size(), kRequestIdBytesMax));
  std::memcpy(entry.id, id.data(), entry.id_bytes);
  std::lock_guard lock(mutex_);
  Request request;
  if (const auto it = request_slots_.find(request_key(entry)); it != request_slots_.end()) {
    const RequestRecord& record = requests_[it->second];
    const uint64_t word = record.commit.load(std::memory_order_acquire);
    request.slot = it->second;
    request.number = commit_number(word);
    request.state = static_cast<RequestState>(commit_state(word));
    if (request.state != RequestState::kDone) return request;
    const uint32_t count = std::min(record.ids_count.load(), kRequestMessagesMax);
    for (uint32_t i = 0; i < count; ++i) request.ids.push_back(record.ids[i].load());
    return request;
  }
  request.number = header_->next_request.fetch_add(1) + 1;
  request.slot = static_cast<uint32_t>(request.number % header_->requests_max);
  forget_request(request.slot);
  RequestRecord& record = requests_[request.slot];
  std::memcpy(&record.entry, &entry, sizeof entry);
  record.ids_count.store(0);
  record.commit.store(commit_word(request.number, static_cast<uint8_t>(RequestState::kStarted)),
                      std::memory_order_release);
  request_slots_[request_key(entry)] = request.slot;
  return request;
}

void Catalog::finish_request(uint32_t slot, uint64_t number, const std::vector<uint64_t>& ids) {
  std::lock_guard lock(mutex_);
  RequestRecord& record = requests_[slot];
  if (commit_number(record.commit.load()) != number) return;  // the ring went round meanwhile
  const auto count = static_cast<uint32_t>(std::min<size_t>(ids.size(), kRequestMessagesMax));
  for (uint32_t i = 0; i < count; ++i) record.ids[i].store(ids[i]);
  record.ids_count.store(count);
  record.commit.store(commit_word(number, static_cast<uint8_t>(RequestState::kDone)),
                      std::memory_order_release);
}

void Catalog::abandon_request(uint32_t slot, uint64_t number) {
  std::lock_guard lock(mutex_);
  if (commit_number(requests_[slot].commit.load()) == number) forget_request(slot);
}

}  // namespace heddle::broker
