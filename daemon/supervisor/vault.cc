#include "daemon/supervisor/vault.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <cstring>

#include "daemon/os/files.h"
#include "daemon/os/log.h"

namespace heddle::supervisor {

using os::LogLevel;

// Written by the supervisor alone and mapped by nobody else. A record with kind 0 is free.
struct Vault::Index {
  static constexpr std::uint64_t kMagic = 0x3158444e49444c48;  // "HLDINDX1"
  std::uint64_t magic;
  std::uint32_t record_bytes;
  std::uint32_t slots;
  std::uint8_t reserved[48];
  local::KeepBody records[kSlotsMax];
};

namespace {

constexpr char kDigits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_-";

}  // namespace

std::string Vault::slot_name(std::uint32_t slot) {
  std::string digits;
  do {
    digits.insert(digits.begin(), kDigits[slot % 64]);
    slot /= 64;
  } while (slot != 0);
  return "k" + digits;
}

bool Vault::slot_of(const std::string& name, std::uint32_t* slot) {
  if (name.size() < 2 || name.size() > 4 || name[0] != 'k') return false;
  std::uint32_t value = 0;
  for (char c : name.substr(1)) {
    const char* digit = c == 0 ? nullptr : std::strchr(kDigits, c);
    if (!digit) return false;
    value = value * 64 + static_cast<std::uint32_t>(digit - kDigits);
  }
  *slot = value;
  return value < kSlotsMax && slot_name(value) == name;
}

Vault::~Vault() {
  if (index_) ::munmap(index_, sizeof(Index));
}

bool Vault::map_index(Fd fd) {
  struct stat status;
  if (!fd || ::fstat(fd.get(), &status) != 0 ||
      status.st_size != static_cast<off_t>(sizeof(Index))) {
    return false;
  }
  void* base = ::mmap(nullptr, sizeof(Index), PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (base == MAP_FAILED) return false;
  index_ = static_cast<Index*>(base);
  index_fd_ = std::move(fd);
  return true;
}

bool Vault::open_index() {
  if (index_ || index_tried_ || !notifier_->active()) return index_ != nullptr;
  index_tried_ = true;
  if (!map_index(os::make_sealed_memfd("heddle-index", sizeof(Index)))) {
    os::log(LogLevel::kWarning, "cannot make the index of kept descriptors: %s; they will not "
            "survive this process", os::errno_text(errno).c_str());
    return false;
  }
  index_->record_bytes = sizeof(local::KeepBody);
  index_->slots = kSlotsMax;
  index_->magic = Index::kMagic;
  return notifier_->store(kIndexName, index_fd_.get());
}

void Vault::adopt(std::vector<os::PassedFd>* passed) {
  std::vector<os::PassedFd> rest;
  std::vector<std::pair<std::uint32_t, Fd>> found;
  for (os::PassedFd& item : *passed) {
    std::uint32_t slot;
    if (item.name == kIndexName) {
      map_index(std::move(item.fd));
    } else if (slot_of(item.name, &slot)) {
      found.emplace_back(slot, std::move(item.fd));
    } else {
      rest.push_back(std::move(item));
    }
  }
  *passed = std::move(rest);
  if (index_ && (index_->magic != Index::kMagic || index_->slots != kSlotsMax ||
                 index_->record_bytes != sizeof(local::KeepBody))) {
    ::munmap(std::exchange(index_, nullptr), sizeof(Index));
    index_fd_.reset();
    notifier_->unstore(kIndexName);
  }
  std::size_t orphans = 0;
  std::vector<std::uint32_t> taken;
  for (auto& [slot, fd] : found) {
    if (entries_.size() <= slot) entries_.resize(slot + 1);
    const bool known = index_ && index_->records[slot].kind != 0 && !entries_[slot].fd;
    if (!known) {
      notifier_->unstore(slot_name(slot));
      ++orphans;
      continue;
    }
    const local::KeepBody& body = index_->records[slot];
    entries_[slot] = {body, std::move(fd), true};
    by_key_[{static_cast<char>(body.kind), body.key}] = slot;
    ++parked_;
  }
  for (std::uint32_t slot = 0; index_ && slot < kSlotsMax; ++slot) {
    const bool lost = index_->records[slot].kind != 0 &&
                      (slot >= entries_.size() || !entries_[slot].fd);
    if (lost) erase_record(slot);
  }
  for (std::uint32_t slot = static_cast<std::uint32_t>(entries_.size()); slot-- > 0;) {
    if (!entries_[slot].fd) free_.push_back(slot);
  }
  if (!found.empty()) {
    os::log(LogLevel::kNotice, "took %zu descriptors back from the service manager, threw %zu away",
            parked_, orphans);
  }
}

bool Vault::take_slot(std::uint32_t* slot) {
  if (!free_.empty()) {
    *slot = free_.back();
    free_.pop_back();
    return true;
  }
  if (entries_.size() >= kSlotsMax) return false;
  *slot = static_cast<std::uint32_t>(entries_.size());
  entries_.emplace_back();
  return true;
}

void Vault::record(std::uint32_t slot, const local::KeepBody& body) {
  local::KeepBody& record = index_->records[slot];
  local::KeepBody unpublished = body;
  unpublished.kind = 0;
  record = unpublished;
  std::atomic_ref(record.kind).store(body.kind, std::memory_order_release);
}

void Vault::erase_record(std::uint32_t slot) {
  if (index_) std::atomic_ref(index_->records[slot].kind).store(0, std::memory_order_release);
}

void Vault::park(std::uint32_t slot) {
  if (!open_index()) return;
  if (parked_ >= kParkedMax) {
    if (!std::exchange(warned_, true)) {
      os::log(LogLevel::kWarning, "%u descriptors are parked, which is the limit; further objects "
              "live only as long as this process", kParkedMax);
    }
    return;
  }
  Entry& entry = entries_[slot];
  if (!notifier_->store(slot_name(slot), entry.fd.get())) {
    os::log(LogLevel::kWarning, "the service manager did not take \"%s\" (%s): it lives only as "
            "long as this process", entry.body.label, os::errno_text(errno).c_str());
    return;
  }
  record(slot, entry.body);
  entry.parked = true;
  ++parked_;
}

int Vault::keep(const local::KeepBody& body, Fd fd) {
  if (!fd || body.kind == 0) return EINVAL;
  const std::pair key{static_cast<char>(body.kind), body.key};
  if (by_key_.count(key) != 0) drop(key.first, key.second);
  std::uint32_t slot;
  if (!take_slot(&slot)) return ENOSPC;
  Entry& entry = entries_[slot];
  entry.body = body;
  entry.body.label[local::kKeptLabelBytes - 1] = 0;
  entry.fd = std::move(fd);
  by_key_[key] = slot;
  park(slot);
  return 0;
}

int Vault::drop(char kind, std::uint64_t key) {
  const auto found = by_key_.find({kind, key});
  if (found == by_key_.end()) return ENOENT;
  const std::uint32_t slot = found->second;
  by_key_.erase(found);
  Entry& entry = entries_[slot];
  entry.fd.reset();
  if (std::exchange(entry.parked, false)) {
    --parked_;
    erase_record(slot);
    if (!notifier_->unstore(slot_name(slot))) return 0;  // the name may be in use: never again
  }
  free_.push_back(slot);
  return 0;
}

std::vector<std::uint32_t> Vault::slots() const {
  std::vector<std::uint32_t> slots;
  slots.reserve(by_key_.size());
  for (const auto& [key, slot] : by_key_) slots.push_back(slot);
  std::stable_partition(slots.begin(), slots.end(), [this](std::uint32_t slot) {
    return entries_[slot].body.kind == static_cast<std::uint8_t>(local::KeptKind::kCatalog);
  });
  return slots;
}

const local::KeepBody* Vault::body(std::uint32_t slot) const {
  return slot < entries_.size() && entries_[slot].fd ? &entries_[slot].body : nullptr;
}

}  // namespace heddle::supervisor
