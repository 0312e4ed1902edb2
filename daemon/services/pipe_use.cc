#include "daemon/services/pipe_use.h"

#include <utility>

namespace heddle::services {

Status enter_pipe(Env& env, const Caller& caller, std::string_view name, bool always_own,
                  PipeUse* use) {
  use->user = caller;
  if (caller.session_id != 0 && !always_own) return {};
  auto session = env.broker.open_call_session(caller, "pipe " + std::string(name));
  if (!session.ok()) return session.status();
  use->own = true;
  use->user.owner = session->owner;
  use->user.session_id = session->session_id;
  return {};
}

Status open_pipe(Env& env, const PipeAsk& ask, PipeUse* use) {
  const broker::OpenFlags flags{.create = ask.create, .remote = true};
  auto ref = env.broker.open_pipe(use->user, ask.name, ask.options, ask.group, flags);
  if (!ref.ok()) return ref.status();
  use->ref = *std::move(ref);
  use->opened = use->ref.object_id;
  if (use->ref.pipe) {
    const auto side = static_cast<shm::PipeSide>(use->ref.options.side);
    use->end = use->ref.pipe->use(side, use->user.owner);
  }
  return {};
}

void end_pipe(Env& env, PipeUse* use, bool closes, bool died) {
  const bool leaves = use->own ? !died : closes;
  if (use->end) use->ref.pipe->end_use(std::exchange(use->end, nullptr), leaves);
  const uint64_t opened = std::exchange(use->opened, 0);
  if (opened != 0 && leaves) env.broker.close_pipe(use->user.session_id, opened);
  if (std::exchange(use->own, false)) env.broker.end_call_session(use->user.session_id, died);
}

}  // namespace heddle::services
