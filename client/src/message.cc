#include <heddle/message.h>

#include <charconv>
#include <cstring>
#include <new>
#include <utility>

#include "client/src/channel.h"

namespace heddle {

std::string Lease::to_string() const {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  text.reserve(48);
  for (std::uint64_t word : words) {
    for (int shift = 60; shift >= 0; shift -= 4) text.push_back(kDigits[(word >> shift) & 15]);
  }
  return text;
}

namespace {

// The 32 characters of URL-safe base64 by which gRPC names a lease.
bool parse_wire_name(std::string_view text, Lease* out) {
  static constexpr std::string_view kAlphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  if (text.size() != 32) return false;
  std::array<unsigned char, 24> bytes{};
  for (std::size_t i = 0; i < text.size(); ++i) {
    const std::size_t value = kAlphabet.find(text[i]);
    if (value == std::string_view::npos) return false;
    for (std::size_t bit = 0; bit < 6; ++bit) {
      const std::size_t at = i * 6 + bit;
      if (value >> (5 - bit) & 1) bytes[at / 8] |= static_cast<unsigned char>(0x80 >> at % 8);
    }
  }
  std::memcpy(out->words.data(), bytes.data(), bytes.size());
  return true;
}

}  // namespace

Result<Lease> Lease::parse(std::string_view text) {
  Lease lease;
  if (parse_wire_name(text, &lease)) return lease;
  bool good = text.size() == 48;
  for (std::size_t i = 0; good && i < 3; ++i) {
    const char* first = text.data() + i * 16;
    auto [end, error] = std::from_chars(first, first + 16, lease.words[i], 16);
    good = error == std::errc() && end == first + 16;
  }
  if (!good) {
    return Status(Reason::kInvalidArgument,
                  "a lease is the 48 hexadecimal digits (or, over gRPC, the 32 characters) that "
                  "came with the message, not '" +
                      std::string(text.substr(0, 60)) + "'");
  }
  return lease;
}

void Message::take_from(Message& other) noexcept {
  length_ = other.length_;
  id_ = other.id_;
  delivery_count_ = other.delivery_count_;
  kind_ = other.kind_;
  lease_ = other.lease_;
  leased_ = std::exchange(other.leased_, false);
  queue_ = std::move(other.queue_);
  if (other.data_ == other.inline_.data()) {
    std::memcpy(inline_.data(), other.inline_.data(), length_);
    data_ = inline_.data();
  } else {
    data_ = other.data_;
    buffer_ = std::move(other.buffer_);
    buffer_bytes_ = std::exchange(other.buffer_bytes_, 0);
  }
  other.data_ = nullptr;
  other.length_ = 0;
}

void Message::give_back() noexcept {
  // Nobody is there to hear about a failure; a lease that was lost meanwhile needs nothing.
  if (std::exchange(leased_, false)) (void)queue_->nack(lease_, false);
}

Message::Message(Message&& other) noexcept { take_from(other); }

Message& Message::operator=(Message&& other) noexcept {
  if (this != &other) {
    give_back();
    take_from(other);
  }
  return *this;
}

namespace {

Status not_leased() {
  return Status(Reason::kInvalidArgument,
                "this message holds no lease: it was got with Ack::kAuto, or is settled already");
}

}  // namespace

Status Message::ack() {
  if (!std::exchange(leased_, false)) return not_leased();
  return queue_->ack(lease_);
}

Status Message::nack(bool counted) {
  if (!std::exchange(leased_, false)) return not_leased();
  return queue_->nack(lease_, counted);
}

Status Message::bury() {
  if (!std::exchange(leased_, false)) return not_leased();
  return queue_->bury(lease_);
}

Status Message::extend(std::chrono::milliseconds lease) {
  if (!leased_) return not_leased();
  return queue_->extend(lease_, lease.count());
}

Lease Message::detach() {
  const bool in_place = data_ != nullptr && data_ != inline_.data() && data_ != buffer_.get();
  if (in_place) {
    const std::byte* body = data_;
    std::byte* copy = detail::MessageAccess::own_bytes(*this, length_);
    if (copy != nullptr) {
      std::memcpy(copy, body, length_);
    } else {
      length_ = 0;  // data() must not outlive the lease
    }
  }
  return detail::MessageAccess::unlease(*this);
}

namespace detail {

std::byte* MessageAccess::own_bytes(Message& message, std::size_t length) {
  if (length <= Message::kInlineBytes) {
    message.data_ = message.inline_.data();
  } else {
    if (message.buffer_bytes_ < length) {
      message.buffer_.reset(new (std::nothrow) std::byte[length]);
      message.buffer_bytes_ = message.buffer_ ? length : 0;
    }
    message.data_ = message.buffer_.get();
  }
  message.length_ = message.data_ != nullptr ? length : 0;
  return const_cast<std::byte*>(message.data_);
}

}  // namespace detail
}  // namespace heddle
