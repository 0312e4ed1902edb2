// heddle queue create | ls | info | delete | purge | kick | shutdown | reopen
#include <cstdio>
#include <memory>

#include "client/cli/arguments.h"
#include "client/cli/terminal.h"
#include "client/cli/verbs.h"

namespace heddle::cli {

namespace {

struct CreateArguments {
  std::string name, overflow, eos, on_producer_death, lifetime, mode;
  std::optional<std::uint64_t> max_leases, max_deliveries;
  QueueOptions options;
  bool exclusive = false;
  bool anonymous = false;
};

Overflow overflow_of(const std::string& word) {
  if (word == "reject") return Overflow::kReject;
  return word == "drop_oldest" ? Overflow::kDropOldest : Overflow::kBlock;
}

OnProducerDeath death_of(const std::string& word) {
  if (word == "close") return OnProducerDeath::kClose;
  return word == "error" ? OnProducerDeath::kError : OnProducerDeath::kWait;
}

const char* word_of(Overflow overflow) {
  if (overflow == Overflow::kReject) return "reject";
  return overflow == Overflow::kDropOldest ? "drop_oldest" : "block";
}

const char* word_of(Eos eos) { return eos == Eos::kLastProducer ? "last_producer" : "manual"; }

const char* word_of(OnProducerDeath death) {
  if (death == OnProducerDeath::kClose) return "close";
  return death == OnProducerDeath::kError ? "error" : "wait";
}

const char* word_of(Lifetime lifetime) {
  return lifetime == Lifetime::kAttached ? "attached"
                                         : lifetime == Lifetime::kSession ? "session" : "kept";
}

std::string octal(std::uint32_t mode) {
  char text[16];
  std::snprintf(text, sizeof text, "%04o", mode);
  return text;
}

QueueOptions options_of(const CreateArguments& given) {
  QueueOptions options = given.options;
  if (!given.overflow.empty()) options.overflow = overflow_of(given.overflow);
  if (!given.eos.empty()) {
    options.eos = given.eos == "last_producer" ? Eos::kLastProducer : Eos::kManual;
  }
  if (!given.on_producer_death.empty()) {
    options.on_producer_death = death_of(given.on_producer_death);
  }
  if (!given.lifetime.empty()) {
    options.lifetime = given.lifetime == "attached" ? Lifetime::kAttached : Lifetime::kKept;
  }
  if (given.max_leases) options.max_leases = static_cast<std::uint32_t>(*given.max_leases);
  if (given.max_deliveries) {
    options.max_deliveries = static_cast<std::uint32_t>(*given.max_deliveries);
  }
  if (!given.mode.empty()) {
    options.mode = static_cast<std::uint32_t>(std::stoul(given.mode, nullptr, 8));
  }
  return options;
}

int create(const Invocation& run, const CreateArguments& given) {
  if (given.anonymous != given.name.empty()) {
    return run.fail(Status(Reason::kInvalidArgument,
                           "NAME or --anonymous, one of them; see heddle queue create --help"));
  }
  auto client = run.connect();
  if (!client) return run.fail(client.status());
  QueueOptions options = options_of(given);
  // Whether it was there before is known only by asking for a new one first.
  auto queue = given.anonymous ? client->create_anonymous_queue(options)
                               : client->create_queue(given.name, options);
  const bool created = queue.ok();
  if (!created && queue.status().is(Reason::kExistsOtherOptions) && !given.exclusive) {
    options.open_existing = true;
    queue = client->create_queue(given.name, options);
  }
  if (!queue) return run.fail(queue.status());
  // This command ends now: whoever is told the name has a minute to open it.
  if (given.anonymous || given.lifetime == "attached") {
    if (auto shared = client->share_queue(queue->name()); !shared) return run.fail(shared.status());
  }
  if (!run.json) {
    if (given.anonymous) std::printf("%s\n", queue->name().c_str());
    if (!created) run.remark("queue " + given.name + " is there already, with these options");
    return kExitOk;
  }
  auto info = queue->info();
  if (!info) return run.fail(info.status());
  Json document = {{"created", created}};
  document.update(queue_json(*info));
  run.print(document);
  return kExitOk;
}

void add_create(CLI::App& queue, Invocation& run) {
  auto given = std::make_shared<CreateArguments>();
  CLI::App* verb = add_verb(queue, "create", "Make a queue; one that agrees is left as it is",
                            "heddle queue create jobs\n"
                            "heddle queue create jobs --max-len 1000 --overflow reject\n"
                            "heddle queue create shared --mode 0660 --group staff\n"
                            "name=$(heddle queue create --anonymous)\n"
                            "\n"
                            "An attached or anonymous queue lives a minute at least, so that\n"
                            "others can open it.");
  add_name(*verb, given->name, "1 to 200 of A-Z a-z 0-9 . _ / -; ~/x is your own")->required(false);
  verb->add_flag("--anonymous", given->anonymous,
                 "Print a name that the broker chooses; goes when nobody has it open");
  add_count(*verb, "--max-len", given->options.max_len, 1, UINT64_MAX,
           "Messages it holds, leased ones left out (default 1000000)");
  add_size(*verb, "--max-bytes", given->options.max_bytes, "Bytes of all messages (256M)");
  add_size(*verb, "--max-msg-bytes", given->options.max_msg_bytes, "Bytes of one message (16M)");
  add_count(*verb, "--max-leases", given->max_leases, 1, UINT32_MAX,
            "Messages under lease at once (65536)");
  add_count(*verb, "--max-deliveries", given->max_deliveries, 0, UINT32_MAX,
           "Failed deliveries after which a message is buried; 0 = no limit (0)");
  add_choice(*verb, "--overflow", given->overflow, {"block", "reject", "drop_oldest"},
             "What put does when it is full (block)");
  add_choice(*verb, "--eos", given->eos, {"manual", "last_producer"},
             "When the stream ends (manual: by shutdown only)");
  add_choice(*verb, "--on-producer-death", given->on_producer_death, {"wait", "close", "error"},
             "What the death of a registered producer does (wait: nothing)");
  add_choice(*verb, "--lifetime", given->lifetime, {"kept", "attached"},
             "Until deleted, or until nobody has it open (kept)");
  verb->add_option("--mode", given->mode,
                   "Permission bits, octal; r shows, w puts and takes (0600)")
      ->type_name("MODE")
      ->check([](const std::string& text) {
        const bool good = !text.empty() && text.size() <= 4 &&
                          text.find_first_not_of("01234567") == std::string::npos;
        return good ? std::string() : "'" + text + "' is not a mode; write octal, e.g. 0660";
      });
  verb->add_option("--group", given->options.group, "Group it belongs to (yours)")
      ->type_name("GROUP");
  verb->add_flag("--exclusive", given->exclusive, "Fail with status 13 if the name is taken");
  verb->callback([given, &run] {
    if (given->name.empty() && !given->anonymous) throw CLI::RequiredError("NAME");
    run.action = [given, &run] { return create(run, *given); };
  });
}

int show_info(const Invocation& run, const std::string& name) {
  auto queue = run.open(name);
  if (!queue) return run.fail(queue.status());
  auto info = queue->info();
  if (!info) return run.fail(info.status());
  if (run.json) {
    run.print(queue_json(*info));
    return kExitOk;
  }
  const QueueOptions& options = info->options;
  const QueueCounts& counts = info->counts;
  const auto line = [](const char* key, const std::string& value) {
    std::printf("%-19s %s\n", key, value.c_str());
  };
  const auto number = [&](const char* key, std::uint64_t value) {
    line(key, std::to_string(value));
  };
  line("name", info->name);
  line("state", counts.closed ? "closed" : "open");
  number("ready", counts.ready);
  number("leased", counts.leased);
  number("returned", counts.returned);
  number("buried", counts.buried);
  number("unfinished", counts.unfinished);
  number("bytes", counts.bytes);
  number("puts", counts.puts);
  number("gets", counts.gets);
  number("acks", counts.acks);
  number("drops", counts.drops);
  number("producers", counts.producers);
  number("attached", info->attached);
  number("max_len", options.max_len.value_or(0));
  number("max_bytes", options.max_bytes.value_or(0));
  number("max_msg_bytes", options.max_msg_bytes.value_or(0));
  number("max_leases", options.max_leases.value_or(0));
  number("max_deliveries", options.max_deliveries.value_or(0));
  line("overflow", word_of(options.overflow.value_or(Overflow::kBlock)));
  line("eos", word_of(options.eos.value_or(Eos::kManual)));
  line("on_producer_death", word_of(options.on_producer_death.value_or(OnProducerDeath::kWait)));
  line("lifetime", word_of(options.lifetime.value_or(Lifetime::kKept)));
  line("owner", std::to_string(info->owner_uid) + ":" + std::to_string(info->owner_gid));
  line("mode", octal(options.mode.value_or(0)));
  return kExitOk;
}

// A verb that takes a name and does one thing with the opened queue.
using Deed = std::function<int(const Invocation&, Queue&)>;

CLI::App* add_deed(CLI::App& noun, Invocation& run, const std::string& name,
                   const std::string& summary, const std::string& examples, Deed deed) {
  auto queue_name = std::make_shared<std::string>();
  CLI::App* verb = add_verb(noun, name, summary, examples);
  add_name(*verb, *queue_name);
  verb->callback([queue_name, deed, &run] {
    run.action = [queue_name, deed, &run] {
      auto queue = run.open(*queue_name);
      if (!queue) return run.fail(queue.status());
      return deed(run, *queue);
    };
  });
  return verb;
}

int done(const Invocation& run, const Status& status, const Queue& queue, const char* what) {
  if (!status.ok()) return run.fail(status);
  if (run.json) run.print({{"name", queue.name()}, {what, true}});
  return kExitOk;
}

int told(const Invocation& run, const Result<std::uint64_t>& count, const Queue& queue,
         const std::string& what) {
  if (!count) return run.fail(count.status());
  if (run.json) {
    run.print({{"name", queue.name()}, {what, *count}});
  } else if (!run.quiet) {
    std::printf("%s %s\n", what.c_str(), counted(*count, "message").c_str());
  }
  return kExitOk;
}

void add_ending(CLI::App& queue, Invocation& run) {
  auto immediate = std::make_shared<bool>(false);
  add_deed(queue, run, "shutdown",
           "End the stream: puts fail, gets drain and then see its end",
           "heddle queue shutdown jobs\nheddle queue shutdown jobs --immediate",
           [immediate](const Invocation& run, Queue& queue) {
             return done(run, queue.shutdown(*immediate), queue, "closed");
           })
      ->add_flag("--immediate", *immediate, "Throw away what is in it instead of draining");
  add_deed(queue, run, "reopen", "Open a queue again that was shut down",
           "heddle queue reopen jobs", [](const Invocation& run, Queue& queue) {
             return done(run, queue.reopen(), queue, "open");
           });
}

void add_removal(CLI::App& queue, Invocation& run) {
  auto states = std::make_shared<unsigned>(kReady | kReturned);
  add_states(*add_deed(queue, run, "purge",
                       "Throw messages away; holders of leased ones lose their lease",
                       "heddle queue purge jobs\nheddle queue purge jobs --state buried",
                       [states](const Invocation& run, Queue& queue) {
                         return told(run, queue.purge(*states), queue, "purged");
                       }),
             *states, "Which ones (ready,returned)");
  auto max = std::make_shared<std::optional<std::uint64_t>>();
  add_count(*add_deed(queue, run, "kick", "Bring buried messages back, their counts reset",
                      "heddle queue kick jobs\nheddle queue kick jobs -n 1",
                      [max](const Invocation& run, Queue& queue) {
                        return told(run, queue.kick(max->value_or(UINT64_MAX)), queue, "kicked");
                      }),
            "-n,--max", *max, 1, UINT64_MAX, "At most so many, the oldest first (all)");
  auto name = std::make_shared<std::string>();
  CLI::App* verb = add_verb(queue, "delete", "Delete a queue with all that is in it",
                            "heddle queue delete jobs");
  add_name(*verb, *name);
  verb->callback([name, &run] {
    run.action = [name, &run] {
      auto client = run.connect();
      if (!client) return run.fail(client.status());
      const Status status = client->delete_queue(*name);
      if (!status.ok()) return run.fail(status);
      if (run.json) run.print({{"name", *name}, {"deleted", true}});
      return kExitOk;
    };
  });
}

}  // namespace

Json queue_json(const QueueInfo& info) {
  const QueueOptions& options = info.options;
  const QueueCounts& counts = info.counts;
  return {{"name", info.name},
          {"closed", counts.closed},
          {"counts",
           {{"ready", counts.ready},
            {"leased", counts.leased},
            {"returned", counts.returned},
            {"buried", counts.buried},
            {"unfinished", counts.unfinished},
            {"bytes", counts.bytes},
            {"puts", counts.puts},
            {"gets", counts.gets},
            {"acks", counts.acks},
            {"drops", counts.drops},
            {"producers", counts.producers}}},
          {"options",
           {{"max_len", options.max_len.value_or(0)},
            {"max_bytes", options.max_bytes.value_or(0)},
            {"max_msg_bytes", options.max_msg_bytes.value_or(0)},
            {"max_leases", options.max_leases.value_or(0)},
            {"max_deliveries", options.max_deliveries.value_or(0)},
            {"overflow", word_of(options.overflow.value_or(Overflow::kBlock))},
            {"eos", word_of(options.eos.value_or(Eos::kManual))},
            {"on_producer_death",
             word_of(options.on_producer_death.value_or(OnProducerDeath::kWait))}}},
          {"lifetime", word_of(options.lifetime.value_or(Lifetime::kKept))},
          {"attached", info.attached},
          {"owner_uid", info.owner_uid},
          {"owner_gid", info.owner_gid},
          {"mode", octal(options.mode.value_or(0))},
          {"object_id", info.object_id}};
}

int list_queues(const Invocation& run, const std::string& prefix, bool names_only) {
  auto client = run.connect();
  if (!client) return run.fail(client.status());
  auto queues = client->list(prefix);
  if (!queues) return run.fail(queues.status());
  Json rows = Json::array();
  Table table({"NAME", "STATE", "READY", "LEASED", "RETURNED", "BURIED", "BYTES", "OWNER", "MODE"});
  for (const QueueInfo& info : *queues) {
    const QueueCounts& counts = info.counts;
    if (run.json) rows.push_back(queue_json(info));
    if (names_only && !run.json) std::printf("%s\n", info.name.c_str());
    table.add({info.name, counts.closed ? "closed" : "open", std::to_string(counts.ready),
               std::to_string(counts.leased), std::to_string(counts.returned),
               std::to_string(counts.buried), std::to_string(counts.bytes),
               std::to_string(info.owner_uid), octal(info.options.mode.value_or(0))});
  }
  if (run.json) {
    run.print({{"queues", rows}});
  } else if (!names_only && !queues->empty()) {
    table.print();
  } else if (queues->empty() && !names_only) {
    run.remark(prefix.empty() ? "there are no queues; heddle queue create NAME makes one"
                              : "no queue begins with " + prefix);
  }
  return kExitOk;
}

void add_queue_manage(CLI::App& queue, Invocation& run) {
  add_create(queue, run);
  auto prefix = std::make_shared<std::string>();
  auto names = std::make_shared<bool>(false);
  CLI::App* ls = add_verb(queue, "ls", "List queues",
                          "heddle queue ls\nheddle queue ls web/ --names");
  ls->add_option("PREFIX", *prefix, "Only names that begin with it")->type_name("");
  ls->add_flag("--names", *names, "Names alone, one a line");
  ls->callback([prefix, names, &run] {
    run.action = [prefix, names, &run] { return list_queues(run, *prefix, *names); };
  });
  auto name = std::make_shared<std::string>();
  CLI::App* info = add_verb(queue, "info", "Counts and options of a queue",
                            "heddle queue info jobs\nheddle queue info jobs --json");
  add_name(*info, *name);
  info->callback([name, &run] { run.action = [name, &run] { return show_info(run, *name); }; });
  add_removal(queue, run);
  add_ending(queue, run);
}

}  // namespace heddle::cli
