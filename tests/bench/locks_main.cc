// heddle_bench_locks PEER WORK [key=value...]: one figure about locks.
#include <functional>
#include <map>

#include "tests/bench/lock_heddle.h"
#include "tests/bench/lock_works.h"

namespace heddle::bench {
namespace {

using Run = void (*)(const Options&);

[[maybe_unused]] void not_built_in(const Options& options) {
  skip(options.peer + " is not built in");
}

void run_python(const Options& options) {
  const std::string script = std::string(HEDDLE_BENCH_FOLDER) + "/python_lock.py";
  const std::string seconds = std::to_string(options.seconds);
  execlp("python3", "python3", script.c_str(), options.work.c_str(), seconds.c_str(), nullptr);
  skip("python3 is not installed");
}

void run_heddle(const Options& options) {
  static const std::map<std::string, Run> works = {
      {"blocked", measure_blocked}, {"death", measure_death}, {"deadlock", measure_deadlock},
      {"read", measure_kin},        {"permit", measure_kin},  {"many", measure_kin}};
  const auto work = works.find(options.work);
  work == works.end() ? measure_lock<HeddleMutex>(options) : work->second(options);
}

Run peer_named(const std::string& name) {
  Run boost = not_built_in, redis = not_built_in;
#ifdef HEDDLE_BENCH_BOOST
  boost = measure_lock<BoostMutex>;
#endif
#ifdef HEDDLE_BENCH_REDIS
  redis = measure_lock<RedisLock>;
#endif
  const std::map<std::string, Run> peers = {{"heddle", run_heddle},
                                            {"robust", measure_lock<RobustMutex>},
                                            {"posix_sem", measure_lock<PosixSemaphore>},
                                            {"flock", measure_lock<Flock>},
                                            {"boost", boost},
                                            {"redis", redis},
                                            {"python", run_python},
                                            {"futex", measure_futex}};
  const auto peer = peers.find(name);
  return peer == peers.end() ? nullptr : peer->second;
}

}  // namespace
}  // namespace heddle::bench

int main(int argc, char** argv) {
  using namespace heddle::bench;
  const Options options = parse_options(argc, argv);
  const auto run = peer_named(options.peer);
  if (run == nullptr) fail(options.peer + " is not known");
  push_neighbours_away();
  try {
    run(options);
  } catch (const std::exception& error) {
    fail(error.what());
  }
}
