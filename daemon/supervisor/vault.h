// The kept descriptors, and their parking with the service manager.
//
// Parking survives this process: each descriptor goes to the manager's store under a short name
// (k + its slot's number; all names together must fit into one 128 KiB variable), and an index
// memfd, parked as well, says what stands in each slot. Orders, so that death in between leaves
// at worst something to throw away: keep = store, then record; drop = clear the record, then
// remove from the store; a slot is used again only after that.
#ifndef HEDDLE_DAEMON_SUPERVISOR_VAULT_H_
#define HEDDLE_DAEMON_SUPERVISOR_VAULT_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "daemon/os/notify.h"
#include "proto/local/keeper.h"

namespace heddle::supervisor {

using local::Fd;

class Vault {
 public:
  static constexpr std::uint32_t kSlotsMax = 65'536;
  // Below FileDescriptorStoreMax of the unit, with room for sockets; beyond it nothing is parked.
  static constexpr std::uint32_t kParkedMax = 16'000;
  static constexpr const char* kIndexName = "index";

  explicit Vault(os::Notifier* notifier) : notifier_(notifier) {}
  ~Vault();
  Vault(const Vault&) = delete;
  Vault& operator=(const Vault&) = delete;

  // Takes back what an earlier supervisor parked; other descriptors stay in `passed`. What has no
  // record is closed and removed from the store.
  void adopt(std::vector<os::PassedFd>* passed);

  // 0, or the errno of the refusal. A second keep under (kind, key) replaces the first.
  int keep(const local::KeepBody& body, Fd fd);
  int drop(char kind, std::uint64_t key);  // ENOENT: nothing is kept under it

  std::size_t size() const { return by_key_.size(); }
  std::size_t parked() const { return parked_; }
  std::vector<std::uint32_t> slots() const;  // all in use, the catalog first
  // null: the slot is free by now. Valid until the next keep() or drop().
  const local::KeepBody* body(std::uint32_t slot) const;
  int fd(std::uint32_t slot) const { return entries_[slot].fd.get(); }

  static std::string slot_name(std::uint32_t slot);
  static bool slot_of(const std::string& name, std::uint32_t* slot);

 private:
  struct Entry {
    local::KeepBody body{};
    Fd fd;
    bool parked = false;
  };
  struct Index;
  bool open_index();
  bool map_index(Fd fd);
  bool take_slot(std::uint32_t* slot);
  void record(std::uint32_t slot, const local::KeepBody& body);
  void erase_record(std::uint32_t slot);
  void park(std::uint32_t slot);

  os::Notifier* notifier_;
  std::vector<Entry> entries_;
  std::vector<std::uint32_t> free_;
  std::map<std::pair<char, std::uint64_t>, std::uint32_t> by_key_;
  std::size_t parked_ = 0;
  Fd index_fd_;
  Index* index_ = nullptr;
  bool index_tried_ = false;
  bool warned_ = false;
};

}  // namespace heddle::supervisor

#endif  // HEDDLE_DAEMON_SUPERVISOR_VAULT_H_
