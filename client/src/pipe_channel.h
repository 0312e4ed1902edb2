// The seam of pipes: one end of one connection, and the hall where connections are accepted. See
// channel.h for deadlines, outcomes and threads.
#ifndef HEDDLE_CLIENT_SRC_PIPE_CHANNEL_H_
#define HEDDLE_CLIENT_SRC_PIPE_CHANNEL_H_

#include <heddle/pipe.h>

#include <memory>
#include <span>
#include <string>
#include <vector>

namespace heddle::detail {

class HEDDLE_API PipeChannel : public std::enable_shared_from_this<PipeChannel> {
 public:
  virtual ~PipeChannel() = default;

  virtual const std::string& name() const = 0;
  virtual PipeSide side() const = 0;
  virtual PipeOptions options() const = 0;

  // *sent is set in every case.
  virtual Status send(const Body& body, std::int64_t deadline_ns, std::size_t* sent) = 0;
  virtual Status send_many(std::span<const Body> bodies, std::int64_t deadline_ns,
                           std::size_t* done) = 0;
  virtual Status hold(std::int64_t deadline_ns) = 0;
  virtual void let_go() noexcept = 0;
  virtual Status reserve(std::size_t bytes, std::int64_t deadline_ns,
                         std::span<std::byte>* room) = 0;
  virtual Status commit(std::span<std::byte> room, std::size_t length, BodyKind kind) = 0;
  virtual void abandon() noexcept = 0;

  // TOO_LARGE: *length is the room that it needs.
  virtual Status receive(std::span<std::byte> to, std::int64_t deadline_ns, std::size_t* length,
                         BodyKind* kind) = 0;
  virtual Status view(std::int64_t deadline_ns, std::span<const std::byte>* bytes,
                      BodyKind* kind) = 0;
  virtual Status consume(std::span<const std::byte> bytes, std::size_t length) = 0;
  virtual void unview() noexcept = 0;
  virtual Status poll(std::int64_t deadline_ns) = 0;

  virtual Status shutdown_write() = 0;
  virtual Result<std::shared_ptr<PipeChannel>> share() = 0;

  // What came with a message; `lost`: so many more were sent with it.
  struct Carried {
    std::vector<Descriptor> fds;
    std::size_t lost = 0;
  };
  // As receive(); over a plane that carries no descriptors it comes without any.
  virtual Status receive_with(std::span<std::byte> to, std::int64_t deadline_ns,
                              std::size_t* length, BodyKind* kind, Carried* carried) {
    *carried = {};
    return receive(to, deadline_ns, length, kind);
  }

  // Planes that cannot do one of these say so.
  virtual Status send_with(const Body& body, std::span<const int> fds, std::int64_t deadline_ns,
                           std::size_t* sent) {
    *sent = 0;
    return fds.empty() ? send(body, deadline_ns, sent) : not_here("carry descriptors");
  }
  virtual Result<std::vector<PipeUser>> peer() { return not_here("tell who uses the other end"); }
  virtual Result<int> ready_fd() { return not_here("give a descriptor to wait with"); }

  // A PipeRoom or PipeView of this handle is alive: it would lose its place to another call, or
  // that would wait for itself. Of the thread that sends, and of the one that receives.
  bool room_open = false, view_open = false;

 protected:
  Status not_here(const char* what) const {
    return Status(Reason::kUnsupported, std::string("this plane cannot ") + what +
                                            "; use shared memory (HEDDLE_PLANE=shm)")
        .with_object("pipe " + name());
  }
};

class HEDDLE_API PipeHallChannel {
 public:
  virtual ~PipeHallChannel() = default;
  virtual const std::string& name() const = 0;
  virtual Result<std::shared_ptr<PipeChannel>> accept(std::int64_t deadline_ns) = 0;
};

// How the public handles are made.
struct PipeAccess {
  static PipeEnd end(std::shared_ptr<PipeChannel> pipe) {
    PipeEnd made;
    made.pipe_ = std::move(pipe);
    return made;
  }
  static PipeListener listener(std::shared_ptr<PipeHallChannel> hall) {
    PipeListener made;
    made.hall_ = std::move(hall);
    return made;
  }
  static PipeRoom room(std::shared_ptr<PipeChannel> pipe, std::span<std::byte> bytes) {
    PipeRoom made;
    pipe->room_open = true;
    made.pipe_ = std::move(pipe);
    made.bytes_ = bytes;
    return made;
  }
  static PipeView view(std::shared_ptr<PipeChannel> pipe, std::span<const std::byte> bytes,
                       BodyKind kind) {
    PipeView made;
    pipe->view_open = true;
    made.pipe_ = std::move(pipe);
    made.bytes_ = bytes;
    made.kind_ = kind;
    return made;
  }
};

}  // namespace heddle::detail

#endif  // HEDDLE_CLIENT_SRC_PIPE_CHANNEL_H_
