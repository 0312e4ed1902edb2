// A catalog and queues under a byte budget, without a broker around them.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <map>
#include <memory>
#include <string>

#include "daemon/broker/memory_grants.h"
#include "tests/unit/shm/queue_fixture.h"

namespace heddle::broker {

class GrantWorld {
 public:
  struct Member {
    uint32_t slot = 0;
    uid_t uid = 0;
    shm::QueueLimits limits;
    std::shared_ptr<Segment> segment;
    shm::Queue queue;
    shm::Actor actor;
    shm::JournalLine* journal = nullptr;
  };

  GrantWorld() : bytes_(Catalog::bytes(kSizes)) {
    base_ = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    Catalog::format(base_, kSizes);
    start();
  }
  ~GrantWorld() {
    grants_.reset();
    for (auto& [id, member] : members_) ::munmap(member.journal, sizeof(shm::JournalLine));
    ::munmap(base_, bytes_);
  }

  // The next incarnation: knows what the catalog says, and nothing else.
  void start() {
    grants_ = std::make_unique<MemoryGrants>();
    catalog_ = std::move(Catalog::attach(base_, bytes_)).value();
    grants_->use(*catalog_);
    grants_->set_limits(memory_max, per_uid_max);
    for (auto& [id, member] : members_) {
      grants_->adopt(id, member.slot, member.uid, member.segment, queue_grantee(*member.segment));
    }
  }
  void limit(uint64_t all, uint64_t per_uid) {
    memory_max = all;
    per_uid_max = per_uid;
    grants_->set_limits(all, per_uid);
  }

  // As the broker makes one.
  Status make(uint64_t id, uid_t uid, const shm::QueueLimits& limits) {
    const shm::QueueGrant first = shm::queue_first_grant(limits);
    const ObjectGrant grant{first.extents, first.extents, first.segments};
    auto charge = grants_->take(uid, shm::queue_granted_bytes(limits, first, first.extents));
    if (!charge.ok()) return charge.status();
    Member& member = members_[id];
    member.uid = uid;
    member.limits = limits;
    member.segment = Segment::create("q" + std::to_string(id), shm::queue_segment_bytes(limits),
                                     shm::queue_control_bytes(limits))
                         .value();
    shm::queue_format(member.segment->base(), limits, id, first);
    EXPECT_EQ(shm::Queue::attach(member.segment->base(), member.segment->bytes(),
                                 member.segment->fd(), &member.queue),
              shm::Outcome::kOk);
    ObjectEntry entry{};
    entry.object_id = id;
    member.slot = catalog_->add_object(entry, grant).value();
    grants_->add(id, member.slot, member.segment, queue_grantee(*member.segment),
                 *std::move(charge));
    member.journal = static_cast<shm::JournalLine*>(::mmap(nullptr, sizeof(shm::JournalLine),
                                                           PROT_READ | PROT_WRITE,
                                                           MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    member.actor.owner = static_cast<uint16_t>(10 + id);
    member.actor.journal = member.journal;
    EXPECT_EQ(member.queue.enter(member.actor), shm::Outcome::kOk);
    return Status();
  }
  void remove(uint64_t id) {
    grants_->remove(id);
    catalog_->remove_object(members_.at(id).slot);
    ::munmap(members_.at(id).journal, sizeof(shm::JournalLine));
    members_.erase(id);
  }

  // A put that asks for memory as a client does; what the last refusal was.
  Status put(uint64_t id, std::string_view body) {
    Member& member = members_.at(id);
    for (int tries = 0; tries < 100; ++tries) {
      const shm::Outcome outcome = shm::put(member.queue, member.actor, body);
      if (outcome == shm::Outcome::kOk) return Status();
      if (outcome != shm::Outcome::kMemoryExhausted) return Status(Reason::kInternal, "put");
      const shm::QueueGrant lacking = member.queue.lacking(member.actor);
      if (lacking == shm::QueueGrant{}) return Status(Reason::kInternal, "nothing lacks");
      const auto granted = grants_->grow(id, lacking);
      if (!granted.ok()) return granted.status();
    }
    return Status(Reason::kInternal, "it never ends");
  }
  void empty(uint64_t id) {
    Member& member = members_.at(id);
    while (shm::get(member.queue, member.actor)[0] != '<') {
    }
    member.queue.trim(member.actor);
  }

  MemoryGrants& grants() { return *grants_; }
  Member& at(uint64_t id) { return members_.at(id); }
  ObjectGrant recorded(uint64_t id) { return catalog_->grant_of(members_.at(id).slot); }
  uint64_t real_bytes() const {
    uint64_t bytes = 0;
    for (const auto& [id, member] : members_) bytes += member.segment->real_bytes();
    return bytes;
  }
  std::byte* catalog_base() { return static_cast<std::byte*>(base_); }

  uint64_t memory_max = 0, per_uid_max = 0;

 private:
  static constexpr CatalogSizes kSizes{64, 65'536, 4, 8, 8};
  const uint64_t bytes_;
  void* base_;
  std::unique_ptr<Catalog> catalog_;
  std::unique_ptr<MemoryGrants> grants_;
  std::map<uint64_t, Member> members_;
};

}  // namespace heddle::broker
