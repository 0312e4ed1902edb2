// A gRPC server with Heddle's settings and accept loop and none of its work: the limit.
#ifndef HEDDLE_TESTS_BENCH_ECHO_SERVER_H_
#define HEDDLE_TESTS_BENCH_ECHO_SERVER_H_

#include <string>

namespace heddle::bench {

// Serves on a unix socket at `path`, says "ready" on standard output, ends with standard input.
void serve_echo(const std::string& path);

}  // namespace heddle::bench

#endif  // HEDDLE_TESTS_BENCH_ECHO_SERVER_H_
