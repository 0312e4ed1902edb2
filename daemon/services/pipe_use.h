// One caller's use of an end of a pipe, or of its listening, for as long as a call or a stream.
#pragma once

#include <heddle/result.h>

#include <string>
#include <string_view>

#include "daemon/services/call.h"

namespace heddle::services {

inline constexpr uint64_t kPieceBytes = 64 * 1024;  // of a stream

struct PipeUse {
  Caller user;          // in the session that stands in the pipe
  bool own = false;     // that session was opened for this and ends with it
  uint64_t opened = 0;  // object that is open, 0: none
  broker::PipeRef ref;
  objects::Pipe::UseRef end;  // null: of a listener, or not open yet
};

// How `ref` is asked for: role and side are in the options.
struct PipeAsk {
  std::string name;
  broker::PipeOptions options{};
  std::string group;
  bool create = true;
};

// The session that will use it: the caller's own, unless it has none or `always_own`.
Status enter_pipe(Env& env, const Caller& caller, std::string_view name, bool always_own,
                  PipeUse* use);
// On the worker thread: it may wait for the supervisor. As Broker::open_pipe.
Status open_pipe(Env& env, const PipeAsk& ask, PipeUse* use);
// Over, once. `closes`: the session leaves the end; one opened for this use always does, in order
// or, if it `died`, not.
void end_pipe(Env& env, PipeUse* use, bool closes, bool died);

}  // namespace heddle::services
