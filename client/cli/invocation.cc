#include "client/cli/invocation.h"

#include <cstdio>
#include <cstdlib>

#include "client/cli/terminal.h"

namespace heddle::cli {

namespace {

constexpr auto kReplace = Json::error_handler_t::replace;

Plane plane_of(const std::string& word) {
  if (word == "shm") return Plane::kShm;
  return word == "grpc" ? Plane::kGrpc : Plane::kAuto;
}

// What stood in the way, once: not every message repeats what its reason means.
std::string message_of(const Status& status) {
  const std::string message(status.message());
  const std::string text(reason_info(status.reason()).text);
  if (!status.outcome() || message == text) return message;
  return text + ": " + message;
}

}  // namespace

Result<Client> Invocation::connect(bool sessionless) const {
  ConnectOptions options;
  options.runtime_dir = runtime_dir;
  options.address = address;
  options.plane = plane_of(plane);
  options.sessionless = sessionless;
  if (sessionless) options.plane = Plane::kGrpc;
  return Client::connect(options);
}

Result<Queue> Invocation::open(const std::string& name, bool sessionless) const {
  auto client = connect(sessionless);
  if (!client) return client.status();
  auto queue = client->queue(name);
  // Who may only read gets no memory to map, but may ask over gRPC.
  const char* forced = std::getenv("HEDDLE_PLANE");
  const bool free = plane == "auto" && (forced == nullptr || std::string_view(forced) != "shm");
  if (queue || !free || !queue.status().is(Reason::kUnsupported)) return queue;
  Invocation remote = *this;
  remote.plane = "grpc";
  auto other = remote.connect(sessionless);
  if (!other) return queue;
  return other->queue(name);
}

std::string words_of(const Status& status) {
  std::string words;
  if (!status.object().empty()) words = std::string(status.object()) + ": ";
  const std::string message = message_of(status);
  words += message;
  const std::string limit = std::to_string(status.limit());
  const std::string actual = std::to_string(status.actual());
  const bool told = message.find(limit) != std::string::npos &&
                    message.find(actual) != std::string::npos;
  if (status.has_limit() && !told) words += " (limit " + limit + ", actual " + actual + ")";
  return words;
}

Json error_json(const Status& status, const std::string& message) {
  Json error = {{"reason", reason_name(status.reason())},
                {"code", code_name(status.code())},
                {"message", message},
                {"object", status.object()},
                {"limit", nullptr},
                {"actual", nullptr}};
  if (status.has_limit()) {
    error["limit"] = status.limit();
    error["actual"] = status.actual();
  }
  return error;
}

int Invocation::fail(const Status& status, const Json& more) const {
  return fail(status, words_of(status), more);
}

int Invocation::fail(const Status& status, const std::string& message, const Json& more) const {
  int exit_code = reason_info(status.reason()).exit_code;
  if (passes_status) exit_code = exit_code == kExitTimedOut ? kExitNotAcquired : kExitNotRun;
  if (json) {
    Json error = error_json(status, message);
    error.update(more);
    std::fprintf(stderr, "%s\n", Json{{"error", error}}.dump(-1, ' ', false, kReplace).c_str());
  } else if (!quiet || status.failed()) {
    std::fprintf(stderr, "%s%s\n", paint(stderr, Paint::kError, "heddle: ").c_str(),
                 visible(message).c_str());
  }
  return exit_code;
}

void Invocation::print(const Json& document) const {
  std::printf("%s\n", document.dump(-1, ' ', false, kReplace).c_str());
}

void Invocation::remark(const std::string& line) const {
  if (!quiet && !json) std::fprintf(stderr, "heddle: %s\n", visible(line).c_str());
}

}  // namespace heddle::cli
