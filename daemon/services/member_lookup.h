// Finding the object of a family that a request names.
#pragma once

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "daemon/services/call.h"

namespace heddle::services {

// Finds it, then answers with `body(caller, ref, object)`.
template <class Object, class Body>
grpc::ServerUnaryReactor* with_member(Env& env, grpc::CallbackServerContext* context,
                                      broker::ObjectKind kind, const std::string& name,
                                      broker::Need need, Body&& body) {
  return answer(env, context, [&](const Caller& caller) -> Status {
    const auto ref = env.broker.find_member(caller, kind, name, need);
    return ref.ok() ? body(caller, *ref, static_cast<Object&>(*ref->member)) : ref.status();
  });
}

// Create, of any of them: as the request's flags say. `options` are its own.
template <class Request>
Result<broker::MemberRef> create_member(Env& env, const Caller& caller, broker::ObjectKind kind,
                                        const Request& request,
                                        const broker::MemberOptions& options) {
  const broker::OpenFlags flags{.create = !request.open_only(),
                                .exclusive = request.exclusive(),
                                .anonymous = request.anonymous()};
  return env.broker.open_member(caller, kind, request.name(), options, request.options().group(),
                                flags);
}

// List, of any of them: `add(info)` for each of a page; gives the next page's token.
template <class Request, class Add>
std::string list_members(Env& env, const Caller& caller, broker::ObjectKind kind,
                         const Request& request, Add add) {
  constexpr uint32_t kMost = 1'000;
  const uint32_t n =
      request.page_size() == 0 || request.page_size() > kMost ? kMost : request.page_size();
  const auto found =
      env.broker.list_members(caller, kind, request.prefix(), request.page_token(), n + size_t{1});
  for (size_t i = 0; i < found.size() && i < n; ++i) add(found[i]);
  return found.size() > n ? found[n - 1].name : std::string();
}

// Of an options message: `field` of the stored options and its bit, if it was given. What does not
// fit the field is the largest one; the broker refuses it by name.
template <class Value, class Field>
void take_given(bool given, Value value, Field* field, uint32_t bit, uint32_t* bits) {
  if (!given) return;
  *field = static_cast<Field>(
      std::min<uint64_t>(static_cast<uint64_t>(value), std::numeric_limits<Field>::max()));
  *bits |= bit;
}

// Wire enumerators are the stored ones plus 1, with 0 for "not given". False: there is no such one.
inline bool given_word(int wire, int count, uint32_t bit, uint8_t* field, uint32_t* given) {
  if (wire < 0 || wire > count) return false;
  if (wire == 0) return true;
  *field = static_cast<uint8_t>(wire - 1);
  *given |= bit;
  return true;
}

}  // namespace heddle::services
