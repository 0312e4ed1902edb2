// What Client knows about pipes.
#include <heddle/client.h>
#include <heddle/name.h>

#include <utility>

#include "client/src/channel.h"
#include "client/src/pipe_channel.h"

namespace heddle {
namespace {

Status check_pipe(const std::shared_ptr<detail::Channel>& channel, std::string_view name) {
  if (!channel) {
    return Status(Reason::kDaemonUnreachable, "this client is not connected; use Client::connect");
  }
  // `~/` is expanded by the broker, which knows for sure who asks.
  return check_object_name(name.starts_with("~/") ? name.substr(2) : name);
}

Result<PipeEnd> made(Result<std::shared_ptr<detail::PipeChannel>> pipe) {
  if (!pipe) return std::move(pipe).status();
  return detail::PipeAccess::end(std::move(*pipe));
}

}  // namespace

Status Client::create_pipe(std::string_view name, const PipeOptions& options) {
  if (Status bad = check_pipe(channel_, name); !bad.ok()) return bad;
  return channel_->create_pipe(name, options);
}

Result<PipeEnd> Client::pipe_end(std::string_view name, PipeSide side, const PipeOptions& options) {
  if (Status bad = check_pipe(channel_, name); !bad.ok()) return bad;
  return made(channel_->open_pipe_end(name, side, options));
}

Result<PipeEnd> Client::connect_pipe(std::string_view name, std::chrono::nanoseconds timeout,
                                     const PipeOptions& options) {
  if (Status bad = check_pipe(channel_, name); !bad.ok()) return bad;
  return made(channel_->connect_pipe(name, options, detail::deadline_after(timeout)));
}

Result<PipeListener> Client::listen_pipe(std::string_view name, const PipeOptions& options) {
  if (Status bad = check_pipe(channel_, name); !bad.ok()) return bad;
  auto hall = channel_->listen_pipe(name, options);
  if (!hall) return std::move(hall).status();
  return detail::PipeAccess::listener(std::move(*hall));
}

Result<std::vector<PipeInfo>> Client::pipes(std::string_view prefix) {
  if (!channel_) return check_pipe(channel_, prefix);
  return channel_->pipes(prefix);
}

Result<PipeInfo> Client::pipe_info(std::string_view name) {
  if (Status bad = check_pipe(channel_, name); !bad.ok()) return bad;
  return channel_->pipe_info(name);
}

Status Client::delete_pipe(std::string_view name) {
  if (Status bad = check_pipe(channel_, name); !bad.ok()) return bad;
  return channel_->delete_pipe(name);
}

}  // namespace heddle
