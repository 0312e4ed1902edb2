// Status: how an operation ended. Example:
//
//   Status status = jobs.put(body);
//   if (status.outcome()) ...             // FULL, CLOSED, TIMED_OUT: branch on status.reason()
//   else if (!status.ok()) return status; // a failure: pass it up
//
// Threads: a Status is a value; distinct copies are independent.
// Cost: an OK status and an outcome without details allocate nothing.
#ifndef HEDDLE_STATUS_H_
#define HEDDLE_STATUS_H_

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include <heddle/export.h>
#include <heddle/reasons.h>

namespace heddle {

class [[nodiscard]] HEDDLE_API Status {
 public:
  Status() noexcept = default;  // OK
  Status(Reason reason) noexcept : reason_(reason) {}  // NOLINT: `return Reason::kEmpty;`
  // `message` says what was asked and what to do; name, limit and actual value are added with
  // the with_ functions, and to_string() puts them together.
  Status(Reason reason, std::string message);
  // Reason from the errno; message "`what`: <text of the errno>".
  static Status from_errno(int error, std::string_view what);

  Status(const Status& other);
  Status& operator=(const Status& other);
  Status(Status&&) noexcept = default;
  Status& operator=(Status&&) noexcept = default;
  ~Status() = default;

  // "queue jobs": kind and name.
  Status&& with_object(std::string object) &&;
  // The limit that stood in the way and the value that met it, in the limit's own unit.
  Status&& with_limit(uint64_t limit, uint64_t actual) &&;
  // Only for a status that came from elsewhere with a code of its own.
  Status&& with_code(Code code) &&;

  bool ok() const noexcept { return reason_ == Reason::kOk; }
  // An ordinary end: empty, full, timed out, closed, end of stream. Not ok(), not a failure.
  bool outcome() const noexcept { return reason_info(reason_).is_outcome; }
  // Neither ok nor an outcome.
  bool failed() const noexcept { return !ok() && !outcome(); }
  bool is(Reason reason) const noexcept { return reason_ == reason; }

  Reason reason() const noexcept { return reason_; }
  Code code() const noexcept;
  std::string_view message() const noexcept;  // never empty; lives as long as this status
  std::string_view object() const noexcept;   // empty: none named
  bool has_limit() const noexcept;
  uint64_t limit() const noexcept;   // 0 unless has_limit()
  uint64_t actual() const noexcept;  // 0 unless has_limit()

  // "queue jobs: body too large (limit 16, actual 20) [TOO_LARGE]"
  std::string to_string() const;
  // Throws Error unless ok(); outcomes throw too. Without exceptions: prints and aborts.
  void or_throw() const;

  // Reasons alone decide: two FULLs are the same answer.
  friend bool operator==(const Status& a, const Status& b) { return a.reason_ == b.reason_; }

 private:
  struct Detail {
    std::string message;
    std::string object;
    uint64_t limit = 0;
    uint64_t actual = 0;
    Code code = Code::kOk;
    bool has_limit = false;
    bool has_code = false;
  };
  Detail& detail();

  Reason reason_ = Reason::kOk;
  std::unique_ptr<Detail> detail_;
};

// What value() and or_throw() throw. what() is status().to_string().
class HEDDLE_API Error : public std::runtime_error {
 public:
  explicit Error(Status status);
  Error(const Error&) = default;
  ~Error() override;
  const Status& status() const noexcept { return status_; }

 private:
  Status status_;
};

namespace internal {
[[noreturn]] HEDDLE_API void throw_error(const Status& status);
[[noreturn]] HEDDLE_API void abort_with(const Status& status);

[[noreturn]] inline void raise(const Status& status) {
#if defined(__cpp_exceptions)
  throw_error(status);
#else
  abort_with(status);
#endif
}
}  // namespace internal

inline void Status::or_throw() const {
  if (!ok()) internal::raise(*this);
}

}  // namespace heddle

#endif  // HEDDLE_STATUS_H_
