// Every way an operation can end, in one list, mapped once to the number or name that each
// plane and language uses. Numbers are fixed: they cross the wire. Append, never renumber.
#ifndef HEDDLE_REASONS_H_
#define HEDDLE_REASONS_H_

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include <heddle/export.h>

namespace heddle {

// google.rpc.Code: the same numbers, so a cast crosses gRPC.
enum class Code : uint8_t {
  kOk = 0,
  kCancelled = 1,
  kUnknown = 2,
  kInvalidArgument = 3,
  kDeadlineExceeded = 4,
  kNotFound = 5,
  kAlreadyExists = 6,
  kPermissionDenied = 7,
  kResourceExhausted = 8,
  kFailedPrecondition = 9,
  kAborted = 10,
  kOutOfRange = 11,
  kUnimplemented = 12,
  kInternal = 13,
  kUnavailable = 14,
  kDataLoss = 15,
  kUnauthenticated = 16,
};

enum class Reason : uint8_t {
  kOk = 0,
  kEmpty = 1,                // nothing to take, and the caller did not want to wait
  kFull = 2,                 // no room, and the caller did not want to wait
  kTimedOut = 3,             // waited as long as asked
  kClosed = 4,               // shut down by somebody: no more puts, or no more gets
  kEndOfStream = 5,          // every producer has finished and everything is taken
  kProducerDied = 6,         // the stream ended by a death, not by a finish
  kLeaseLost = 7,            // the message or lock was taken away (expired, revoked, forced)
  kTooLarge = 8,             // one message or value above its limit
  kMemoryExhausted = 9,      // the object's or the machine's memory is used up
  kTooManyLeases = 10,       // max_leases messages are held already
  kTooManyThreads = 11,      // more threads of one session than its page has lines for
  kNotFound = 12,            // no such object, or the caller may not read it
  kExistsOtherOptions = 13,  // the name exists with other options than asked
  kDenied = 14,              // rights
  kInvalidName = 15,         // not a name by the grammar in name.h
  kInvalidArgument = 16,     // any other bad argument
  kBrokerAway = 17,          // the broker restarts; the supervisor lives
  kDaemonUnreachable = 18,   // nobody listens
  kVersionMismatch = 19,     // the two ends speak no common version
  kCorrupt = 20,             // an object's memory failed a check and is in quarantine
  kQuota = 21,               // the caller's own budget (objects, bytes, sessions) is used up
  kSessionLost = 22,         // this session has ended; open a new one
  kUnsupported = 23,         // not possible on this plane or for this kind
  kInterrupted = 24,         // a signal or a cancellation ended the wait
  kInternal = 25,            // a defect of Heddle
  kStaleFence = 26,          // a newer fencing token has been seen
  kDeadlockDetected = 27,    // waiting on would close a circle
  kPeerDied = 28,            // the other end of a pipe, or a lock's last owner, died
  kBrokenBarrier = 29,       // a party left the barrier before it filled
  kBrokenPipe = 30,          // nobody is left at the other end to receive
  kExists = 31,              // the key is there already, and was not to be
  kMismatch = 32,            // another version, value or kind than asked; a bound would be passed
  kOutOfRange = 33,          // a revision that the history no longer has; too many operations
};
inline constexpr size_t kReasonCount = 34;

// One row per reason. `is_outcome`: an ordinary end that callers branch on (empty, full, timed
// out, closed, end of stream); over gRPC it is a field of an OK reply, never an error, and
// nobody logs it.
struct ReasonInfo {
  Reason reason;
  std::string_view name;  // ErrorInfo.reason, `--json`, log: "EXISTS_OTHER_OPTIONS"
  Code code;
  int errno_value;
  int exit_code;  // of the command line
  bool is_outcome;
  std::string_view text;  // the message when nobody gave a better one
};

inline constexpr ReasonInfo kReasons[kReasonCount] = {
    {Reason::kOk, "OK", Code::kOk, 0, 0, false, "ok"},
    {Reason::kEmpty, "EMPTY", Code::kFailedPrecondition, EAGAIN, 5, true, "nothing there"},
    {Reason::kFull, "FULL", Code::kResourceExhausted, EXFULL, 7, true, "no room"},
    {Reason::kTimedOut, "TIMED_OUT", Code::kDeadlineExceeded, ETIMEDOUT, 5, true, "timed out"},
    {Reason::kClosed, "CLOSED", Code::kFailedPrecondition, ESHUTDOWN, 11, true, "closed"},
    {Reason::kEndOfStream, "END_OF_STREAM", Code::kOutOfRange, ENODATA, 6, true,
     "end of stream"},
    {Reason::kProducerDied, "PRODUCER_DIED", Code::kAborted, EOWNERDEAD, 12, false,
     "a producer died before it finished"},
    {Reason::kLeaseLost, "LEASE_LOST", Code::kFailedPrecondition, ESTALE, 8, false,
     "the lease was lost"},
    {Reason::kTooLarge, "TOO_LARGE", Code::kInvalidArgument, EMSGSIZE, 1, false, "too large"},
    {Reason::kMemoryExhausted, "MEMORY_EXHAUSTED", Code::kResourceExhausted, ENOMEM, 1, false,
     "memory exhausted"},
    {Reason::kTooManyLeases, "TOO_MANY_LEASES", Code::kResourceExhausted, ENOBUFS, 1, false,
     "too many leases"},
    {Reason::kTooManyThreads, "TOO_MANY_THREADS", Code::kResourceExhausted, EUSERS, 1, false,
     "too many threads in one session"},
    {Reason::kNotFound, "NOT_FOUND", Code::kNotFound, ENOENT, 4, false, "not found"},
    {Reason::kExistsOtherOptions, "EXISTS_OTHER_OPTIONS", Code::kAlreadyExists, EEXIST, 13,
     false, "exists with other options"},
    {Reason::kDenied, "DENIED", Code::kPermissionDenied, EACCES, 9, false, "permission denied"},
    {Reason::kInvalidName, "INVALID_NAME", Code::kInvalidArgument, EINVAL, 2, false,
     "invalid name"},
    {Reason::kInvalidArgument, "INVALID_ARGUMENT", Code::kInvalidArgument, EINVAL, 2, false,
     "invalid argument"},
    {Reason::kBrokerAway, "BROKER_AWAY", Code::kUnavailable, EHOSTDOWN, 10, false,
     "the broker is away"},
    {Reason::kDaemonUnreachable, "DAEMON_UNREACHABLE", Code::kUnavailable, ECONNREFUSED, 10,
     false, "no daemon reachable"},
    {Reason::kVersionMismatch, "VERSION_MISMATCH", Code::kFailedPrecondition, EPROTONOSUPPORT, 1,
     false, "no common version"},
    {Reason::kCorrupt, "CORRUPT", Code::kDataLoss, EUCLEAN, 1, false,
     "damaged and in quarantine"},
    {Reason::kQuota, "QUOTA", Code::kResourceExhausted, EDQUOT, 1, false, "quota used up"},
    {Reason::kSessionLost, "SESSION_LOST", Code::kFailedPrecondition, ENOTCONN, 1, false,
     "the session has ended"},
    {Reason::kUnsupported, "UNSUPPORTED", Code::kUnimplemented, EOPNOTSUPP, 1, false,
     "not supported here"},
    {Reason::kInterrupted, "INTERRUPTED", Code::kCancelled, EINTR, 130, false, "interrupted"},
    {Reason::kInternal, "INTERNAL", Code::kInternal, EIO, 1, false, "internal error"},
    {Reason::kStaleFence, "STALE_FENCE", Code::kFailedPrecondition, ESTALE, 14, false,
     "a newer fencing token has been seen"},
    {Reason::kDeadlockDetected, "DEADLOCK_DETECTED", Code::kAborted, EDEADLK, 14, false,
     "deadlock detected"},
    {Reason::kPeerDied, "PEER_DIED", Code::kAborted, EOWNERDEAD, 12, false, "the peer died"},
    {Reason::kBrokenBarrier, "BROKEN_BARRIER", Code::kAborted, ECONNABORTED, 14, false,
     "the barrier is broken"},
    {Reason::kBrokenPipe, "BROKEN_PIPE", Code::kFailedPrecondition, EPIPE, 11, false,
     "nobody receives at the other end"},
    {Reason::kExists, "EXISTS", Code::kAlreadyExists, EEXIST, 13, false, "the key exists"},
    {Reason::kMismatch, "MISMATCH", Code::kFailedPrecondition, EBADE, 14, false,
     "not as expected"},
    {Reason::kOutOfRange, "OUT_OF_RANGE", Code::kOutOfRange, ERANGE, 1, false, "out of range"},
};

consteval bool reasons_in_order() {
  for (size_t i = 0; i < kReasonCount; ++i) {
    if (static_cast<size_t>(kReasons[i].reason) != i) return false;
  }
  return true;
}
static_assert(reasons_in_order(), "kReasons is indexed by the reason's number");

// A number from another version that this one does not know reads as kInternal.
constexpr const ReasonInfo& reason_info(Reason reason) {
  const auto index = static_cast<size_t>(reason);
  return kReasons[index < kReasonCount ? index : static_cast<size_t>(Reason::kInternal)];
}

constexpr std::string_view reason_name(Reason reason) { return reason_info(reason).name; }

// By the name in ErrorInfo.reason; nothing when unknown.
HEDDLE_API std::optional<Reason> reason_from_name(std::string_view name);

// For a status of which only the code is known (a foreign gRPC server, a proxy).
HEDDLE_API Reason reason_from_code(Code code);

// For a failed system call; what has no row of its own is kInternal.
HEDDLE_API Reason reason_from_errno(int error);

// "NOT_FOUND", as google.rpc.Code spells it.
HEDDLE_API std::string_view code_name(Code code);

}  // namespace heddle

#endif  // HEDDLE_REASONS_H_
