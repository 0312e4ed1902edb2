// heddle queue work NAME -P N -- CMD: a command for each message.
#include <pthread.h>
#include <signal.h>
#include <time.h>

#include <algorithm>
#include <memory>

#include "client/cli/arguments.h"
#include "client/cli/lock_runner.h"
#include "client/cli/terminal.h"
#include "client/cli/verbs.h"
#include "client/cli/work_crew.h"

namespace heddle::cli {

namespace {

constexpr long kTickNs = 20'000'000;

struct WorkArguments {
  std::string name;
  Timeout timeout;
  std::optional<std::uint64_t> parallel, max, max_deliveries;
  WorkOptions options;
};

std::string counts_text(const WorkCounts& counts) {
  std::string text = std::to_string(counts.done) + " done";
  const auto add = [&](std::uint64_t count, const char* what) {
    if (count != 0) text += ", " + std::to_string(count) + " " + what;
  };
  add(counts.failed, "failed and returned");
  add(counts.released, "released");
  add(counts.buried, "buried");
  add(counts.lost, "lost");
  add(counts.running, "running");
  return text;
}

// Until the crew has finished; the first signal stops it, the second ends the commands that run.
void wait_for(const Invocation& run, WorkCrew& crew, const std::string& name,
              const sigset_t& signals) {
  Progress progress(!run.quiet && !run.json);
  bool told = false;
  while (!crew.finished()) {
    const timespec tick{0, kTickNs};
    if (::sigtimedwait(&signals, nullptr, &tick) > 0) {
      progress.clear();
      if (told) {
        crew.interrupt();
      } else {
        run.remark("finishing what runs; once more to end it");
        crew.stop();
      }
      told = true;
    }
    crew.tend();
    if (progress.due()) progress.show(name + ": " + counts_text(crew.counts()));
  }
}

int work(const Invocation& run, WorkArguments& given) {
  if (!run.has_command || run.command.empty()) {
    return run.fail(Status(Reason::kInvalidArgument,
                           "a command is missing: heddle queue work " + given.name +
                               " -- COMMAND [ARGUMENT...]"));
  }
  given.options.command = run.command;
  given.options.idle = given.timeout.value();
  given.options.parallel = given.parallel.value_or(1);
  given.options.max = given.max.value_or(UINT64_MAX);
  // Blocked before the first thread starts: signals are for this one alone.
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, signal);
  ::pthread_sigmask(SIG_BLOCK, &signals, &given.options.child_mask);
  auto queue = run.open(given.name);
  if (!queue) return run.fail(queue.status());
  const auto info = queue->info();
  if (!info) return run.fail(info.status());
  // The queue buries as well, by its own limit: the smaller of both is the one that is met.
  const auto own = static_cast<std::uint32_t>(given.max_deliveries.value_or(5));
  const std::uint32_t of_queue = info->options.max_deliveries.value_or(0);
  given.options.max_deliveries = own == 0        ? of_queue
                                 : of_queue == 0 ? own
                                                 : std::min(own, of_queue);
  WorkCrew crew(run, given.options, *queue);
  wait_for(run, crew, given.name, signals);
  const WorkCounts counts = crew.counts();
  if (run.json) {
    run.print({{"name", given.name},
               {"done", counts.done},
               {"failed", counts.failed},
               {"released", counts.released},
               {"buried", counts.buried},
               {"lost", counts.lost}});
  }
  run.remark("queue " + given.name + ": " + counts_text(counts));
  const Status status = crew.status();
  if (crew.cannot_run() != 0) return run.fail(status), crew.cannot_run();
  if (!status.ok()) return run.fail(status);
  return counts.buried + counts.lost > 0 ? kExitPartial : kExitOk;
}

}  // namespace

void add_queue_work(CLI::App& queue, Invocation& run) {
  auto given = std::make_shared<WorkArguments>();
  CLI::App* verb = add_verb(
      queue, "work", "Run a command for each message, with the message on its stdin",
      "heddle queue work jobs -- ./resize.sh\n"
      "heddle queue work jobs -P 4 -- sh -c 'read -r file; convert \"$file\" ...'\n"
      "heddle queue work jobs --timeout 5s -- cat      # until nothing came for 5 seconds\n"
      "\n"
      "The command sees HEDDLE_QUEUE, HEDDLE_MESSAGE_ID and HEDDLE_DELIVERY (1 the first time).\n"
      "Exit 0: done. Exit 75: back to its place, not counted. Anything else, or a signal: a\n"
      "failed delivery; again after 100ms, then 200ms, 400ms ... 30s, until --max-deliveries.\n"
      "SIGTERM and SIGINT: what runs is finished; the second time it is ended.");
  show_command(*verb);
  add_name(*verb, given->name);
  add_count(*verb, "-P,--parallel", given->parallel, 1, 256, "Commands at once (1)");
  add_count(*verb, "-n,--max", given->max, 1, UINT64_MAX, "Stop after so many messages (never)");
  add_count(*verb, "--max-deliveries", given->max_deliveries, 0, UINT32_MAX,
            "Failed deliveries until it is buried; 0 = by the queue's limit (5)");
  add_timeout(*verb, given->timeout, "Stop when nothing came for so long (never)");
  verb->callback([given, &run] { run.action = [given, &run] { return work(run, *given); }; });
}

}  // namespace heddle::cli
