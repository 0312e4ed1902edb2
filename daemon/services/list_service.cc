#include "daemon/services/list_service.h"

#include <algorithm>

#include "daemon/broker/change_once.h"
#include "daemon/services/dict_wire.h"
#include "daemon/services/list_wire.h"
#include "daemon/services/member_lookup.h"
#include "daemon/services/watch_stream.h"

namespace heddle::services {
namespace {

constexpr uint32_t kListRowsMax = 4'096, kListRowsDefault = 1'000;
constexpr uint64_t kListPageBytes = 1 << 20;

Status describe_list(Env& env, const Caller& caller, const std::string& name, v1::ListInfo* out) {
  const auto info = env.broker.describe_member(caller, broker::ObjectKind::kList, name);
  if (!info.ok()) return info.status();
  list_info_to(*info, out);
  return {};
}

template <class Body>
grpc::ServerUnaryReactor* with_list(Env& env, grpc::CallbackServerContext* context,
                                    const std::string& name, broker::Need need, Body&& body) {
  return with_member<objects::List>(env, context, broker::ObjectKind::kList, name, need,
                                    std::forward<Body>(body));
}

Status value_lost(const objects::List& list) {
  return Status(Reason::kBrokerAway,
                "an earlier attempt of this call took the element out, and its reply was lost with "
                "what it took")
      .with_object(list.label());
}

/// One change, once for its request id. `taken`: what it takes out, for a reply that shows it.
template <class Request, class Response>
grpc::ServerUnaryReactor* change_list(Env& env, grpc::CallbackServerContext* context,
                                      const Request& request, shm::ListOp op, int64_t index,
                                      const v1::DictValue* value, bool takes, Response* response) {
  return with_list(
      env, context, request.name(), broker::Need::kWrite,
      [&](const Caller& caller, const broker::MemberRef& ref, objects::List& list) -> Status {
        shm::ListChange change;
        change.op = op;
        change.index = index;
        if (request.has_if_revision()) change.if_revision = request.if_revision();
        std::string storage;
        shm::DictKind kind = shm::DictKind::kNull;
        if (value != nullptr) {
          Status bad = dict_value_from(*value, &storage, &change.value, &change.bytes, &kind);
          if (!bad.ok()) return std::move(bad).with_object(list.label());
        }
        change.kind = static_cast<uint8_t>(kind);
        shm::ListWritten written;
        local::ListRow taken;
        broker::OnceNumbers numbers{};
        bool again = false;
        Status status = broker::change_once(
            {env.broker, caller, ref, request.request_id(), [&list] { return list.followed(); },
             [&list](uint64_t revision) { return list.followed() != revision; }},
            [&](broker::OnceNumbers* made) {
              Status ended = list.change(change, &written, takes ? &taken : nullptr);
              *made = {written.revision, written.length, written.index};
              return ended;
            },
            &numbers, &again);
        if (!status.ok()) return status;
        if (again && takes) return value_lost(list);
        response->mutable_changed()->set_revision(numbers[0]);
        response->mutable_changed()->set_length(numbers[1]);
        response->mutable_changed()->set_index(numbers[2]);
        if constexpr (requires { response->mutable_element(); }) {
          list_element_to(taken, response->mutable_element());
        }
        return status;
      });
}

}  // namespace

#define HEDDLE_LIST_METHOD(Name)                                                             \
  grpc::ServerUnaryReactor* ListService::Name(Context* context,                              \
                                              const v1::ListService##Name##Request* request, \
                                              v1::ListService##Name##Response* response)

HEDDLE_LIST_METHOD(Create) {
  return answer_later(env_, context, [this, request, response](const Caller& caller) -> Status {
    broker::MemberOptions options;
    if (Status bad = list_options_from(request->options(), &options); !bad.ok()) return bad;
    const auto ref = create_member(env_, caller, broker::ObjectKind::kList, *request, options);
    if (!ref.ok()) return ref.status();
    response->set_created(ref->created);
    return describe_list(env_, caller, ref->name, response->mutable_list());
  });
}

HEDDLE_LIST_METHOD(Delete) {
  (void)response;
  return answer_later(env_, context, [this, request](const Caller& caller) {
    return env_.broker.delete_member(caller, broker::ObjectKind::kList, request->name());
  });
}

HEDDLE_LIST_METHOD(Info) {
  return answer(env_, context, [&](const Caller& caller) {
    return describe_list(env_, caller, request->name(), response->mutable_list());
  });
}

HEDDLE_LIST_METHOD(List) {
  return answer(env_, context, [&](const Caller& caller) -> Status {
    response->set_next_page_token(list_members(
        env_, caller, broker::ObjectKind::kList, *request,
        [&](const broker::MemberInfo& info) { list_info_to(info, response->add_lists()); }));
    return {};
  });
}

HEDDLE_LIST_METHOD(Get) {
  return with_list(env_, context, request->name(), broker::Need::kRead,
                   [&](const Caller&, const broker::MemberRef&, objects::List& list) {
                     local::ListRow row;
                     Status status = list.get(request->index(), &row);
                     if (status.ok()) list_element_to(row, response->mutable_element());
                     return status;
                   });
}

HEDDLE_LIST_METHOD(Slice) {
  return with_list(env_, context, request->name(), broker::Need::kRead,
                   [&](const Caller&, const broker::MemberRef&, objects::List& list) {
                     const uint32_t most = request->page_size() == 0
                                               ? kListRowsDefault
                                               : std::min(request->page_size(), kListRowsMax);
                     const uint64_t revision = request->has_if_revision() ? request->if_revision()
                                                                          : shm::kListAnyRevision;
                     local::ListRows page;
                     Status status =
                         list.rows(request->from(), most, kListPageBytes, revision, &page);
                     for (local::ListRow& row : page.rows) {
                       list_element_to(row, response->add_elements());
                     }
                     response->set_from(page.from);
                     response->set_length(page.length);
                     response->set_revision(page.revision);
                     return status;
                   });
}

HEDDLE_LIST_METHOD(Append) {
  return change_list(env_, context, *request, shm::ListOp::kInsert, shm::kListEnd,
                     &request->value(), false, response);
}
HEDDLE_LIST_METHOD(Insert) {
  return change_list(env_, context, *request, shm::ListOp::kInsert, request->index(),
                     &request->value(), false, response);
}
HEDDLE_LIST_METHOD(Set) {
  return change_list(env_, context, *request, shm::ListOp::kSet, request->index(),
                     &request->value(), false, response);
}
HEDDLE_LIST_METHOD(Pop) {
  return change_list(env_, context, *request, shm::ListOp::kRemove,
                     request->has_index() ? request->index() : -1, nullptr, true, response);
}
HEDDLE_LIST_METHOD(Remove) {
  return change_list(env_, context, *request, shm::ListOp::kRemove, request->index(), nullptr,
                     false, response);
}
HEDDLE_LIST_METHOD(Clear) {
  return change_list(env_, context, *request, shm::ListOp::kClear, 0, nullptr, false, response);
}

#undef HEDDLE_LIST_METHOD

grpc::ServerWriteReactor<v1::ListServiceWatchResponse>* ListService::Watch(
    Context* context, const v1::ListServiceWatchRequest* request) {
  using Response = v1::ListServiceWatchResponse;
  const auto set = [](Response* response, uint64_t revision) { response->set_revision(revision); };
  return WatchStream<Response>::begin(
      std::make_shared<NumberStream<Response, decltype(set)>>(request->revision(), set), env_,
      context, broker::ObjectKind::kList, request->name());
}

}  // namespace heddle::services
