// heddle queue ack | nack | bury | extend: what becomes of a message that get --ack manual took.
#include <functional>
#include <memory>

#include "client/cli/arguments.h"
#include "client/cli/verbs.h"

namespace heddle::cli {

namespace {

struct SettleArguments {
  std::string name;
  std::vector<std::string> leases;
};

using Settle = std::function<Status(Queue&, const Lease&)>;

// Each lease for itself: one that was lost does not keep the others from being settled.
int settle(const Invocation& run, const SettleArguments& given, const char* done,
           const Settle& settle_one) {
  std::vector<Lease> leases;
  for (const std::string& text : given.leases) {
    auto lease = Lease::parse(text);
    if (!lease) return run.fail(lease.status());
    leases.push_back(*lease);
  }
  auto queue = run.open(given.name, true);
  if (!queue) return run.fail(queue.status());
  std::size_t settled = 0;
  int exit_code = kExitOk;
  for (std::size_t i = 0; i < leases.size(); ++i) {
    const Status status = settle_one(*queue, leases[i]);
    if (status.ok()) {
      ++settled;
    } else {
      exit_code = run.fail(status, {{"lease", given.leases[i]}});
    }
  }
  if (settled > 0 && settled < leases.size()) exit_code = kExitPartial;
  if (run.json && settled > 0) run.print({{"name", given.name}, {done, settled}});
  return exit_code;
}

CLI::App* add_settling(CLI::App& queue, Invocation& run, const std::string& name,
                       const std::string& summary, const std::string& examples, const char* done,
                       Settle settle_one) {
  auto given = std::make_shared<SettleArguments>();
  CLI::App* verb = add_verb(queue, name, summary, examples);
  add_name(*verb, given->name);
  verb->add_option("LEASE", given->leases, "As printed by heddle queue get --ack manual")
      ->required()
      ->type_name("");
  verb->callback([given, done, settle_one, &run] {
    run.action = [given, done, settle_one, &run] { return settle(run, *given, done, settle_one); };
  });
  return verb;
}

}  // namespace

void add_queue_settle(CLI::App& queue, Invocation& run) {
  add_settling(queue, run, "ack", "The message of a lease is done: it leaves the queue",
               "heddle queue ack jobs $lease", "acked",
               [](Queue& queue, const Lease& lease) { return queue.ack(lease); });
  auto uncounted = std::make_shared<bool>(false);
  add_settling(queue, run, "nack", "The message of a lease goes back to its place",
               "heddle queue nack jobs $lease\nheddle queue nack jobs $lease --uncounted",
               "nacked",
               [uncounted](Queue& queue, const Lease& lease) {
                 return queue.nack(lease, !*uncounted);
               })
      ->add_flag("--uncounted", *uncounted, "Not a failed delivery: max_deliveries ignores it");
  add_settling(queue, run, "bury", "Set the message of a lease aside until heddle queue kick",
               "heddle queue bury jobs $lease", "buried",
               [](Queue& queue, const Lease& lease) { return queue.bury(lease); });
  auto lease = std::make_shared<std::optional<std::chrono::milliseconds>>();
  add_duration(
      *add_settling(queue, run, "extend", "Give a lease a new end, counted from now",
                    "heddle queue extend jobs $lease --lease 5m", "extended",
                    [lease](Queue& queue, const Lease& which) {
                      return queue.extend(which,
                                          lease->value_or(std::chrono::milliseconds(60'000)));
                    }),
      "--lease", *lease, "From now on (60s)");
}

}  // namespace heddle::cli
