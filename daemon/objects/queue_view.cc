// What a person sees inside, and the names of leases.
#include <algorithm>
#include <cstring>
#include <map>
#include <tuple>
#include <utility>

#include "daemon/objects/queue.h"

namespace heddle::objects {
namespace {

constexpr size_t kRowsAtOnce = 128;

const char* state_name(shm::SlotState state) {
  switch (state) {
    case shm::SlotState::kReady: return "ready";
    case shm::SlotState::kLeased: return "leased";
    case shm::SlotState::kReturned: return "returned";
    case shm::SlotState::kBuried: return "buried";
    default: return "other";
  }
}

}  // namespace

bool Queue::contains(uint64_t id, unsigned states) {
  std::lock_guard lock(mutex_);
  shm::BrowseRow row;
  return !quarantined() && ring_.browse(&row, 1, id - 1, states) == 1 && row.id == id;
}

std::vector<BrowseItem> Queue::browse(const BrowseParams& params) {
  std::vector<BrowseItem> items;
  std::lock_guard lock(mutex_);
  if (quarantined()) return items;
  const int64_t now = host_.now_ns();
  shm::BrowseRow rows[kRowsAtOnce];
  uint64_t after = params.after_id;
  while (items.size() < params.count_max) {
    const size_t want = std::min<size_t>(kRowsAtOnce, params.count_max - items.size());
    const size_t n = ring_.browse(rows, want, after, params.states);
    for (size_t i = 0; i < n; ++i) {
      const shm::BrowseRow& row = rows[i];
      BrowseItem item;
      item.id = after = row.id;
      item.state = state_name(row.state);
      item.kind = row.kind;
      item.count = row.count;
      item.length = row.length;
      item.ticket = row.ticket;
      if (row.state == shm::SlotState::kLeased) {
        item.holder = holder_of(row);
        item.age_ms = static_cast<uint32_t>(now / 1'000'000) - row.leased_ms;
      }
      const auto lease = leases_.find(row.id);
      if (lease != leases_.end()) item.ticket = lease->second.ticket;
      if (lease != leases_.end() && lease->second.ends_ns != 0) {
        item.lease_ends_ms = std::max<int64_t>(1, (lease->second.ends_ns - now) / 1'000'000);
      }
      if (params.body_bytes_max > 0) {
        item.body.resize(std::min<uint64_t>(row.length, params.body_bytes_max));
        if (!ring_.read_body(row, item.body.data(), item.body.size())) item.body.clear();
      }
      items.push_back(std::move(item));
    }
    if (n < want) break;
  }
  return items;
}

// Many callers share the number that stands for those without a session; the lease knows which one
// took it, as long as the broker lives that gave it.
OwnerInfo Queue::holder_of(const shm::BrowseRow& row) const {
  OwnerInfo info = host_.describe_owner(row.owner);
  if (row.owner != host_.sessionless_owner()) return info;
  info.session_id = 0;
  info.uid = static_cast<uid_t>(-1);
  info.pid = 0;
  const auto found = leases_.find(row.id);
  if (found == leases_.end()) return info;
  info.uid = found->second.uid;
  info.pid = found->second.pid;
  if (found->second.command) info.command = *found->second.command;
  return info;
}

std::vector<Holder> Queue::holders() {
  std::lock_guard lock(mutex_);
  return holders_locked();
}

std::vector<Holder> Queue::holders_locked() {
  std::vector<Holder> out;
  if (quarantined()) return out;
  std::map<std::tuple<uint16_t, uid_t, pid_t>, size_t> index;
  shm::BrowseRow rows[kRowsAtOnce];
  uint64_t after = 0;
  for (size_t n = kRowsAtOnce; n == kRowsAtOnce;) {
    n = ring_.browse(rows, kRowsAtOnce, after, shm::kLeasedMask);
    for (size_t i = 0; i < n; ++i) {
      after = rows[i].id;
      OwnerInfo who = holder_of(rows[i]);
      const auto key = std::tuple(rows[i].owner, who.uid, who.pid);
      const auto [it, fresh] = index.emplace(key, out.size());
      if (fresh) out.push_back({std::move(who), 0, rows[i].id});
      ++out[it->second].leases;
    }
  }
  return out;
}

std::vector<uint16_t> Queue::lease_owners(uint64_t* seen) {
  std::vector<uint16_t> owners;
  std::lock_guard lock(mutex_);
  *seen = 0;
  if (quarantined()) return owners;
  shm::BrowseRow rows[kRowsAtOnce];
  uint64_t after = 0;
  for (size_t n = kRowsAtOnce; n == kRowsAtOnce;) {
    n = ring_.browse(rows, kRowsAtOnce, after, shm::kLeasedMask);
    for (size_t i = 0; i < n; ++i) {
      after = rows[i].id;
      *seen = *seen * 0x9e3779b97f4a7c15 + (rows[i].id ^ uint64_t{rows[i].owner} << 48);
      const auto at = std::lower_bound(owners.begin(), owners.end(), rows[i].owner);
      if (at == owners.end() || *at != rows[i].owner) owners.insert(at, rows[i].owner);
    }
  }
  return owners;
}

void Queue::wake_joiners() {
  std::lock_guard lock(mutex_);
  if (!quarantined()) ring_.wake_joiners(actor(host_.own_owner()));
}

void Queue::restore(const std::unordered_map<uint16_t, int64_t>& term_ns_by_owner) {
  std::lock_guard lock(mutex_);
  if (quarantined()) return;
  uint16_t owner = 0;
  uint64_t key = 0;
  for (uint32_t cell = 0; ring_.next_producer(&cell, &owner, &key); ++cell) {
    if (term_ns_by_owner.contains(owner)) producers_[{owner, key}] = cell;
  }
  const int64_t now = host_.now_ns();
  shm::BrowseRow rows[kRowsAtOnce];
  uint64_t after = 0;
  for (size_t n = kRowsAtOnce; n == kRowsAtOnce;) {
    n = ring_.browse(rows, kRowsAtOnce, after, shm::kLeasedMask);
    for (size_t i = 0; i < n; ++i) {
      after = rows[i].id;
      const auto term = term_ns_by_owner.find(rows[i].owner);
      if (term == term_ns_by_owner.end()) continue;
      const int64_t ends = term->second == 0 ? 0 : now + term->second;
      rows[i].ticket.reserved = rows[i].count;
      add_lease({.ticket = rows[i].ticket,
                 .owner = rows[i].owner,
                 .ends_ns = ends,
                 .restored = true,
                 .command = nullptr});
    }
  }
}

namespace {

constexpr char kAlphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

}  // namespace

std::string lease_name(const shm::Ticket& ticket) {
  static_assert(sizeof(shm::Ticket) == 24);
  unsigned char bytes[24];
  std::memcpy(bytes, &ticket, sizeof bytes);
  std::string text;
  for (size_t i = 0; i < sizeof bytes; i += 3) {
    const uint32_t word = uint32_t{bytes[i]} << 16 | uint32_t{bytes[i + 1]} << 8 | bytes[i + 2];
    for (int shift = 18; shift >= 0; shift -= 6) text.push_back(kAlphabet[word >> shift & 63]);
  }
  return text;
}

bool parse_lease_name(std::string_view text, shm::Ticket* out) {
  if (text.size() != 32) return false;
  unsigned char bytes[24];
  for (size_t i = 0; i < 8; ++i) {
    uint32_t word = 0;
    for (size_t j = 0; j < 4; ++j) {
      const char* at = std::strchr(kAlphabet, text[4 * i + j]);
      if (!at || *at == 0) return false;
      word = word << 6 | static_cast<uint32_t>(at - kAlphabet);
    }
    bytes[3 * i] = static_cast<unsigned char>(word >> 16);
    bytes[3 * i + 1] = static_cast<unsigned char>(word >> 8);
    bytes[3 * i + 2] = static_cast<unsigned char>(word);
  }
  std::memcpy(out, bytes, sizeof bytes);
  return true;
}

}  // namespace heddle::objects
