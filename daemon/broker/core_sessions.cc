// Opening, finding and renewing sessions; what the broker itself is in shared words.
#include <heddle/limits.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "daemon/broker/core.h"
#include "daemon/os/process.h"

namespace heddle::broker {
namespace {

constexpr int64_t kLeaseMinNs = 1'000'000'000;
constexpr int64_t kLeaseMaxNs = 3'600'000'000'000;

Status session_lost() {
  return Status(Reason::kSessionLost, "the session has ended or is not yours; open a new one");
}

// Empty when it cannot be known: a TCP peer has no pid here.
std::string command_of(pid_t pid) {
  os::ProcessFacts facts;
  return pid > 0 && os::process_facts(pid, &facts) ? os::short_command(facts) : "";
}

Status cannot_keep(const local::Keeper& keeper) {
  if (keeper.gone()) {  // asking again is of no use, which this reason says to a client
    return Status(Reason::kDaemonUnreachable,
                  "the supervisor is gone; restart the daemon. What is in the queues can be taken "
                  "out before that over gRPC, with --plane grpc");
  }
  return Status(Reason::kQuota,
                "the supervisor cannot keep another session; raise its limit of file descriptors "
                "(LimitNOFILE)");
}

// One journal line per thread of this process, given back when the thread ends.
class LineNumber {
 public:
  LineNumber() {
    std::lock_guard lock(mutex());
    if (free_list().empty()) {
      number_ = next()++;
    } else {
      number_ = free_list().back();
      free_list().pop_back();
    }
  }
  ~LineNumber() {
    std::lock_guard lock(mutex());
    free_list().push_back(number_);
  }
  uint32_t number() const { return number_; }

 private:
  // Never destroyed: threads may end after the statics of this file do.
  static std::mutex& mutex() {
    static auto* it = new std::mutex;
    return *it;
  }
  static std::vector<uint32_t>& free_list() {
    static auto* it = new std::vector<uint32_t>;
    return *it;
  }
  static uint32_t& next() {
    static uint32_t it = 0;
    return it;
  }
  uint32_t number_;
};

}  // namespace

struct Core::SessionPlan {
  SessionPlan() = default;
  SessionPlan(SessionKind of, const Caller& caller, std::string_view called)
      : kind(of),
        pid(caller.pid),
        uid(caller.uid),
        gid(caller.gid),
        name(called),
        command(command_of(caller.pid)) {}

  SessionKind kind = SessionKind::kLocal;
  pid_t pid = 0;
  uid_t uid = 0;
  gid_t gid = 0;
  std::string name;
  std::string command;
  int64_t lease_ns = 0;
  local::Fd pidfd;
  bool page = false;
  bool of_call = false;
};

shm::JournalLine* Core::own_journal(uint16_t* thread) {
  thread_local LineNumber line;
  // More threads than lines: they share the last, and only a kill in that moment could confuse it.
  const uint32_t number = std::min(line.number(), self_->lines() - 1);
  *thread = static_cast<uint16_t>(number);
  return self_->journal(number);
}

Status Core::may_issue(const SessionPlan& plan) const {
  if (plan.kind > SessionKind::kRemote) return {};
  const size_t open = sessions_.count(SessionKind::kLocal) + sessions_.count(SessionKind::kRemote);
  if (open >= sessions_max_.load()) {
    return Status(Reason::kQuota, "the daemon has as many sessions as sessions_max allows")
        .with_limit(sessions_max_.load(), open);
  }
  const size_t mine = sessions_.count_of(plan.uid);
  if (plan.uid != 0 && mine >= sessions_per_uid_max_.load()) {
    return Status(Reason::kQuota, "you have as many sessions as sessions_per_uid_max allows")
        .with_object("uid " + std::to_string(plan.uid))
        .with_limit(sessions_per_uid_max_.load(), mine);
  }
  return {};
}

// The order is what a restarted broker relies on: page and pidfd are with the supervisor before
// the number is in the catalog, and it is there before anybody hears it.
Result<SessionRef> Core::issue(SessionPlan plan) {
  if (Status status = may_issue(plan); !status.ok()) return status;
  const Result<uint16_t> owner = sessions_.take_owner();
  if (!owner.ok()) return owner.status();
  auto session = std::make_shared<Session>();
  session->owner = *owner;
  session->generation = catalog_->next_generation(*owner);
  session->id = uint64_t{session->generation} << 16 | *owner;
  session->kind = plan.kind;
  session->pid = plan.pid;
  session->uid = plan.uid;
  session->gid = plan.gid;
  session->name = plan.name.substr(0, sizeof(SessionEntry::name) - 1);
  session->command = std::move(plan.command);
  session->opened_ns = now_ns();
  session->lease_ns = plan.lease_ns;
  session->lease_ends_ns = plan.of_call ? INT64_MAX : session->opened_ns + plan.lease_ns;
  session->pidfd = std::move(plan.pidfd);

  const std::string label = "session " + std::to_string(session->id);
  const auto fail = [&](Status status) {
    (void)keeper_.drop(local::KeptKind::kPidfd, session->id);
    (void)keeper_.drop(local::KeptKind::kPage, session->id);
    sessions_.give_back(*owner);
    return status;
  };
  if (plan.page) {
    auto page = Segment::create(label, shm::session_page_bytes(kThreadsPerSessionMax), 4096);
    if (!page.ok()) return fail(page.status());
    session->page = *page;
    format_session_page(session->page->base(), kThreadsPerSessionMax, *session);
    if (!keeper_.keep(local::KeptKind::kPage, session->id, session->page->fd(), label).ok()) {
      return fail(cannot_keep(keeper_));
    }
  }
  if (session->pidfd &&
      !keeper_.keep(local::KeptKind::kPidfd, session->id, session->pidfd.get(), label).ok()) {
    return fail(cannot_keep(keeper_));
  }
  SessionEntry entry{};
  entry.session_id = session->id;
  entry.lease_ns = session->lease_ns;
  entry.pid = session->pid;
  entry.uid = session->uid;
  entry.gid = session->gid;
  entry.kind = static_cast<uint8_t>(session->kind);
  entry.of_call = plan.of_call;
  if (session->remote() && ::getrandom(session->token.data(), session->token.size(), 0) !=
                               static_cast<ssize_t>(session->token.size())) {
    return fail(Status::from_errno(errno, "making a resume token"));
  }
  std::memcpy(entry.resume_token, session->token.data(), session->token.size());
  std::memcpy(entry.name, session->name.data(), session->name.size());
  catalog_->add_session(*owner, session->generation, entry);
  sessions_.insert(session);
  return SessionRef(session);
}

void Core::watch_session(const SessionRef& session) {
  if (!session->pidfd) return;
  loop_.watch(session->pidfd.get(), EPOLLIN, [this, weak = std::weak_ptr(session)](uint32_t) {
    const SessionRef dead = weak.lock();
    if (dead) end_session(dead, true);
  });
}

Result<SessionRef> Core::open_local(const Caller& caller, local::Fd pidfd, std::string_view name) {
  if (draining()) return Status(Reason::kBrokerAway, "the daemon is about to stop");
  SessionPlan plan(SessionKind::kLocal, caller, name);
  plan.pidfd = std::move(pidfd);
  plan.page = true;
  Result<SessionRef> session = issue(std::move(plan));
  if (session.ok()) watch_session(*session);
  return session;
}

Result<SessionRef> Core::resume_local(const Caller& caller, uint64_t id, uint32_t generation) {
  const SessionRef session = sessions_.find(id);
  const bool same = session && session->kind == SessionKind::kLocal && !session->ending.load() &&
                    session->generation == generation && session->pid == caller.pid &&
                    session->uid == caller.uid;
  if (!same) return session_lost();
  hung_up_.erase(id);
  return session;
}

void Core::end_local(const SessionRef& session) { end_session(session, false); }

void Core::hung_up(const SessionRef& session) {
  if (!session->ending.load()) hung_up_.insert(session->id);
}

Result<RemoteSession> Core::describe_remote(const SessionRef& session) const {
  return RemoteSession{session->id, session->owner, session->lease_ns, session->token};
}

Result<RemoteSession> Core::open_session(const Caller& caller, int64_t lease_ns,
                                         std::string_view client_name,
                                         std::function<void()> ended) {
  if (draining()) return Status(Reason::kBrokerAway, "the daemon is about to stop");
  if (lease_ns == 0) lease_ns = session_lease_ns_.load();
  if (lease_ns < kLeaseMinNs || lease_ns > kLeaseMaxNs) {
    return Status(Reason::kInvalidArgument, "a session's lease is from 1 s to 1 h")
        .with_limit(static_cast<uint64_t>(lease_ns < kLeaseMinNs ? kLeaseMinNs : kLeaseMaxNs),
                    static_cast<uint64_t>(std::max<int64_t>(0, lease_ns)));
  }
  SessionPlan plan(SessionKind::kRemote, caller, client_name);
  plan.lease_ns = lease_ns;
  Result<SessionRef> session = issue(std::move(plan));
  if (!session.ok()) return session.status();
  sessions_.set_ended(**session, std::move(ended));
  return describe_remote(*session);
}

Result<RemoteSession> Core::open_call_session(const Caller& caller, std::string_view client_name) {
  if (draining()) return Status(Reason::kBrokerAway, "the daemon is about to stop");
  SessionPlan plan(SessionKind::kRemote, caller, client_name);
  plan.of_call = true;
  Result<SessionRef> session = issue(std::move(plan));
  if (!session.ok()) return session.status();
  return describe_remote(*session);
}

void Core::end_call_session(uint64_t session_id, bool died) {
  const SessionRef session = sessions_.find(session_id);
  if (!session) return;
  end_session(session, died);
}

Result<RemoteSession> Core::resume_session(const Caller& caller, const ResumeToken& token,
                                           std::function<void()> ended) {
  const SessionRef session = sessions_.by_token(token);
  if (!session || session->uid != caller.uid || session->ending.load()) return session_lost();
  session->lease_ends_ns = now_ns() + session->lease_ns;
  sessions_.set_ended(*session, std::move(ended));
  return describe_remote(session);
}

Result<SessionRef> Core::remote_of(const Caller& caller, uint64_t session_id) const {
  const SessionRef session = sessions_.find(session_id);
  const bool good = session && session->remote() && session->uid == caller.uid &&
                    !session->ending.load() && session->lease_ends_ns.load() > now_ns();
  if (!good) return session_lost();
  return session;
}

Status Core::renew_session(const Caller& caller, uint64_t session_id) {
  const Result<SessionRef> session = remote_of(caller, session_id);
  if (!session.ok()) return session.status();
  (*session)->lease_ends_ns = now_ns() + (*session)->lease_ns;
  return Status();
}

Status Core::close_session(const Caller& caller, uint64_t session_id) {
  const Result<SessionRef> session = remote_of(caller, session_id);
  if (!session.ok()) return session.status();
  end_session(*session, false);
  return Status();
}

Status Core::enter_session(Caller& caller, uint64_t session_id) {
  const Result<SessionRef> session = remote_of(caller, session_id);
  if (!session.ok()) return session.status();
  caller.owner = (*session)->owner;
  caller.session_id = session_id;
  return Status();
}

Status Core::make_own_sessions() {
  SessionPlan plan;
  plan.kind = SessionKind::kBroker;
  plan.pid = ::getpid();
  plan.uid = ::geteuid();
  plan.gid = ::getegid();
  plan.name = plan.command = "heddle-broker";
  plan.page = true;
  Result<SessionRef> self = issue(std::move(plan));
  if (!self.ok()) return self.status();
  self_ = *self;
  if (sessionless_) return Status();
  SessionPlan shared;
  shared.kind = SessionKind::kSessionless;
  shared.uid = ::geteuid();
  shared.gid = ::getegid();
  shared.name = "callers without a session";
  Result<SessionRef> sessionless = issue(std::move(shared));
  if (!sessionless.ok()) return sessionless.status();
  sessionless_ = *sessionless;
  return Status();
}

}  // namespace heddle::broker
