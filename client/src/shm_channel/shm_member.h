// What dicts, lists and blocks over shared memory have in common: the calling thread's way in, a
// session that was lost, more memory, and what the broker is asked about them.
#ifndef HEDDLE_CLIENT_SRC_SHM_CHANNEL_SHM_MEMBER_H_
#define HEDDLE_CLIENT_SRC_SHM_CHANNEL_SHM_MEMBER_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "client/src/shm_channel/attachment.h"
#include "client/src/shm_channel/process_mutex.h"
#include "client/src/shm_channel/shm_channel.h"
#include "proto/local/memory_asks.h"

namespace heddle::detail {

template <class T>
[[gnu::always_inline]] inline bool member_ended(T& core) {
  if constexpr (std::is_same_v<T, shm::Block>) {
    return core.ended();
  } else {
    return shm::dict_ended(core.memory());
  }
}

template <class T>
Status member_gone(const std::string& name) {
  return Status(Reason::kClosed, std::string("the ") + kNounOf<T> + " was deleted")
      .with_object(kNounOf<T> + (" " + name));
}

template <class T>
class ShmMember {
 public:
  using At = MemberAttachment<T>;
  using Actor = typename At::Actor;

  ShmMember(std::shared_ptr<ShmChannel> channel, std::shared_ptr<At> attachment)
      : channel_(std::move(channel)),
        name_(attachment->name),
        key_(attachment->key),
        attachment_(std::move(attachment)) {}
  ~ShmMember() {
    if (attachment_->generation != process_generation() || attachment_->session->ended()) return;
    const local::Close close{.object_id = attachment_->object_id};
    attachment_->session->post(local::AttachType::kClose, local::bytes_of(close));
  }
  ShmMember(const ShmMember&) = delete;

  // The hands of the calling thread, which are looked at once a second while it waits.
  Hands* hands(Status* status) {
    Hands* hands = hands_now();
    return hands != nullptr ? hands : hands_slow(status);
  }
  // As hands(), and it may write.
  Hands* writing_hands(Status* status) {
    Hands* hands = this->hands(status);
    if (hands == nullptr || hands->template member_actor<T>() != nullptr) return hands;
    *status = named({Reason::kDenied, "you may read it, but not write"});
    return nullptr;
  }
  // Whether the session still stands.
  Status look(At& attachment) {
    Status status = attachment.session->look();
    if (status.ok()) return status;
    key_.store(0);  // The next operation attaches anew.
    return named(std::move(status));
  }

 protected:
  // Null now and then: whoever goes the slow way looks whether the session still stands.
  [[gnu::always_inline]] Hands* hands_now() {
    Hands* hands = cached_hands(key_.load(std::memory_order_relaxed));
    if (hands == nullptr || hands->uses == kUsesPerLook) return nullptr;
    if (member_ended(hands->template member<T>()->core)) return nullptr;
    ++hands->uses;
    return hands;
  }
  Hands* hands_slow(Status* status);
  // `operate(attachment, actor)` with the memory it needs. OK: *outcome is what it came to, and
  // *used where.
  template <class Operate>
  Status run(std::uint64_t bytes, Operate operate, shm::Outcome* outcome, At** used);
  bool more_memory(At& attachment, std::uint32_t extents, Status* status);
  Status named(Status status) const {
    return std::move(status).with_object(kNounOf<T> + (" " + name_));
  }

  static constexpr std::uint32_t kUsesPerLook = 4096;

  const std::shared_ptr<ShmChannel> channel_;
  const std::string name_;
  std::atomic<std::uint64_t> key_;  // Of attachment_; 0 = attach anew.

 private:
  ProcessMutex mutex_;
  std::shared_ptr<At> attachment_;            // Guarded by mutex_.
  std::vector<std::shared_ptr<At>> retired_;  // May still be in use by other threads.
  bool loss_told_ = false;                    // Guarded by mutex_.
};

template <class T>
Hands* ShmMember<T>::hands_slow(Status* status) {
  std::lock_guard lock(mutex_);
  if (attachment_->generation == process_generation()) {
    if (member_ended(attachment_->core)) {
      *status = member_gone<T>(name_);
      return nullptr;
    }
    // A lost session is said once; the call after that attaches anew.
    if (!attachment_->session->ended() || !std::exchange(loss_told_, true)) {
      *status = look(*attachment_);
      if (!status->ok()) return nullptr;
    }
  }
  if (attachment_->session->ended()) {
    auto fresh = channel_->template attach_member<T>({}, {}, name_);
    if (!fresh) {
      *status = fresh.status();
      return nullptr;
    }
    // In a child nobody else can be using the old one.
    auto old = std::exchange(attachment_, std::move(*fresh));
    if (old->generation == process_generation()) retired_.push_back(std::move(old));
    loss_told_ = false;
  }
  key_.store(attachment_->key);
  Hands* hands = nullptr;
  *status = make_hands(*attachment_, &hands);
  return status->ok() ? hands : nullptr;
}

template <class T>
template <class Operate>
Status ShmMember<T>::run(std::uint64_t bytes, Operate operate, shm::Outcome* outcome, At** used) {
  Status status;
  Hands* hands = writing_hands(&status);
  if (hands == nullptr) return status;
  At& at = *hands->template member<T>();
  *used = &at;
  *outcome = local::with_memory(
      at.core, *hands->template member_actor<T>(), bytes,
      [&](Actor& actor) { return operate(at, actor); },
      [&](std::uint32_t extents) { return more_memory(at, extents, &status); });
  return *outcome == shm::Outcome::kMemoryExhausted ? status : Status();
}

template <class T>
bool ShmMember<T>::more_memory(At& attachment, std::uint32_t extents, Status* status) {
  *status = ask_memory(attachment, kNounOf<T> + (" " + name_), {extents, 0},
                       monotonic_ns() + kGrantWaitNs);
  if (status->is(Reason::kSessionLost)) key_.store(0);
  return status->ok();
}

// OPEN, and the memory mapped: for reading alone if that is all the caller may.
template <class T>
Result<std::shared_ptr<MemberAttachment<T>>> ShmChannel::attach_member(local::Open open,
                                                                       std::string_view group,
                                                                       std::string_view name) {
  using Kind = local::ObjectKind;
  open.kind = static_cast<std::uint8_t>(std::is_same_v<T, shm::Dict>   ? Kind::kDict
                                        : std::is_same_v<T, shm::List> ? Kind::kList
                                                                       : Kind::kBlock);
  auto asked = open_object(open, group, name);
  if (!asked) return std::move(asked).status();
  auto& [session, opened, fd] = *asked;
  auto attachment = std::make_shared<MemberAttachment<T>>();
  attachment->rights = opened.rights;
  const bool writable = attachment->writable();
  auto mapping = Mapping::map(fd.get(), opened.bytes, !writable);
  if (!mapping) return mapping.status();
  attachment->session = std::move(session);
  attachment->mapping = std::move(*mapping);
  attachment->fd = std::move(fd);
  attachment->object_id = opened.object_id;
  attachment->name = opened.name;
  void* const base = attachment->mapping.base();
  shm::Outcome attached;
  if constexpr (MemberAttachment<T>::kHasRows) {
    attached = T::attach(base, attachment->mapping.bytes(), writable ? attachment->fd.get() : -1,
                         &attachment->core);
  } else {
    attached = T::attach(base, attachment->mapping.bytes(), &attachment->core);
  }
  if (attached != shm::Outcome::kOk) {
    return Status(Reason::kVersionMismatch,
                  "its memory has another layout than this library knows, or is damaged")
        .with_object(kNounOf<T> + (" " + attachment->name));
  }
  return attachment;
}

// Flags of OPEN, as options say.
template <class Options>
std::uint8_t open_flags(const Options& options, std::string_view name, bool create) {
  if (!create) return 0;
  std::uint8_t flags = local::kOpenCreate;
  if (!options.open_existing) flags |= local::kOpenExclusive;
  if (name.empty()) flags |= local::kOpenAnonymous;
  return flags;
}

}  // namespace heddle::detail

#endif  // HEDDLE_CLIENT_SRC_SHM_CHANNEL_SHM_MEMBER_H_
