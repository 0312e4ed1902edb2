#include "client/cli/body.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>

namespace heddle::cli {

namespace {

constexpr std::size_t kReadBytes = 256 * 1024;
constexpr std::array<const char*, 4> kKindNames = {"data", "text", "json", "json_text"};

// Whether a number may be too long for a double, and with that for most readers of JSON.
bool has_long_number(std::string_view text) {
  constexpr std::size_t kExactDigits = 15;
  std::size_t run = 0;
  for (const char c : text) {
    run = c >= '0' && c <= '9' ? run + 1 : 0;
    if (run > kExactDigits) return true;
  }
  return false;
}

}  // namespace

std::size_t utf8_length(std::string_view text) {
  if (text.empty()) return 0;
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const auto follows = [&](std::size_t i, unsigned low = 0x80, unsigned high = 0xbf) {
    return i < text.size() && byte(i) >= low && byte(i) <= high;
  };
  const unsigned first = byte(0);
  if (first < 0x80) return 1;
  if (first >= 0xc2 && first <= 0xdf) return follows(1) ? 2 : 0;
  if (first >= 0xe0 && first <= 0xef) {
    const unsigned low = first == 0xe0 ? 0xa0 : 0x80, high = first == 0xed ? 0x9f : 0xbf;
    return follows(1, low, high) && follows(2) ? 3 : 0;
  }
  if (first >= 0xf0 && first <= 0xf4) {
    const unsigned low = first == 0xf0 ? 0x90 : 0x80, high = first == 0xf4 ? 0x8f : 0xbf;
    return follows(1, low, high) && follows(2) && follows(3) ? 4 : 0;
  }
  return 0;
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const std::size_t length = utf8_length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

std::string base64(std::string_view bytes) {
  static constexpr char kAlphabet[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::size_t here = std::min<std::size_t>(3, bytes.size() - i);
    std::uint32_t word = 0;
    for (std::size_t j = 0; j < 3; ++j) {
      word = word << 8 | (j < here ? static_cast<unsigned char>(bytes[i + j]) : 0u);
    }
    for (std::size_t j = 0; j < 4; ++j) {
      out.push_back(j <= here ? kAlphabet[word >> (18 - 6 * j) & 63] : '=');
    }
  }
  return out;
}

const char* kind_name(BodyKind kind) {
  const auto index = static_cast<std::size_t>(kind);
  return index < kKindNames.size() ? kKindNames[index] : "data";
}

BodyKind kind_of(const std::string& word) {
  for (std::size_t i = 0; i < kKindNames.size(); ++i) {
    if (word == kKindNames[i]) return static_cast<BodyKind>(i);
  }
  return BodyKind::kData;
}

ssize_t read_stdin(std::string& buffer) {
  const std::size_t before = buffer.size();
  buffer.resize(before + kReadBytes);
  ssize_t got = 0;
  do {
    got = ::read(STDIN_FILENO, buffer.data() + before, kReadBytes);
  } while (got < 0 && errno == EINTR);
  buffer.resize(before + static_cast<std::size_t>(got > 0 ? got : 0));
  return got;
}

Status cannot_read_stdin() { return Status::from_errno(errno, "reading stdin"); }

Result<std::string> whole_body(const std::string& word) {
  if (word != "-") return word;
  std::string body;
  for (;;) {
    const ssize_t got = read_stdin(body);
    if (got < 0) return cannot_read_stdin();
    if (got == 0) return body;
  }
}

Json message_json(std::string_view body, BodyKind kind) {
  Json message = Json::object();
  const bool text = is_utf8(body);
  Json value = Json::value_t::discarded;
  if (kind == BodyKind::kJson && !has_long_number(body)) {
    value = Json::parse(body.begin(), body.end(), nullptr, false);
  }
  if (!value.is_discarded()) {
    message["json"] = std::move(value);
  } else if (text && (kind == BodyKind::kJsonText || kind == BodyKind::kJson)) {
    message["json_text"] = body;
  } else if (text) {
    message["text"] = body;
  } else {
    message["data"] = base64(body);
  }
  message["kind"] = kind_name(kind);
  return message;
}

}  // namespace heddle::cli
