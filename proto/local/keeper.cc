#include "proto/local/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>

namespace heddle::local {
namespace {

std::span<const std::byte> bytes_of_text(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

KeepBody keep_body(char kind, std::uint64_t key, std::string_view label) {
  KeepBody body{};
  body.key = key;
  body.kind = static_cast<std::uint8_t>(kind);
  std::copy_n(label.data(), std::min(label.size(), kKeptLabelBytes - 1), body.label);
  return body;
}

std::string_view label_of(const KeepBody& body) {
  return {body.label, ::strnlen(body.label, kKeptLabelBytes)};
}

IoResult send_keeper(int socket, KeeperType type, std::uint32_t sequence,
                     std::span<const std::byte> body, std::span<const std::byte> tail,
                     std::span<const int> fds, bool wait) {
  const PacketHeader header{kKeeperMagic, kKeeperVersion, static_cast<std::uint16_t>(type), 0,
                            sequence};
  return send_packet(socket, header, body, tail, fds, wait);
}

Fd Keeper::socket_from_environment() {
  const char* text = ::getenv(kKeeperFdVariable);
  if (!text) return Fd();
  char* end;
  const long number = ::strtol(text, &end, 10);
  const bool whole = *text != 0 && *end == 0 && number > 2 && number < 1 << 20;
  ::unsetenv(kKeeperFdVariable);
  int type = 0;
  socklen_t length = sizeof type;
  const int fd = static_cast<int>(number);
  if (!whole || ::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) != 0) return Fd();
  if (type != SOCK_SEQPACKET || ::fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) return Fd();
  return Fd(fd);
}

Keeper::Keeper(Fd socket)
    : socket_(std::move(socket)),
      epoll_(::epoll_create1(EPOLL_CLOEXEC)),
      bell_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  for (int fd : {socket_.get(), bell_.get()}) {
    epoll_event event{};
    event.events = EPOLLIN | EPOLLRDHUP;
    event.data.fd = fd;
    if (fd >= 0) ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event);
  }
}

bool Keeper::gone() const {
  std::lock_guard lock(mutex_);
  return gone_;
}

void Keeper::wake(bool on) {
  std::uint64_t word = 1;
  if (on) {
    [[maybe_unused]] auto n = ::write(bell_.get(), &word, sizeof word);
  } else {
    [[maybe_unused]] auto n = ::read(bell_.get(), &word, sizeof word);
  }
}

// Any end of the conversation is final: a keeper that no longer follows is as good as dead.
void Keeper::note(const IoResult& result) {
  if (result.ok() || result.io == Io::kAgain || result.io == Io::kRefused || gone_) return;
  if (result.io == Io::kFailed && result.error == EMSGSIZE) return;  // nothing was sent
  gone_ = true;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, socket_.get(), nullptr);
  events_.push_back({});
  wake(true);
}

void Keeper::push_event(const Packet& packet) {
  KeeperEvent event;
  switch (static_cast<KeeperType>(packet.header().type)) {
    case KeeperType::kPing: {
      PingBody body;
      if (!packet.read(&body)) return;
      event.kind = KeeperEvent::Kind::kPing;
      event.ping = body.number;
      break;
    }
    case KeeperType::kStop: {
      StopBody body;
      if (!packet.read(&body)) return;
      event.kind = KeeperEvent::Kind::kStop;
      event.drain_ms = body.drain_ms;
      break;
    }
    case KeeperType::kConfig:
      event.kind = KeeperEvent::Kind::kConfig;
      event.text = text_of(packet.body());
      break;
    default: return;  // a newer supervisor may say more
  }
  events_.push_back(std::move(event));
}

bool Keeper::next_event(KeeperEvent* out) {
  std::lock_guard lock(mutex_);
  while (events_.empty() && !gone_) {
    const IoResult result = receive_keeper(socket_.get(), &packet_, false);
    note(result);
    if (!result.ok()) break;
    push_event(packet_);
  }
  if (events_.empty()) {
    wake(false);
    return false;
  }
  *out = std::move(events_.front());
  events_.pop_front();
  return true;
}

IoResult Keeper::request(KeeperType type, std::span<const std::byte> body,
                         std::span<const int> fds, std::uint32_t* sequence) {
  if (gone_) return {Io::kClosed, 0};
  if (++sequence_ == 0) ++sequence_;
  *sequence = sequence_;
  const IoResult result = send_keeper(socket_.get(), type, sequence_, body, {}, fds);
  note(result);
  return result;
}

// Waits for one packet of the answer; what comes unasked meanwhile is put aside for next_event().
IoResult Keeper::await(KeeperType type, std::uint32_t sequence) {
  while (true) {
    const IoResult result = receive_keeper(socket_.get(), &packet_);
    note(result);
    if (!result.ok()) return result;
    const PacketHeader& header = packet_.header();
    if (header.sequence == 0) {
      push_event(packet_);
      wake(true);
    } else if (header.sequence == sequence && header.type == static_cast<std::uint16_t>(type)) {
      return {};
    } else {
      const IoResult wrong{Io::kMalformed, 0};
      note(wrong);
      return wrong;
    }
  }
}

IoResult Keeper::await_ack(std::uint32_t sequence) {
  const IoResult result = await(KeeperType::kAck, sequence);
  if (!result.ok()) return result;
  AckBody ack;
  if (!packet_.read(&ack)) return {Io::kMalformed, 0};
  if (ack.error != 0) return {Io::kRefused, ack.error};
  return {};
}

IoResult Keeper::keep(KeptKind kind, std::uint64_t key, int fd, std::string_view label) {
  const KeepBody body = keep_body(static_cast<char>(kind), key, label);
  std::lock_guard lock(mutex_);
  std::uint32_t sequence;
  const IoResult sent = request(KeeperType::kKeep, bytes_of(body), {&fd, 1}, &sequence);
  return sent.ok() ? await_ack(sequence) : sent;
}

IoResult Keeper::drop(KeptKind kind, std::uint64_t key) {
  const KeepBody body = keep_body(static_cast<char>(kind), key, {});
  std::lock_guard lock(mutex_);
  std::uint32_t sequence;
  const IoResult sent = request(KeeperType::kDrop, bytes_of(body), {}, &sequence);
  return sent.ok() ? await_ack(sequence) : sent;
}

IoResult Keeper::await_batches(KeeperType type, std::uint32_t sequence,
                               const std::function<void(Kept)>& each) {
  while (true) {
    const IoResult result = await(type, sequence);
    if (!result.ok()) return result;
    BatchBody batch;
    if (!packet_.read(&batch) || batch.count != packet_.fd_count()) {
      const IoResult wrong{Io::kMalformed, 0};
      note(wrong);
      return wrong;
    }
    for (std::uint32_t i = 0; i < batch.count; ++i) {
      KeepBody entry;
      if (!packet_.read(&entry, sizeof batch + i * sizeof entry)) return {Io::kMalformed, 0};
      each({static_cast<char>(entry.kind), entry.key, std::string(label_of(entry)),
            packet_.take_fd(i)});
    }
    if (batch.more == 0) return {};
  }
}

IoResult Keeper::return_all(const std::function<void(Kept)>& each) {
  std::lock_guard lock(mutex_);
  std::uint32_t sequence;
  const IoResult sent = request(KeeperType::kReturnAll, {}, {}, &sequence);
  return sent.ok() ? await_batches(KeeperType::kBatch, sequence, each) : sent;
}

IoResult Keeper::listeners(std::vector<Kept>* out) {
  out->clear();
  std::lock_guard lock(mutex_);
  std::uint32_t sequence;
  const IoResult sent = request(KeeperType::kListeners, {}, {}, &sequence);
  if (!sent.ok()) return sent;
  return await_batches(KeeperType::kListeners, sequence,
                       [out](Kept kept) { out->push_back(std::move(kept)); });
}

IoResult Keeper::config(std::string* json) {
  std::lock_guard lock(mutex_);
  std::uint32_t sequence;
  const IoResult sent = request(KeeperType::kConfig, {}, {}, &sequence);
  if (!sent.ok()) return sent;
  const IoResult result = await(KeeperType::kConfig, sequence);
  if (result.ok()) *json = text_of(packet_.body());
  return result;
}

IoResult Keeper::ready() {
  std::lock_guard lock(mutex_);
  const IoResult result = send_keeper(socket_.get(), KeeperType::kReady, 0);
  note(result);
  return result;
}

IoResult Keeper::status(std::string_view text) {
  std::lock_guard lock(mutex_);
  const IoResult result =
      send_keeper(socket_.get(), KeeperType::kStatus, 0, bytes_of_text(text.substr(0, 512)));
  note(result);
  return result;
}

IoResult Keeper::stopping() {
  std::lock_guard lock(mutex_);
  const IoResult result = send_keeper(socket_.get(), KeeperType::kStopping, 0);
  note(result);
  return result;
}

IoResult Keeper::pong(std::uint64_t number) {
  const PingBody body{number};
  std::lock_guard lock(mutex_);
  const IoResult result = send_keeper(socket_.get(), KeeperType::kPong, 0, bytes_of(body));
  note(result);
  return result;
}

}  // namespace heddle::local
