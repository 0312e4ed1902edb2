// Finding the dict that a request names.
#pragma once

#include <string>

#include "daemon/objects/dict.h"
#include "daemon/services/call.h"
#include "heddle/v1/types.pb.h"

namespace heddle::services {

inline objects::Dict& dict_of(const broker::MemberRef& ref) {
  return static_cast<objects::Dict&>(*ref.member);
}

// Finds it, then answers with `body(caller, ref, dict)`.
template <class Body>
grpc::ServerUnaryReactor* with_dict(Env& env, grpc::CallbackServerContext* context,
                                    const std::string& name, broker::Need need, Body&& body) {
  return answer(env, context, [&](const Caller& caller) -> Status {
    const auto ref = env.broker.find_member(caller, broker::ObjectKind::kDict, name, need);
    return ref.ok() ? body(caller, *ref, dict_of(*ref)) : ref.status();
  });
}

template <class Request>
Status dict_fence_from(Env& env, const Caller& caller, const Request& request,
                       objects::Fence* out) {
  if (!request.has_fence()) return {};
  auto fence = env.broker.fence_of(caller, request.fence().lock(), request.fence().token());
  if (!fence.ok()) return fence.status();
  *out = *std::move(fence);
  return {};
}

}  // namespace heddle::services
