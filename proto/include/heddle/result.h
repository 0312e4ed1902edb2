// Result<T>: a T, or the Status that says why there is none. Read as a code or as an
// exception, whichever the caller prefers:
//
//   while (auto job = jobs.get_for(5s)) use(*job);    // job.status() says why it ended
//   auto job = jobs.get().value();                    // throws Error
#ifndef HEDDLE_RESULT_H_
#define HEDDLE_RESULT_H_

#include <optional>
#include <type_traits>
#include <utility>

#include <heddle/status.h>

namespace heddle {

template <typename T>
class [[nodiscard]] Result {
  static_assert(!std::is_same_v<T, Status>, "return Status itself");
  static_assert(!std::is_reference_v<T>, "return a pointer");

 public:
  using value_type = T;

  Result(T value) : value_(std::move(value)) {}  // NOLINT: `return value;`
  // `status` must not be OK: an OK without a value becomes INTERNAL.
  Result(Status status) : status_(std::move(status)) {  // NOLINT: `return status;`
    if (status_.ok()) status_ = Status(Reason::kInternal, "an OK status carried no value");
  }
  Result(Reason reason) : Result(Status(reason)) {}  // NOLINT: `return Reason::kEmpty;`

  bool ok() const noexcept { return value_.has_value(); }
  explicit operator bool() const noexcept { return ok(); }
  const Status& status() const& noexcept { return status_; }
  Status status() && noexcept { return std::move(status_); }
  bool outcome() const noexcept { return status_.outcome(); }
  Reason reason() const noexcept { return status_.reason(); }

  // The value. Throws Error without one; without exceptions prints the status and aborts.
  T& value() & {
    or_throw();
    return *value_;
  }
  const T& value() const& {
    or_throw();
    return *value_;
  }
  T value() && {
    or_throw();
    return std::move(*value_);
  }
  T value_or(T other) && { return ok() ? std::move(*value_) : std::move(other); }

  // Checked as value() is: a wrong guess ends with the reason, not with undefined behaviour.
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  void or_throw() const {
    if (!ok()) internal::raise(status_);
  }

 private:
  Status status_;
  std::optional<T> value_;
};

}  // namespace heddle

#endif  // HEDDLE_RESULT_H_
