// Pipes mapped into this process. An attachment is one end of one connection as one session uses
// it; all handles of the process on that end share it, because the end counts the session once.
#ifndef HEDDLE_CLIENT_SRC_SHM_CHANNEL_SHM_PIPE_H_
#define HEDDLE_CLIENT_SRC_SHM_CHANNEL_SHM_PIPE_H_

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "client/src/pipe_channel.h"
#include "client/src/shm_channel/mapping.h"
#include "client/src/shm_channel/session.h"
#include "client/src/shm_channel/shm_channel.h"
#include "client/src/shm_channel/shm_pipe_ready.h"
#include "proto/shm/pipe.h"
#include "proto/shm/pipe_hall.h"

namespace heddle::detail {

// Leaves the end and says so when the last handle goes.
struct PipeAttachment {
  PipeAttachment();
  ~PipeAttachment();
  PipeAttachment(const PipeAttachment&) = delete;

  const std::uint64_t generation;  // Of the process.
  std::shared_ptr<Session> session;
  shm::PipeOptions options;
  void* base = nullptr;
  shm::Pipe pipe;
  std::uint64_t object_id = 0;
  std::string name;  // Full.
  Lifetime lifetime = Lifetime::kKept;
  std::uint32_t access = 0;
};

class ShmPipe final : public PipeChannel {
 public:
  ShmPipe(std::shared_ptr<ShmChannel> channel, std::shared_ptr<PipeAttachment> attachment);
  ~ShmPipe() override;

  const std::string& name() const override { return name_; }
  PipeSide side() const override { return side_; }
  PipeOptions options() const override;
  Status send(const Body& body, std::int64_t deadline_ns, std::size_t* sent) override;
  Status send_many(std::span<const Body> bodies, std::int64_t deadline_ns,
                   std::size_t* done) override;
  Status hold(std::int64_t deadline_ns) override;
  void let_go() noexcept override;
  Status reserve(std::size_t bytes, std::int64_t deadline_ns, std::span<std::byte>* room) override;
  Status commit(std::span<std::byte> room, std::size_t length, BodyKind kind) override;
  void abandon() noexcept override;
  Status receive(std::span<std::byte> to, std::int64_t deadline_ns, std::size_t* length,
                 BodyKind* kind) override;
  Status view(std::int64_t deadline_ns, std::span<const std::byte>* bytes, BodyKind* kind) override;
  Status consume(std::span<const std::byte> bytes, std::size_t length) override;
  void unview() noexcept override;
  Status poll(std::int64_t deadline_ns) override;
  Status shutdown_write() override;
  Result<std::shared_ptr<PipeChannel>> share() override;
  Result<std::vector<PipeUser>> peer() override;
  Result<int> ready_fd() override;
  Status send_with(const Body& body, std::span<const int> fds, std::int64_t deadline_ns,
                   std::size_t* sent) override;
  Status receive_with(std::span<std::byte> to, std::int64_t deadline_ns, std::size_t* length,
                      BodyKind* kind, Carried* carried) override;

 private:
  bool usable() const {
    return attachment_->generation == process_generation() && !attachment_->session->ended();
  }
  // The attachment of this process; null, with why: in a child that could not attach.
  PipeAttachment* here(Status* status);
  template <class Attempt>
  shm::Outcome wait(PipeAttachment& at, std::int64_t deadline_ns, Status* status, Attempt attempt);
  Status send_streams(PipeAttachment& at, std::span<const Body> bodies, std::int64_t deadline_ns,
                      std::size_t* done);
  Status called_off() const;
  Status send_part(PipeAttachment& at, const shm::PipePart& part, std::int64_t deadline_ns,
                   std::size_t* sent);
  // shm_pipe_fds.cc. `carried` is null when nobody wants the descriptors.
  Status take(PipeAttachment& at, std::uint64_t ticket, Carried* carried);
  Status take_kept(PipeAttachment& at, std::span<std::byte> to, std::size_t* length, BodyKind* kind,
                   Carried* carried);
  void forget(PipeAttachment& at, std::uint64_t ticket);
  Status explain(shm::Outcome outcome, const PipeAttachment& at, std::uint64_t bytes = 0,
                 bool sends = false) const;
  Status no_room(std::size_t room, std::size_t needed) const;
  void take_actors();
  void found(shm::Outcome outcome) {
    const bool nothing = outcome == shm::Outcome::kEmpty || outcome == shm::Outcome::kTimedOut;
    if (nothing && ready_) ready_->clear(receiver_.holds_receive);
  }

  const std::shared_ptr<ShmChannel> channel_;
  const std::string name_;
  const PipeSide side_;
  std::mutex mutex_;  // Guards a change of the attachment, after a fork.
  std::shared_ptr<PipeAttachment> attachment_;
  shm::PipeActor sender_, receiver_;
  // A large message of which only a part has come.
  shm::Inbox inbox_;
  std::unique_ptr<std::byte[]> partial_;
  std::uint64_t view_ticket_ = 0;  // of what is viewed
  // A message that was taken while the broker with its descriptors was away.
  struct Kept {
    std::vector<std::byte> bytes;
    BodyKind kind;
    std::uint64_t ticket;
  };
  std::optional<Kept> kept_;
  std::vector<std::uint64_t> forgotten_;  // The broker is still to hear of these.
  std::unique_ptr<PipeReady> ready_;  // Once ready_fd() was called; of the thread that receives.
};

class ShmPipeHall final : public PipeHallChannel {
 public:
  ShmPipeHall(std::shared_ptr<ShmChannel> channel, std::shared_ptr<Session> session,
              Mapping mapping, std::uint64_t object_id, std::string name);
  ~ShmPipeHall() override;
  const std::string& name() const override { return name_; }
  Result<std::shared_ptr<PipeChannel>> accept(std::int64_t deadline_ns) override;

 private:
  const std::shared_ptr<ShmChannel> channel_;
  const std::shared_ptr<Session> session_;
  const Mapping mapping_;
  const std::uint64_t object_id_;
  const std::string name_;
};

}  // namespace heddle::detail

#endif  // HEDDLE_CLIENT_SRC_SHM_CHANNEL_SHM_PIPE_H_
