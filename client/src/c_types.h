// What stands behind the opaque types of c.h, and how a call ends there.
#ifndef HEDDLE_CLIENT_SRC_C_TYPES_H_
#define HEDDLE_CLIENT_SRC_C_TYPES_H_

#include <heddle/c.h>
#include <heddle/heddle.h>

#include <chrono>
#include <cstdint>
#include <new>
#include <optional>
#include <utility>

struct heddle_client {
  heddle::Client client;
};
struct heddle_queue {
  heddle::Queue queue;
};
struct heddle_message {
  heddle::Message message;
};
struct heddle_loan {
  heddle::Loan loan;
};
struct heddle_producer {
  heddle::Producer producer;
};

namespace heddle::detail {

// Remembers `status` for heddle_last_error and gives its number.
heddle_reason end_call(Status status);
inline heddle_reason end_call() { return HEDDLE_OK; }

inline heddle_reason missing(const char* what) {
  return end_call(Status(Reason::kInvalidArgument, std::string(what) + " is NULL"));
}

// No exception crosses into C: memory is the only thing that can run out on the way.
template <typename Call>
heddle_reason c_call(Call call) noexcept {
  try {
    Status status = call();
    if (status.ok()) [[likely]]
      return HEDDLE_OK;
    return end_call(std::move(status));
  } catch (const std::bad_alloc&) {
    return end_call(Status(Reason::kMemoryExhausted));
  } catch (...) {
    return end_call(Status(Reason::kInternal));
  }
}

inline std::chrono::nanoseconds timeout_of(std::int64_t timeout_ns) {
  return timeout_ns < 0 ? kForever : std::chrono::nanoseconds(timeout_ns);
}

template <typename T>
std::optional<T> number_of(std::uint64_t value) {
  if (value == HEDDLE_UNSET) return std::nullopt;
  // What does not fit is the largest there is; the broker refuses it by name.
  return value > UINT32_MAX ? static_cast<T>(UINT32_MAX) : static_cast<T>(value);
}

template <typename Enum>
std::optional<Enum> choice_of(int value) {
  if (value == HEDDLE_UNSET_CHOICE) return std::nullopt;
  return static_cast<Enum>(value);
}

// The kind is stored as it comes; a number that is no kind must not get that far.
Status check_kind(heddle_kind kind);

// Stores a result's value, if there is one.
template <typename T, typename Out>
Status give(Result<T> result, Out* out) {
  if (!result) return std::move(result).status();
  if (out != nullptr) *out = static_cast<Out>(*result);
  return {};
}

}  // namespace heddle::detail

#endif  // HEDDLE_CLIENT_SRC_C_TYPES_H_
