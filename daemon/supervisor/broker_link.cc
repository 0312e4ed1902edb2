#include "daemon/supervisor/broker_link.h"

#include <errno.h>
#include <sys/epoll.h>

#include <algorithm>
#include <memory>

#include "daemon/os/log.h"

namespace heddle::supervisor {

using local::Io;
using local::IoResult;
using local::KeeperType;

namespace {

constexpr int kPacketsPerTurn = 64;  // then signals and timers get theirs

std::string body_text(const local::Packet& packet) {
  std::string text(reinterpret_cast<const char*>(packet.body().data()), packet.body().size());
  std::replace_if(text.begin(), text.end(), [](unsigned char c) { return c < ' '; }, ' ');
  return text;
}

// One batch of an answer: up to kPacketFdsMax entries starting at `at`.
struct Batch {
  std::vector<local::KeepBody> entries;
  std::vector<int> fds;
};

IoResult send_batch(int socket, KeeperType type, std::uint32_t sequence, const Batch& batch,
                    std::size_t packets_left) {
  const local::BatchBody body{static_cast<std::uint32_t>(batch.entries.size()),
                              static_cast<std::uint32_t>(packets_left)};
  return local::send_keeper(socket, type, sequence, local::bytes_of(body),
                            std::as_bytes(std::span(batch.entries)), batch.fds, false);
}

}  // namespace

BrokerLink::BrokerLink(os::Loop* loop, Vault* vault, const std::vector<Listener>* listeners,
                       Fd socket, Host host)
    : loop_(loop),
      vault_(vault),
      listeners_(listeners),
      socket_(std::move(socket)),
      host_(std::move(host)) {
  loop_->add(socket_.get(), EPOLLIN, [this](std::uint32_t events) { on_socket(events); });
}

BrokerLink::~BrokerLink() {
  if (socket_) loop_->remove(socket_.get());
}

void BrokerLink::close(const char* why) {
  if (!socket_) return;
  loop_->remove(socket_.get());
  socket_.reset();
  outgoing_.clear();
  host_.on_closed(why);
}

void BrokerLink::on_socket(std::uint32_t events) {
  if (events & EPOLLOUT) flush();
  for (int i = 0; i < kPacketsPerTurn && socket_; ++i) {
    const IoResult result = local::receive_keeper(socket_.get(), &packet_, false);
    if (result.io == Io::kAgain) return;
    if (result.io == Io::kTruncated && result.error == EMFILE) {  // our descriptor table is full
      acknowledge(packet_.header().sequence, EMFILE);
      continue;
    }
    if (!result.ok()) return close(result.text());
    if (!handle(&packet_)) return close("malformed request");
  }
}

bool BrokerLink::handle(local::Packet* packet) {
  const std::uint32_t sequence = packet->header().sequence;
  switch (static_cast<KeeperType>(packet->header().type)) {
    case KeeperType::kKeep: return handle_keep(packet);
    case KeeperType::kDrop: return handle_drop(*packet);
    case KeeperType::kReturnAll: return_all(sequence); return true;
    case KeeperType::kListeners: send_listeners(sequence); return true;
    case KeeperType::kConfig: send_text(KeeperType::kConfig, sequence, host_.config()); return true;
    case KeeperType::kReady: host_.on_ready(); return true;
    case KeeperType::kStatus: host_.on_status(body_text(*packet)); return true;
    case KeeperType::kStopping: host_.on_stopping(); return true;
    case KeeperType::kPong: {
      local::PingBody body;
      if (!packet->read(&body)) return false;
      host_.on_pong(body.number);
      return true;
    }
    default: return false;
  }
}

bool BrokerLink::handle_keep(local::Packet* packet) {
  local::KeepBody body;
  if (!packet->read(&body) || packet->fd_count() != 1) return false;
  acknowledge(packet->header().sequence, vault_->keep(body, packet->take_fd(0)));
  return true;
}

bool BrokerLink::handle_drop(const local::Packet& packet) {
  local::KeepBody body;
  if (!packet.read(&body)) return false;
  acknowledge(packet.header().sequence, vault_->drop(static_cast<char>(body.kind), body.key));
  return true;
}

void BrokerLink::acknowledge(std::uint32_t sequence, int error) {
  enqueue([this, sequence, body = local::AckBody{error, 0}] {
    return local::send_keeper(socket_.get(), KeeperType::kAck, sequence, local::bytes_of(body), {},
                              {}, false);
  });
}

void BrokerLink::return_all(std::uint32_t sequence) {
  struct Cursor {
    std::vector<std::uint32_t> slots;
    std::size_t at = 0;
  };
  const auto cursor = std::make_shared<Cursor>(Cursor{vault_->slots()});
  enqueue([this, sequence, cursor]() -> IoResult {
    do {
      const std::size_t end = std::min(cursor->at + local::kPacketFdsMax, cursor->slots.size());
      Batch batch;
      for (std::size_t i = cursor->at; i < end; ++i) {
        const local::KeepBody* body = vault_->body(cursor->slots[i]);
        if (!body) continue;
        batch.entries.push_back(*body);
        batch.fds.push_back(vault_->fd(cursor->slots[i]));
      }
      const std::size_t left = cursor->slots.size() - end;
      const IoResult result =
          send_batch(socket_.get(), KeeperType::kBatch, sequence, batch,
                     (left + local::kPacketFdsMax - 1) / local::kPacketFdsMax);
      if (!result.ok()) return result;
      cursor->at = end;
    } while (cursor->at < cursor->slots.size());
    return {};
  });
}

void BrokerLink::send_listeners(std::uint32_t sequence) {
  enqueue([this, sequence] {
    Batch batch;
    for (const Listener& listener : *listeners_) {
      batch.entries.push_back(local::keep_body(static_cast<char>(listener.kind),
                                               batch.entries.size(), listener.address));
      batch.fds.push_back(listener.fd.get());
    }
    return send_batch(socket_.get(), KeeperType::kListeners, sequence, batch, 0);
  });
}

void BrokerLink::send_text(KeeperType type, std::uint32_t sequence, std::string text) {
  enqueue([this, type, sequence, text = std::move(text)] {
    return local::send_keeper(socket_.get(), type, sequence,
                              std::as_bytes(std::span(text.data(), text.size())), {}, {}, false);
  });
}

void BrokerLink::ping(std::uint64_t number) {
  enqueue([this, body = local::PingBody{number}] {
    return local::send_keeper(socket_.get(), KeeperType::kPing, 0, local::bytes_of(body), {}, {},
                              false);
  });
}

void BrokerLink::stop(std::uint32_t drain_ms) {
  enqueue([this, body = local::StopBody{drain_ms, 0}] {
    return local::send_keeper(socket_.get(), KeeperType::kStop, 0, local::bytes_of(body), {}, {},
                              false);
  });
}

void BrokerLink::push_config(const std::string& json) {
  send_text(KeeperType::kConfig, 0, json);
}

void BrokerLink::enqueue(Send send) {
  if (!socket_) return;
  outgoing_.push_back(std::move(send));
  if (!writing_) flush();
}

void BrokerLink::flush() {
  while (socket_ && !outgoing_.empty()) {
    const IoResult result = outgoing_.front()();
    if (result.io == Io::kAgain) break;
    if (!result.ok()) return close(result.text());
    outgoing_.pop_front();
  }
  const bool wanted = !outgoing_.empty();
  if (socket_ && wanted != writing_) {
    writing_ = wanted;
    loop_->change(socket_.get(), wanted ? EPOLLIN | EPOLLOUT : EPOLLIN);
  }
}

}  // namespace heddle::supervisor
