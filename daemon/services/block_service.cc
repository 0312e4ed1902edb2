#include "daemon/services/block_service.h"

#include "daemon/broker/change_once.h"
#include "daemon/objects/block.h"
#include "daemon/services/list_wire.h"
#include "daemon/services/member_lookup.h"
#include "daemon/services/watch_stream.h"

namespace heddle::services {
namespace {

Status describe_block(Env& env, const Caller& caller, const std::string& name, v1::BlockInfo* out) {
  const auto info = env.broker.describe_member(caller, broker::ObjectKind::kBlock, name);
  if (!info.ok()) return info.status();
  block_info_to(*info, out);
  return {};
}

template <class Body>
grpc::ServerUnaryReactor* with_block(Env& env, grpc::CallbackServerContext* context,
                                     const std::string& name, broker::Need need, Body&& body) {
  return with_member<objects::Block>(env, context, broker::ObjectKind::kBlock, name, need,
                                     std::forward<Body>(body));
}

}  // namespace

#define HEDDLE_BLOCK_METHOD(Name)                                                              \
  grpc::ServerUnaryReactor* BlockService::Name(Context* context,                               \
                                               const v1::BlockService##Name##Request* request, \
                                               v1::BlockService##Name##Response* response)

HEDDLE_BLOCK_METHOD(Create) {
  return answer_later(env_, context, [this, request, response](const Caller& caller) -> Status {
    broker::MemberOptions options;
    if (Status bad = block_options_from(request->options(), &options); !bad.ok()) return bad;
    const auto ref = create_member(env_, caller, broker::ObjectKind::kBlock, *request, options);
    if (!ref.ok()) return ref.status();
    response->set_created(ref->created);
    return describe_block(env_, caller, ref->name, response->mutable_block());
  });
}

HEDDLE_BLOCK_METHOD(Delete) {
  (void)response;
  return answer_later(env_, context, [this, request](const Caller& caller) {
    return env_.broker.delete_member(caller, broker::ObjectKind::kBlock, request->name());
  });
}

HEDDLE_BLOCK_METHOD(Info) {
  return answer(env_, context, [&](const Caller& caller) {
    return describe_block(env_, caller, request->name(), response->mutable_block());
  });
}

HEDDLE_BLOCK_METHOD(List) {
  return answer(env_, context, [&](const Caller& caller) -> Status {
    response->set_next_page_token(list_members(
        env_, caller, broker::ObjectKind::kBlock, *request,
        [&](const broker::MemberInfo& info) { block_info_to(info, response->add_blocks()); }));
    return {};
  });
}

HEDDLE_BLOCK_METHOD(Read) {
  return with_block(env_, context, request->name(), broker::Need::kRead,
                    [&](const Caller&, const broker::MemberRef&, objects::Block& block) {
                      uint64_t version = 0;
                      bool torn = false;
                      Status status = block.read(request->at(), request->bytes(),
                                                 response->mutable_data(), &version, &torn);
                      response->set_version(version);
                      response->set_torn(torn);
                      return status;
                    });
}

HEDDLE_BLOCK_METHOD(Write) {
  return with_block(
      env_, context, request->name(), broker::Need::kWrite,
      [&](const Caller& caller, const broker::MemberRef& ref, objects::Block& block) {
        const uint64_t if_version =
            request->has_if_version() ? request->if_version() : shm::kBlockAnyVersion;
        broker::OnceNumbers numbers{};
        bool again = false;
        Status status = broker::change_once(
            {env_.broker, caller, ref, request->request_id(), [&block] { return block.followed(); },
             [&block](uint64_t version) { return block.followed() != version; }},
            [&](broker::OnceNumbers* made) {
              return block.write(request->at(), request->data(), if_version, &(*made)[0]);
            },
            &numbers, &again);
        response->set_version(numbers[0]);
        return status;
      });
}

HEDDLE_BLOCK_METHOD(Mend) {
  return with_block(env_, context, request->name(), broker::Need::kWrite,
                    [&](const Caller&, const broker::MemberRef&, objects::Block& block) {
                      uint64_t version = 0;
                      Status status = block.mend(&version);
                      response->set_version(version);
                      return status;
                    });
}

HEDDLE_BLOCK_METHOD(Force) {
  return with_block(env_, context, request->name(), broker::Need::kOwner,
                    [&](const Caller&, const broker::MemberRef&, objects::Block& block) {
                      bool ended = false;
                      uint64_t version = 0;
                      Status status = block.force(&ended, &version);
                      response->set_ended(ended);
                      response->set_version(version);
                      return status;
                    });
}

#undef HEDDLE_BLOCK_METHOD

grpc::ServerWriteReactor<v1::BlockServiceWatchResponse>* BlockService::Watch(
    Context* context, const v1::BlockServiceWatchRequest* request) {
  using Response = v1::BlockServiceWatchResponse;
  const auto set = [](Response* response, uint64_t version) { response->set_version(version); };
  const uint64_t from = request->has_version_seen() ? request->version_seen() + 1 : 0;
  return WatchStream<Response>::begin(
      std::make_shared<NumberStream<Response, decltype(set)>>(from, set), env_, context,
      broker::ObjectKind::kBlock, request->name());
}

}  // namespace heddle::services
