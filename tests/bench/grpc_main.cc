// heddle_bench_grpc PEER WORK [key=value...]: see grpc_work.h. Keys: socket, queue, bytes, seconds,
// batch, outstanding.
#include <map>

#include "tests/bench/echo_server.h"
#include "tests/bench/grpc_work.h"

int main(int argc, char** argv) {
  using namespace heddle::bench;
  const std::map<std::string, void (*)(const Options&)> works = {
      {"echo serve", [](const Options& options) { serve_echo(options.socket); }},
      {"echo calls", measure_echo_calls},
      {"echo stream", measure_echo_stream},
      {"typed_echo stream", measure_typed_echo_stream},
      {"packed_echo stream", measure_packed_echo_stream},
      {"heddle calls", measure_put_get_calls},
      {"heddle locks", measure_lock_calls},
      {"heddle get", measure_dict_gets},
      {"heddle get_many", measure_dict_get_many},
      {"heddle stream", measure_produce_consume},
      {"heddle rate", measure_produce_to_consume},
      {"heddle pipe", measure_pipe_to_grpc},
      {"echo pipe", measure_source},
      {"heddle block", block_gets},
      {"heddle crowd", wait_for_locks},
  };
  const Options options = parse_options(argc, argv);
  const auto work = works.find(options.peer + " " + options.work);
  if (work == works.end()) fail("no such work: " + options.peer + " " + options.work);
  const bool measures =
      options.work != "serve" && options.work != "block" && options.work != "crowd";
  if (measures) push_neighbours_away();
  work->second(options);
}
