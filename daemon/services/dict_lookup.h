// Finding the dict that a request names.
#pragma once

#include <string>

#include "daemon/objects/dict.h"
#include "daemon/services/member_lookup.h"
#include "heddle/v1/types.pb.h"

namespace heddle::services {

// Finds it, then answers with `body(caller, ref, dict)`.
template <class Body>
grpc::ServerUnaryReactor* with_dict(Env& env, grpc::CallbackServerContext* context,
                                    const std::string& name, broker::Need need, Body&& body) {
  return with_member<objects::Dict>(env, context, broker::ObjectKind::kDict, name, need,
                                    std::forward<Body>(body));
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
