#include "client/src/grpc_channel/turned_away.h"

#include <heddle/reasons.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>
#include <string_view>

namespace heddle::detail {
namespace {

constexpr std::string_view kScheme = "unix:";
constexpr std::string_view kSpeaker = "heddle: ";  // its sentence begins so
constexpr std::size_t kFrameHeader = 9, kGoawayHeader = 8;
constexpr char kGoaway = 7;
constexpr int kPatienceMs = 500;

// Until the other end hangs up, or has nothing to say.
std::string all_that_is_said(int socket, const std::string& path) {
  std::string text;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return text;
  std::memcpy(address.sun_path, path.c_str(), path.size());
  const auto* name = reinterpret_cast<const sockaddr*>(&address);
  if (::connect(socket, name, sizeof address) != 0) return text;
  char chunk[1024];
  pollfd poll{.fd = socket, .events = POLLIN, .revents = 0};
  while (text.size() < sizeof chunk && ::poll(&poll, 1, kPatienceMs) == 1) {
    const ssize_t n = ::recv(socket, chunk, sizeof chunk, MSG_DONTWAIT);
    if (n <= 0) break;
    text.append(chunk, static_cast<std::size_t>(n));
  }
  return text;
}

// The text of the first GOAWAY among these frames.
std::string_view goodbye_in(std::string_view frames) {
  while (frames.size() >= kFrameHeader) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(frames[i]); };
    const std::size_t length = std::size_t{byte(0)} << 16 | byte(1) << 8 | byte(2);
    const char type = frames[3];
    const std::string_view body = frames.substr(kFrameHeader, length);
    if (type == kGoaway && body.size() > kGoawayHeader) return body.substr(kGoawayHeader);
    frames.remove_prefix(kFrameHeader + body.size());
  }
  return {};
}

}  // namespace

Status turned_away(const std::string& target) {
  if (!target.starts_with(kScheme)) return {};
  const int socket = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (socket < 0) return {};
  const std::string frames = all_that_is_said(socket, target.substr(kScheme.size()));
  ::close(socket);
  std::string_view said = goodbye_in(frames);
  const std::size_t tail = said.rfind(" [");  // "heddle: what is wrong [REASON]"
  if (!said.starts_with(kSpeaker) || !said.ends_with(']') || tail == said.npos) return {};
  const auto reason = reason_from_name(said.substr(tail + 2, said.size() - tail - 3));
  said = said.substr(kSpeaker.size(), tail - kSpeaker.size());
  return Status(reason.value_or(Reason::kQuota), std::string(said));
}

}  // namespace heddle::detail
