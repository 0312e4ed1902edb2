// heddle dict compute: the value of a key, which one caller computes by running a command.
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "client/cli/arguments.h"
#include "client/cli/child.h"
#include "client/cli/dict_words.h"
#include "client/cli/lock_runner.h"
#include "client/cli/terminal.h"
#include "client/cli/verbs.h"

namespace heddle::cli {
namespace {

struct ComputeArguments {
  std::string name, key, type = "text";
  std::optional<std::chrono::milliseconds> ttl, early, lease;
  bool wait_when_stale = false, raw = false;
  Timeout timeout;
};

struct Computed {
  std::string text = {};
  int status = 0;  // Of the command: 0-255, 128 + n for signal n; or 126, 127.
  int error = 0;   // errno when it could not be run, or its output not be read
};

struct CloseDescriptor {
  ~CloseDescriptor() { ::close(fd); }
  const int fd;
};

// What the command writes to its stdout, whole.
Computed compute(const std::vector<std::string>& command) {
  const CloseDescriptor file{::memfd_create("heddle-value", MFD_CLOEXEC)};
  if (file.fd < 0) return {.status = kExitCannotRun, .error = errno};
  sigset_t mask;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &mask);
  const Spawn child = spawn_into(file.fd, command, mask);
  if (child.pid < 0) {
    return {.status = child.error == ENOENT ? kExitNotFoundToRun : kExitCannotRun,
            .error = child.error};
  }
  int word = 0;
  while (::waitpid(child.pid, &word, 0) < 0 && errno == EINTR) {
  }
  Computed done{.status = WIFEXITED(word) ? WEXITSTATUS(word) : 128 + WTERMSIG(word)};
  done.text.resize(static_cast<std::size_t>(std::max<off_t>(::lseek(file.fd, 0, SEEK_END), 0)));
  for (std::size_t at = 0; at < done.text.size();) {
    const ssize_t got =
        ::pread(file.fd, done.text.data() + at, done.text.size() - at, static_cast<off_t>(at));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return {.status = kExitCannotRun, .error = errno};
    at += static_cast<std::size_t>(got);
  }
  return done;
}

int print_value(const Invocation& run, const ComputeArguments& given, const DictValue& value,
                bool computed, bool stale) {
  if (!run.json) {
    write_value(value, given.raw);
    return kExitOk;
  }
  Json row = value_json(value);
  row.update({{"name", given.name}, {"computed", computed}, {"stale", stale}});
  run.print(row);
  return kExitOk;
}

int command_failed(const Invocation& run, const ComputeArguments& given, const Computed& done) {
  const std::string why =
      done.error != 0     ? std::string("cannot be run: ") + std::strerror(done.error)
      : done.status > 128 ? "was ended by signal " + std::to_string(done.status - 128)
                          : "ended with " + std::to_string(done.status);
  run.remark("dict " + given.name + ": " + visible(given.key, 60) + ": nothing was written, " +
             run.command.front() + " " + why);
  return done.status;
}

// The lease goes with this process: if it is killed, so is the command, and the next caller that
// waits computes.
int compute_under_lease(const Invocation& run, const ComputeArguments& given, Dict& dict,
                        std::uint64_t lease) {
  const Computed done = compute(run.command);
  Result<DictValue> value = DictValue{};
  if (done.status == 0) {
    std::string text = done.text;
    if (given.type != "data" && text.ends_with('\n')) text.pop_back();
    value = value_of(text, given.type);
  }
  if (done.status != 0 || !value) {
    if (auto ended = dict.end_lease(given.key, lease); !ended) return run.fail(ended.status());
    return value ? command_failed(run, given, done) : run.fail(value.status());
  }
  DictSetOptions options{.lease = lease};
  if (given.ttl) options.expiry = *given.ttl;
  auto changed = dict.set(given.key, value->input(), options);
  if (!changed) return run.fail(changed.status());
  return print_value(run, given, *value, true, false);
}

int compute_verb(const Invocation& run, const ComputeArguments& given) {
  const Status missing = need_command(run, "heddle dict compute " + given.name + " " + given.key);
  if (!missing.ok()) return run.fail(missing);
  auto dict = open_dict(run, given.name);
  if (!dict) return run.fail(dict.status());
  DictLeaseOptions options;
  options.lease = given.lease.value_or(std::chrono::minutes(5));
  options.early = given.early.value_or(std::chrono::milliseconds(0));
  options.wait_when_stale = given.wait_when_stale;
  options.timeout = given.timeout.value();
  auto leased = dict->get_or_lease(given.key, options);
  if (!leased) return run.fail(leased.status());
  if (leased->lease != 0) return compute_under_lease(run, given, *dict, leased->lease);
  return print_value(run, given, leased->entry->value, false, leased->stale);
}

}  // namespace

void add_dict_compute(CLI::App& dict, Invocation& run) {
  auto given = std::make_shared<ComputeArguments>();
  CLI::App* verb = add_verb(
      dict, "compute", "The value of a key; if there is none, one caller computes it",
      "heddle dict compute cache report --ttl 5m -- ./slow-report.sh\n"
      "heddle dict compute cache rates --ttl 1h --early 5m --type json -- curl -s $URL\n"
      "\n"
      "Writes the value. If there is none, one of all callers runs the command, whose stdout is\n"
      "the value, and the others wait for it. With --early a value that is about to expire is\n"
      "computed anew by one caller, and the others take it as it is.\n"
      "If the command fails, nothing is written, and the next caller that waits computes, as it\n"
      "does when this process is killed.\n"
      "Exit status: 0 with the value, else that of the command, 128 + n for signal n; 124 "
      "somebody\n"
      "else still computes after --timeout, 125 any other failure, 126 cannot be run, 127 not "
      "found.");
  show_command(*verb);
  add_name(*verb, given->name, "The dict");
  verb->add_option("KEY", given->key, "The key")->required();
  add_choice(*verb, "--type", given->type, {"text", "int", "double", "bool", "json", "data"},
             "What the command writes (text)");
  add_duration(*verb, "--ttl", given->ttl, "The value is gone after so long (as the dict says)");
  add_duration(*verb, "--early", given->early, "With no more left it is computed anew (0)");
  verb->add_flag("--wait", given->wait_when_stale, "For the new value, rather than the old one");
  add_duration(*verb, "--lease", given->lease, "How long the command has (5m)");
  verb->add_flag("--raw", given->raw, "Without a newline at the end");
  add_timeout(*verb, given->timeout, "How long to wait for somebody else (for ever)");
  verb->callback(
      [given, &run] { run.action = [given, &run] { return compute_verb(run, *given); }; });
}

}  // namespace heddle::cli
