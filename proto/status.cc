#include <heddle/status.h>

#include <cstdio>
#include <cstdlib>
#include <system_error>

namespace heddle {

Status::Status(Reason reason, std::string message) : reason_(reason) {
  detail().message = std::move(message);
}

Status Status::from_errno(int error, std::string_view what) {
  return {reason_from_errno(error),
          std::string(what) + ": " + std::generic_category().message(error)};
}

Status::Status(const Status& other)
    : reason_(other.reason_),
      detail_(other.detail_ ? std::make_unique<Detail>(*other.detail_) : nullptr) {}

Status& Status::operator=(const Status& other) {
  if (this != &other) *this = Status(other);
  return *this;
}

Status::Detail& Status::detail() {
  if (!detail_) detail_ = std::make_unique<Detail>();
  return *detail_;
}

Status&& Status::with_object(std::string object) && {
  detail().object = std::move(object);
  return std::move(*this);
}

Status&& Status::with_limit(uint64_t limit, uint64_t actual) && {
  detail().limit = limit;
  detail().actual = actual;
  detail().has_limit = true;
  return std::move(*this);
}

Status&& Status::with_code(Code code) && {
  detail().code = code;
  detail().has_code = true;
  return std::move(*this);
}

Code Status::code() const noexcept {
  return detail_ && detail_->has_code ? detail_->code : reason_info(reason_).code;
}

std::string_view Status::message() const noexcept {
  if (detail_ && !detail_->message.empty()) return detail_->message;
  return reason_info(reason_).text;
}

std::string_view Status::object() const noexcept {
  return detail_ ? std::string_view(detail_->object) : std::string_view();
}

bool Status::has_limit() const noexcept { return detail_ && detail_->has_limit; }
uint64_t Status::limit() const noexcept { return detail_ ? detail_->limit : 0; }
uint64_t Status::actual() const noexcept { return detail_ ? detail_->actual : 0; }

std::string Status::to_string() const {
  if (ok()) return "ok";
  std::string text;
  if (!object().empty()) text.append(object()).append(": ");
  text.append(message());
  if (has_limit()) {
    text += " (limit " + std::to_string(limit()) + ", actual " + std::to_string(actual()) + ")";
  }
  return text.append(" [").append(reason_name(reason_)).append("]");
}

Error::Error(Status status) : std::runtime_error(status.to_string()), status_(std::move(status)) {}
Error::~Error() = default;

namespace internal {

void throw_error(const Status& status) { throw Error(status); }

void abort_with(const Status& status) {
  std::fprintf(stderr, "heddle: %s\n", status.to_string().c_str());
  std::abort();
}

}  // namespace internal
}  // namespace heddle
