// What lists and blocks over gRPC have in common.
#pragma once

#include <string>
#include <utility>

#include "client/src/channel.h"
#include "client/src/grpc_channel/remote.h"

namespace heddle::detail {

// What their infos and options have.
template <class Wire, class Info>
void member_info_from(const Wire& wire, Info* info) {
  info->name = wire.name();
  info->object_id = wire.object_id();
  info->uid = wire.uid();
  info->gid = wire.gid();
  info->memory_bytes = wire.memory_bytes();
  info->attached = wire.attached();
  info->watching = wire.watching();
  info->quarantined = wire.quarantined();
  info->options.mode = wire.options().mode();
  info->options.group = wire.options().group();
  if (wire.options().lifetime() > 0) {
    info->options.lifetime = static_cast<Lifetime>(wire.options().lifetime() - 1);
  }
}

// A Create request but for what is the kind's own.
template <class Options, class Request>
void member_create_to(std::string_view name, const Options& options, bool create,
                      Request* request) {
  request->set_name(std::string(name));
  auto* wire = request->mutable_options();
  if (options.mode) wire->set_mode(*options.mode);
  if (!options.group.empty()) wire->set_group(options.group);
  if (options.lifetime) {
    wire->set_lifetime(
        static_cast<v1::DictOptions::Lifetime>(static_cast<int>(*options.lifetime) + 1));
  }
  request->set_open_only(!create);
  request->set_exclusive(create && !options.open_existing);
  request->set_anonymous(create && name.empty());
}

// Waits until `stub.Watch(request)` says something; `number` reads it. A stream that breaks off
// because the broker is away is begun again.
template <class Response, class Stub, class Request, class Number>
Status watch_once(Remote& remote, Stub& stub, const Request& request, std::int64_t deadline_ns,
                  Number number, std::uint64_t* out) {
  std::int64_t give_up_ns = 0;
  for (;;) {
    grpc::ClientContext context;
    std::string token;
    if (Status status = remote.enter_session(&token); !status.ok()) return status;
    if (!token.empty()) context.AddMetadata("heddle-session", token);
    const std::int64_t now_ns = monotonic_ns();
    if (deadline_ns != kNever) {
      if (deadline_ns <= now_ns) return Reason::kTimedOut;
      context.set_deadline(std::chrono::system_clock::now() +
                           std::chrono::nanoseconds(deadline_ns - now_ns));
    }
    Response response;
    auto reader = stub.Watch(&context, request);
    const bool there = reader->Read(&response);
    if (there) {
      *out = number(response);
      context.TryCancel();
    }
    const grpc::Status ended = reader->Finish();
    if (there) return {};
    if (ended.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) return Reason::kTimedOut;
    if (ended.ok()) return {Reason::kInternal, "the watch was ended"};
    Status status = remote.after_failure(ended, deadline_ns, token, &give_up_ns);
    if (!status.ok()) return status;
  }
}

}  // namespace heddle::detail
