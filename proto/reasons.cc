#include <heddle/reasons.h>

#include <iterator>

namespace heddle {

std::optional<Reason> reason_from_name(std::string_view name) {
  for (const ReasonInfo& info : kReasons) {
    if (info.name == name) return info.reason;
  }
  return std::nullopt;
}

Reason reason_from_code(Code code) {
  switch (code) {
    case Code::kOk: return Reason::kOk;
    case Code::kCancelled: return Reason::kInterrupted;
    case Code::kInvalidArgument: return Reason::kInvalidArgument;
    case Code::kDeadlineExceeded: return Reason::kTimedOut;
    case Code::kNotFound: return Reason::kNotFound;
    case Code::kAlreadyExists: return Reason::kExistsOtherOptions;
    case Code::kPermissionDenied: return Reason::kDenied;
    case Code::kUnauthenticated: return Reason::kDenied;
    case Code::kResourceExhausted: return Reason::kQuota;
    case Code::kUnimplemented: return Reason::kUnsupported;
    case Code::kUnavailable: return Reason::kDaemonUnreachable;
    case Code::kDataLoss: return Reason::kCorrupt;
    default: return Reason::kInternal;
  }
}

Reason reason_from_errno(int error) {
  switch (error) {
    case 0: return Reason::kOk;
    case EPERM:
    case EACCES: return Reason::kDenied;
    case ENOENT: return Reason::kNotFound;
    case EINTR: return Reason::kInterrupted;
    case EINVAL: return Reason::kInvalidArgument;
    case EAGAIN: return Reason::kEmpty;
    case ETIMEDOUT: return Reason::kTimedOut;
    case EMSGSIZE: return Reason::kTooLarge;
    case ECONNREFUSED: return Reason::kDaemonUnreachable;
    case ECONNRESET:
    case EPIPE: return Reason::kPeerDied;
    case EDQUOT: return Reason::kQuota;
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ENOSPC: return Reason::kMemoryExhausted;
    default: return Reason::kInternal;
  }
}

std::string_view code_name(Code code) {
  static constexpr std::string_view kNames[] = {
      "OK",          "CANCELLED",          "UNKNOWN",         "INVALID_ARGUMENT",
      "DEADLINE_EXCEEDED", "NOT_FOUND",    "ALREADY_EXISTS",  "PERMISSION_DENIED",
      "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE",
      "UNIMPLEMENTED", "INTERNAL",         "UNAVAILABLE",     "DATA_LOSS",
      "UNAUTHENTICATED"};
  const auto index = static_cast<size_t>(code);
  return index < std::size(kNames) ? kNames[index] : "UNKNOWN";
}

}  // namespace heddle
