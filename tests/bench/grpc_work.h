// Work over gRPC, against a bare echo and against the broker's gRPC socket (options.socket).
#ifndef HEDDLE_TESTS_BENCH_GRPC_WORK_H_
#define HEDDLE_TESTS_BENCH_GRPC_WORK_H_

#include "tests/bench/pair.h"

namespace heddle::bench {

// Calls with options.outstanding in flight from one pinned thread: per_s, p50_us.
void measure_echo_calls(const Options& options);
// The same, Put and Get of one message in turns.
void measure_put_get_calls(const Options& options);
// The same, Acquire and Release of the lock options.queue in turns, by one session.
void measure_lock_calls(const Options& options);
// The same, Get of one entry of a dict of options.bytes; GetMany of 256: key_us, and what it is
// compared with, bar_us.
void measure_dict_gets(const Options& options);
void measure_dict_get_many(const Options& options);
// One pinned process that sends batches and takes them back: messages per second.
void measure_echo_stream(const Options& options);
void measure_typed_echo_stream(const Options& options);
void measure_packed_echo_stream(const Options& options);
void measure_produce_consume(const Options& options);
// The same by two processes.
void measure_produce_to_consume(const Options& options);
// Messages of options.bytes from a local end of a pipe to a remote one, and from a bare server.
void measure_pipe_to_grpc(const Options& options);
void measure_source(const Options& options);
// options.outstanding calls of Get that wait; says "ready" and ends with standard input.
void block_gets(const Options& options);
// The same of Acquire, each by a thread of its session that holds a lock itself.
void wait_for_locks(const Options& options);

}  // namespace heddle::bench

#endif  // HEDDLE_TESTS_BENCH_GRPC_WORK_H_
