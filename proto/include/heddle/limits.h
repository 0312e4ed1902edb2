// Defaults and hard limits that programs on both sides rely on. Times in milliseconds, sizes in
// bytes. A limit that a user may set is called _default here.
#ifndef HEDDLE_LIMITS_H_
#define HEDDLE_LIMITS_H_

#include <cstddef>
#include <cstdint>

namespace heddle {

inline constexpr uint64_t kKiB = 1024;
inline constexpr uint64_t kMiB = 1024 * kKiB;
inline constexpr uint64_t kGiB = 1024 * kMiB;

inline constexpr size_t kNameBytesMax = 200;
inline constexpr size_t kGroupNameBytesMax = 31;
inline constexpr size_t kSessionNameBytesMax = 63;
inline constexpr uint32_t kModeDefault = 0600;

// Owner 0 is nobody; the rest of the 16 bits are sessions, broker incarnations, transactions.
inline constexpr uint32_t kOwnersMax = 65535;
inline constexpr uint32_t kThreadsPerSessionMax = 1024;

inline constexpr uint32_t kQueueLenDefault = 1'000'000;
inline constexpr uint32_t kQueueLenMax = (1u << 20) - 1;
inline constexpr uint64_t kQueueBytesDefault = 256 * kMiB;
inline constexpr uint64_t kQueueMessageBytesDefault = 16 * kMiB;
inline constexpr uint32_t kQueueLeasesDefault = 65'536;
inline constexpr uint32_t kQueueDeliveriesDefault = 0;  // no limit

inline constexpr uint64_t kDictEntriesDefault = 1'000'000;
inline constexpr uint64_t kDictBytesDefault = 256 * kMiB;
inline constexpr uint32_t kDictHistoryDefault = 1'024;
inline constexpr uint64_t kListLenDefault = 1'000'000;
inline constexpr uint64_t kPipeBytesDefault = 64 * kKiB;

inline constexpr int64_t kSessionLeaseMsDefault = 30'000;  // remote; renewed at a third
inline constexpr int64_t kMessageLeaseMsDefault = 60'000;  // without a session
inline constexpr int64_t kDrainMsDefault = 10'000;
inline constexpr int64_t kPickledHandleMs = 60'000;  // a serialised handle counts as attached
inline constexpr int64_t kRescanMs = 50;             // the broker looks after sleepers
inline constexpr int64_t kSleepMsMax = 1'000;        // a sleeper looks for itself

}  // namespace heddle

#endif  // HEDDLE_LIMITS_H_
