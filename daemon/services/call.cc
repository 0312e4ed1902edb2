#include "daemon/services/call.h"

#include <algorithm>
#include <chrono>

#include "daemon/os/clock.h"
#include "daemon/services/session_table.h"

namespace heddle::services {
namespace {

int64_t saturating_add(int64_t a, int64_t b) {
  int64_t sum;
  return __builtin_add_overflow(a, b, &sum) ? shm::kForever : sum;
}

// Before the RPC's own deadline: for the way here, which the caller's clock has counted and this
// one has not, and for the way back. What a caller is not given any more it cannot lose.
int64_t answer_margin_ns(int64_t left_ns) {
  constexpr int64_t kMarginNs = 20'000'000;
  return std::min(kMarginNs, left_ns / 4);
}

// When a wait has to end for its answer to be there before the caller gives up.
int64_t rpc_deadline_ns(const grpc::CallbackServerContext& context, int64_t now) {
  const auto deadline = context.deadline();
  if (deadline == std::chrono::system_clock::time_point::max()) return shm::kForever;
  const auto left = std::chrono::duration_cast<std::chrono::nanoseconds>(
      deadline - std::chrono::system_clock::now());
  return saturating_add(now, std::max<int64_t>(left.count() - answer_margin_ns(left.count()), 1));
}

}  // namespace

int64_t now_ns() { return os::monotonic_ns(); }

Status identify(Env& env, const grpc::CallbackServerContext& context, Caller* caller,
                std::unique_ptr<Admission>* admission) {
  if (Status status = env.peers.admit(context.peer(), caller, admission); !status.ok()) {
    return status;
  }
  const auto& metadata = context.client_metadata();
  const auto token = metadata.find("heddle-session");
  if (token == metadata.end()) return {};
  return env.sessions.enter({token->second.data(), token->second.size()}, caller);
}

int64_t deadline_ns(const grpc::CallbackServerContext& context, std::optional<int64_t> timeout_ms,
                    int64_t absent_ns) {
  if (timeout_ms ? *timeout_ms <= 0 : absent_ns == shm::kTry) return shm::kTry;
  const int64_t now = now_ns();
  int64_t wanted = absent_ns;
  if (timeout_ms) {
    int64_t length;
    wanted = __builtin_mul_overflow(*timeout_ms, int64_t{1'000'000}, &length)
                 ? shm::kForever
                 : saturating_add(now, length);
  }
  return std::min(wanted, rpc_deadline_ns(context, now));
}

}  // namespace heddle::services
