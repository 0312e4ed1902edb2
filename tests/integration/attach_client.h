// A client of the attach protocol that says exactly what a test wants.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "proto/local/attach.h"
#include "proto/local/packet.h"
#include "proto/shm/queue.h"
#include "proto/shm/session_page.h"

namespace heddle::test {

using local::AttachType;

// Blocking; one thread.
class AttachClient {
 public:
  explicit AttachClient(const std::string& runtime_dir) {
    socket_.reset(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, (runtime_dir + "/local.sock").c_str(),
                 sizeof address.sun_path - 1);
    connected_ = ::connect(socket_.get(), reinterpret_cast<sockaddr*>(&address),
                           sizeof address) == 0;
  }
  ~AttachClient() {
    for (const auto& [base, bytes] : mappings_) ::munmap(base, bytes);
  }
  AttachClient(const AttachClient&) = delete;
  AttachClient& operator=(const AttachClient&) = delete;
  bool connected() const { return connected_; }
  int fd() const { return socket_.get(); }
  void* base() const { return mappings_.back().first; }  // of what was opened last

  template <typename Body>
  bool send(AttachType type, const Body& body, std::string_view text = {}) {
    const local::PacketHeader header{local::kAttachMagic, 1, static_cast<uint16_t>(type), 0,
                                     ++sequence_};
    return local::send_packet(socket_.get(), header, local::bytes_of(body),
                              std::as_bytes(std::span(text.data(), text.size())))
        .ok();
  }
  // The next packet of this type; FAILED ends the search, and so does a closed connection.
  bool receive(AttachType type) {
    while (packet_.receive(socket_.get(), local::kAttachMagic, 1, 1).ok()) {
      const auto got = static_cast<AttachType>(packet_.header().type);
      if (got == type) return true;
      if (got == AttachType::kFailed) return false;
    }
    closed_ = true;
    return false;
  }
  bool closed() const { return closed_; }
  local::Packet& packet() { return packet_; }
  local::Failed failed() {
    local::Failed out{};
    EXPECT_TRUE(packet_.read(&out));
    return out;
  }
  std::string text(size_t after) {
    const auto body = packet_.body();
    return {reinterpret_cast<const char*>(body.data()) + after, body.size() - after};
  }
  std::string failure() { return text(sizeof(local::Failed)); }

  bool hello(uint64_t resume_id = 0, uint32_t generation = 0) {
    local::Hello hello{1, 1, generation, resume_id, "test"};
    if (!send(AttachType::kHello, hello) || !receive(AttachType::kWelcome)) return false;
    if (!packet_.read(&welcome) || packet_.fd_count() != 2) return false;
    page_ = packet_.take_fd(0);
    doorbell_ = packet_.take_fd(1);
    void* base = map(welcome.page_bytes, page_.get());
    header = static_cast<shm::SessionHeader*>(base);
    return base != MAP_FAILED;
  }
  bool open(const std::string& name, uint8_t flags, local::QueueOptionsWire options = {}) {
    local::Open request{};
    request.kind = 1;
    request.flags = flags;
    request.options = options;
    std::strncpy(request.name, name.c_str(), sizeof request.name - 1);
    if (!send(AttachType::kOpen, request) || !receive(AttachType::kOpened)) return false;
    if (!packet_.read(&opened) || packet_.fd_count() != 1) return false;
    memory_ = packet_.take_fd(0);
    void* base = map(opened.bytes, memory_.get());
    if (base == MAP_FAILED) return false;
    if (shm::Queue::attach(base, opened.bytes, memory_.get(), &queue) != shm::Outcome::kOk) {
      return false;
    }
    actor.owner = welcome.owner;
    actor.journal = &shm::thread_lines_of(header)[0].journal;
    actor.doorbell_fd = doorbell_.get();
    actor.row = shm::kRowNone;
    return queue.enter(actor) == shm::Outcome::kOk;
  }
  shm::Outcome put(std::string_view body) {
    uint64_t id;
    return queue.put(actor, {body.data(), body.size(), 1}, shm::kTry, &id);
  }
  // Waits up to `ms`.
  shm::Outcome take(shm::TakeMode mode, shm::Taken* taken, int64_t ms) {
    timespec now;
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    const int64_t deadline = now.tv_sec * 1'000'000'000 + now.tv_nsec + ms * 1'000'000;
    return queue.take(actor, mode, taken, ms == 0 ? shm::kTry : deadline);
  }
  std::string call(local::CallMethod method, std::string_view arguments) {
    const local::Call request{static_cast<uint32_t>(method),
                              static_cast<uint32_t>(arguments.size())};
    if (!send(AttachType::kCall, request, arguments)) return "";
    return receive(AttachType::kReturn) ? text(sizeof(local::Return)) : "";
  }

  local::Welcome welcome{};
  local::Opened opened{};
  shm::SessionHeader* header = nullptr;
  shm::Queue queue;
  shm::Actor actor;

 private:
  void* map(uint64_t bytes, int fd) {
    void* base =
        ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (base != MAP_FAILED) mappings_.emplace_back(base, bytes);
    return base;
  }

  std::vector<std::pair<void*, uint64_t>> mappings_;
  local::Fd socket_, page_, doorbell_, memory_;
  local::Packet packet_;
  uint32_t sequence_ = 0;
  bool connected_ = false;
  bool closed_ = false;
};

}  // namespace heddle::test
