// Every verb adds itself to the command line here. A verb's arguments live as long as the App.
#ifndef HEDDLE_CLIENT_CLI_VERBS_H_
#define HEDDLE_CLIENT_CLI_VERBS_H_

#include <CLI/CLI.hpp>

#include "client/cli/invocation.h"

namespace heddle::cli {

void add_queue_manage(CLI::App& queue, Invocation& run);  // create ls info delete ...
void add_queue_put(CLI::App& queue, Invocation& run);
void add_queue_get(CLI::App& queue, Invocation& run);
void add_queue_settle(CLI::App& queue, Invocation& run);  // ack nack bury extend
void add_queue_look(CLI::App& queue, Invocation& run);    // peek browse who join
void add_queue_work(CLI::App& queue, Invocation& run);
void add_pipe(CLI::App& pipe, Invocation& run);         // create send recv ls info delete
void add_dict_manage(CLI::App& dict, Invocation& run);  // create ls info clear delete
void add_dict_read(CLI::App& dict, Invocation& run);    // get keys items watch
void add_dict_write(CLI::App& dict, Invocation& run);   // set del incr append touch txn edit
void add_dict_compute(CLI::App& dict, Invocation& run);
void add_dict_dump(CLI::App& dict, Invocation& run);  // dump load
void add_list(CLI::App& list, Invocation& run);
void add_block(CLI::App& block, Invocation& run);
void add_lock_manage(CLI::App& lock, Invocation& run);  // create ls info delete repair ...
void add_lock_run(CLI::App& lock, Invocation& run);     // run elect acquire release
void add_lock_graph(CLI::App& lock, Invocation& run);   // graph deadlocks orders
void add_sem(CLI::App& sem, Invocation& run);
void add_event(CLI::App& event, Invocation& run);
void add_barrier(CLI::App& barrier, Invocation& run);
// For locks and semaphores; `example` is a name for the help.
void add_force_release(CLI::App& noun, Invocation& run, SyncKind kind, const std::string& example);
void add_broker(CLI::App& root, Invocation& run);  // ping status ls session version
void add_completion(CLI::App& root, Invocation& run);

// A queue as a row of `ls` and as a document.
Json queue_json(const QueueInfo& info);
int list_queues(const Invocation& run, const std::string& prefix, bool names_only);

}  // namespace heddle::cli

#endif  // HEDDLE_CLIENT_CLI_VERBS_H_
