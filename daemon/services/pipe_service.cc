// The methods that answer at once (or after one word with the supervisor).
#include "daemon/services/pipe_service.h"

#include <algorithm>

#include "daemon/services/pipe_wire.h"

namespace heddle::services {
namespace {

constexpr uint32_t kPageMax = 1'000;

Status describe(Env& env, const Caller& caller, const std::string& name, v1::PipeInfo* out) {
  const auto info = env.broker.describe_pipe(caller, name);
  if (!info.ok()) return info.status();
  pipe_to(env.broker, *info, out);
  return {};
}

}  // namespace

#define HEDDLE_PIPE_METHOD(Name)                                                             \
  grpc::ServerUnaryReactor* PipeService::Name(Context* context,                              \
                                              const v1::PipeService##Name##Request* request, \
                                              v1::PipeService##Name##Response* response)

HEDDLE_PIPE_METHOD(Create) {
  return answer_later(env_, context, [this, request, response](const Caller& caller) -> Status {
    broker::PipeOptions options;
    Status status = pipe_options_from(request->options(), &options);
    if (!status.ok()) return status;
    options.role = static_cast<uint8_t>(local::PipeRole::kName);
    const broker::OpenFlags flags{.create = true, .exclusive = request->exclusive()};
    const auto pipe =
        env_.broker.open_pipe(caller, request->name(), options, request->options().group(), flags);
    if (!pipe.ok()) return pipe.status();
    env_.broker.close_pipe(caller.session_id, pipe->object_id);
    response->set_created(pipe->created);
    return describe(env_, caller, pipe->name, response->mutable_pipe());
  });
}

HEDDLE_PIPE_METHOD(Delete) {
  (void)response;
  return answer_later(env_, context, [this, request](const Caller& caller) {
    return env_.broker.delete_pipe(caller, request->name());
  });
}

HEDDLE_PIPE_METHOD(Info) {
  return answer(env_, context, [&](const Caller& caller) {
    return describe(env_, caller, request->name(), response->mutable_pipe());
  });
}

HEDDLE_PIPE_METHOD(List) {
  return answer(env_, context, [&](const Caller& caller) -> Status {
    std::string prefix = request->prefix();
    if (prefix.starts_with("~/")) {
      prefix = "uid-" + std::to_string(caller.uid) + prefix.substr(1);
    }
    const uint32_t n =
        request->page_size() == 0 ? kPageMax : std::min(request->page_size(), kPageMax);
    const auto found = env_.broker.list_pipes(caller, prefix, request->page_token(), n + size_t{1});
    for (size_t i = 0; i < found.size() && i < n; ++i) {
      pipe_to(env_.broker, found[i], response->add_pipes());
    }
    if (found.size() > n) response->set_next_page_token(found[n - 1].name);
    return {};
  });
}

#undef HEDDLE_PIPE_METHOD

}  // namespace heddle::services
