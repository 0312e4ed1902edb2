// Every setting of the daemon. option_table.cc describes each: unit, range, help, reload.
#ifndef HEDDLE_DAEMON_CONFIG_OPTIONS_H_
#define HEDDLE_DAEMON_CONFIG_OPTIONS_H_

#include <cstdint>
#include <string>
#include <vector>

#include <heddle/limits.h>

namespace heddle::config {

struct Options {
  std::string runtime_dir;  // load_options() fills the two directories and memory_max in
  std::string state_dir;
  std::string log_file;  // "": stderr (syslog with --daemonize); "syslog"; else a path
  std::string log_level = "info";
  std::vector<std::string> listen;
  std::string connect_group;

  std::uint64_t drain_ms = static_cast<std::uint64_t>(kDrainMsDefault);
  std::uint64_t start_ms_max = 30'000;
  std::uint64_t broker_restart_ms_min = 100;
  std::uint64_t broker_restart_ms_max = 5'000;
  std::uint64_t scan_ms = static_cast<std::uint64_t>(kRescanMs);

  std::string deadlock_policy = "youngest";  // or lowest_priority, report_only

  std::uint64_t memory_max = 0;
  std::uint64_t memory_per_uid_max = 0;
  std::uint64_t sessions_max = 16'384;
  std::uint64_t sessions_per_uid_max = 4'096;
  std::uint64_t objects_per_uid_max = 100'000;
  std::uint64_t connections_per_uid_max = 4'096;
  std::uint64_t streams_per_connection_max = 1'024;
  std::uint64_t grpc_message_bytes_max = 20 * kMiB;

  std::uint64_t session_lease_ms = static_cast<std::uint64_t>(kSessionLeaseMsDefault);
  std::uint64_t handle_hold_ms = 60'000;
  std::uint64_t message_lease_ms = static_cast<std::uint64_t>(kMessageLeaseMsDefault);
  std::uint64_t queue_max_len = kQueueLenDefault;
  std::uint64_t queue_max_bytes = kQueueBytesDefault;
  std::uint64_t queue_max_msg_bytes = kQueueMessageBytesDefault;
  std::uint64_t queue_max_leases = kQueueLeasesDefault;

  bool operator==(const Options&) const = default;
};

}  // namespace heddle::config

#endif  // HEDDLE_DAEMON_CONFIG_OPTIONS_H_
