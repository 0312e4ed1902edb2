// One session with the broker: the attach socket, the session page, the doorbell. Shared by all
// threads of the process; a forked child opens one of its own.
//
// The socket serves requests only (open, delete, list ...). Losing it ends nothing: the session
// lives as long as the process, and the next request connects again and resumes it.
#ifndef HEDDLE_CLIENT_SRC_SHM_CHANNEL_SESSION_H_
#define HEDDLE_CLIENT_SRC_SHM_CHANNEL_SESSION_H_

#include <heddle/result.h>
#include <heddle/status.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>

#include "client/src/shm_channel/mapping.h"
#include "client/src/shm_channel/process_generation.h"
#include "proto/local/attach.h"
#include "proto/local/fd.h"
#include "proto/local/packet.h"
#include "proto/shm/session_page.h"

namespace heddle::detail {

// The mapped session page. Threads keep it alive as long as they hold a bell in it: a robust mutex
// must stay mapped while it is locked.
struct SessionPage {
  Mapping mapping;
  std::uint32_t thread_lines = 0;
  std::atomic<bool> closed{false};

  shm::ThreadLine& line(std::uint32_t index) const {
    return shm::thread_lines_of(static_cast<shm::SessionHeader*>(mapping.base()))[index];
  }
  shm::SessionHeader& header() const { return *static_cast<shm::SessionHeader*>(mapping.base()); }
  // Tells the broker how far it has to look for threads that wait.
  void note_used(std::uint32_t lines) const {
    std::atomic<std::uint32_t>& used = header().lines_used;
    std::uint32_t seen = used.load();
    while (seen < lines && !used.compare_exchange_weak(seen, lines)) {
    }
  }
};

class Session {
 public:
  struct Where {
    std::string socket;  // Path of local.sock.
    std::string name;    // Of the program.
    std::chrono::milliseconds timeout{};
  };

  // DAEMON_UNREACHABLE if nobody listens, BROKER_AWAY if nobody answers in time (a broker that
  // hangs up is tried again until then), or what the broker says.
  static Result<std::shared_ptr<Session>> open(const Where& where);
  ~Session();

  std::uint16_t owner() const { return owner_; }
  std::uint32_t generation() const { return generation_; }
  int doorbell() const { return doorbell_.get(); }
  const std::shared_ptr<SessionPage>& page() const { return page_; }

  // A number for the next put that the broker does for this session.
  std::uint64_t next_put_number() { return put_numbers_.fetch_add(1) + 1; }
  // The like for what is lent to a pipe; never 0.
  std::uint32_t next_lend_number() { return lend_numbers_.fetch_add(1) % UINT32_MAX + 1; }

  // True once the broker no longer knows this session, or in a forked child: open another.
  bool ended() const { return lost_.load() || process_ != process_generation(); }

  // One request and its answer, within the timeout (the session's, or a given one); connects
  // again if need be. `answer` is left with
  // the packet and its descriptors. BROKER_AWAY, DAEMON_UNREACHABLE, SESSION_LOST, or the broker's
  // own refusal. Threads: any; one request at a time.
  Status request(local::AttachType type, std::span<const std::byte> body,
                 std::span<const std::byte> tail, local::AttachType expected, local::Packet* answer,
                 std::int64_t timeout_ms = -1, std::span<const int> fds = {});

  // Sends a request whose answer nobody needs, if there is a connection
  // that is not busy; else false.
  bool post(local::AttachType type, std::span<const std::byte> body);

  // A look at the connection between two waits, without waiting: reads events, and connects again
  // if the broker was restarted. OK while there is hope; SESSION_LOST, or DAEMON_UNREACHABLE once
  // nobody has listened for the timeout.
  Status look();

 private:
  explicit Session(Where where);

  Status connect(std::int64_t deadline_ns);
  Status greet(std::int64_t deadline_ns);
  Status accept_welcome(local::Packet& packet, bool resuming);
  local::IoResult transmit(local::AttachType type, std::uint32_t sequence,
                           std::span<const std::byte> body, std::span<const std::byte> tail,
                           std::span<const int> fds = {});
  Status send(local::AttachType type, std::uint32_t sequence, std::span<const std::byte> body,
              std::span<const std::byte> tail, std::span<const int> fds = {});
  Status receive(std::uint32_t sequence, local::AttachType expected, local::Packet* packet,
                 std::int64_t deadline_ns);
  Status away() const;
  Status hung_up();

  const Where where_;
  const std::uint64_t process_;
  std::uint16_t owner_ = 0;
  std::uint32_t generation_ = 0;
  std::uint64_t session_id_ = 0;
  std::uint16_t version_ = 1;
  local::Fd doorbell_;
  std::shared_ptr<SessionPage> page_;
  std::atomic<bool> lost_{false};
  std::atomic<std::uint64_t> put_numbers_{0}, lend_numbers_{0};

  std::mutex mutex_;  // Guards all below.
  local::Fd socket_;
  std::uint32_t sequence_ = 0;
  std::int64_t asked_ms_ = 0;   // the time that the request under way was given
  std::uint32_t hang_ups_ = 0;  // during it
  bool turned_away_ = false;    // by a broker that takes no new clients any more
  std::int64_t unreachable_since_ns_ = 0;
  std::int64_t next_try_ns_ = 0;
  local::Packet events_;
};

std::int64_t monotonic_ns();

}  // namespace heddle::detail

#endif  // HEDDLE_CLIENT_SRC_SHM_CHANNEL_SESSION_H_
