#include "daemon/objects/block.h"

#include <utility>

#include "proto/local/block_status.h"

namespace heddle::objects {

using shm::Outcome;

Block::Block(Host& host, std::string name, uint64_t object_id, std::shared_ptr<void> mapping)
    : Followed(name, "block " + name, object_id), mapping_(std::move(mapping)) {
  writer_.owner = host.own_owner();
  sleeper_.patience_ns = kFollowerNapNs;
}

Result<std::shared_ptr<Block>> Block::adopt(Host& host, std::string name, uint64_t object_id,
                                            void* base, uint64_t bytes,
                                            std::shared_ptr<void> mapping) {
  std::shared_ptr<Block> block(new Block(host, std::move(name), object_id, std::move(mapping)));
  if (shm::Block::attach(base, bytes, &block->block_) != Outcome::kOk) {
    return Status(Reason::kCorrupt, "its memory does not fit what the catalog says")
        .with_object(block->label());
  }
  return block;
}

Status Block::usable() const { return block_.ended() ? local::block_gone(name()) : Status(); }

Status Block::check(uint64_t bytes) const {
  if (Status bad = usable(); !bad.ok()) return bad;
  if (bytes <= kBlockCopyBytesMax) return Status();
  return Status(Reason::kTooLarge,
                "one call reads or writes no more; do it in pieces, or map the block on this "
                "machine")
      .with_object(label())
      .with_limit(kBlockCopyBytesMax, bytes);
}

Status Block::read(uint64_t at, uint64_t bytes, std::string* out, uint64_t* version, bool* torn) {
  if (Status bad = check(bytes); !bad.ok()) return bad;
  if (at <= size() && bytes <= size() - at) out->resize(bytes);
  const Outcome outcome = block_.read(at, out->data(), bytes, shm::kTry, version);
  *torn = outcome == Outcome::kTorn;
  return local::block_status(outcome, {name(), &block_, at, bytes});
}

Status Block::write(uint64_t at, std::string_view data, uint64_t if_version, uint64_t* version) {
  if (Status bad = check(data.size()); !bad.ok()) return bad;
  std::lock_guard lock(write_mutex_);
  const Outcome outcome =
      block_.write(writer_, at, data.data(), data.size(), shm::kTry, version, if_version);
  return local::block_status(outcome, {name(), &block_, at, data.size(), if_version});
}

Status Block::mend(uint64_t* version) {
  if (Status bad = usable(); !bad.ok()) return bad;
  block_.mend();
  *version = block_.version();
  return Status();
}

Status Block::force(bool* ended, uint64_t* version) {
  if (Status bad = usable(); !bad.ok()) return bad;
  *ended = block_.force();
  *version = block_.version();
  return Status();
}

// Versions wrap, so that "another one" is all that can be waited for.
void Block::sleep(uint64_t seen) { (void)block_.wait_change(sleeper_, seen, shm::kForever); }

void Block::reap(uint16_t owner, uint64_t) {
  std::lock_guard lock(write_mutex_);
  (void)block_.reap(owner);
}

void Block::end_of_object() {
  block_.end_of_object();
  end_of_watching();
}

}  // namespace heddle::objects
