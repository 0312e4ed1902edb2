// What goes into a dict's functions and comes out of them.
#pragma once

#include <time.h>

#include <cstddef>
#include <cstdint>

#include "proto/shm/outcome.h"

namespace heddle::shm {

enum class DictKind : uint8_t {
  kNull = 0,
  kBool = 1,
  kInt64 = 2,
  kDouble = 3,
  kString = 4,
  kBytes = 5,
  kJson = 6,
  // Not values: why a key went.
  kDeleted = 128,
  kExpired = 129,
  kEvicted = 130,
  kCleared = 131,
  kList = 160,  // the record of a transaction; never seen
};
constexpr bool is_value(uint8_t kind) { return kind < 128; }

struct DictKey {
  const void* data;
  uint32_t bytes;
};

/// What is known of an entry; `room` is filled in by the caller.
struct DictEntry {
  std::byte* room = nullptr;  // where the value is copied
  uint64_t room_bytes = 0;
  uint64_t bytes = 0;         // of the value; over room_bytes: nothing was copied
  uint64_t mod_revision = 0;  // 0: pending, the change is visible and not yet numbered
  uint64_t create_revision = 0;
  uint64_t version = 0;    // 1 = as created
  int64_t expires_ms = 0;  // dict_now_ms() from which it is gone; 0: never
  uint64_t owner = 0;      // of an ephemeral entry; 0: none
  uint8_t kind = 0;        // DictKind
};

/// The clock of expiries: CLOCK_MONOTONIC_COARSE in ms. All processes of the machine read the same
/// one, it costs 6 ns, no broker need tick it, and nobody can set it. It begins anew with the
/// machine, as every segment does, and stands still while the machine sleeps. Steps of 4 ms.
inline int64_t dict_now_ms() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
}

enum class DictExpiry : uint8_t {
  kPolicy,  // as the dict's limits say (on_overwrite, default_ttl_ms)
  kKeep,    // as it was; what is created has the default
  kClear,   // none
  kSet,     // expires_ms
};

inline constexpr uint64_t kDictAnyVersion = UINT64_MAX;

struct DictWrite {
  DictKey key{};
  const void* value = nullptr;
  uint64_t bytes = 0;
  DictKind kind = DictKind::kBytes;  // kDeleted, kCleared ...: the key goes
  bool if_absent = false;
  bool if_present = false;
  uint64_t if_version = kDictAnyVersion;  // mod_revision it must have; 0: must be absent
  const void* if_value = nullptr;         // what it must be, kind and bytes; null: anything
  uint64_t if_value_bytes = 0;
  DictKind if_value_kind = DictKind::kBytes;
  DictExpiry expiry = DictExpiry::kPolicy;
  int64_t expires_ms =
      0;               // with kSet, on dict_now_ms(); 0: never. One that has passed is gone at once
  uint64_t owner = 0;  // 0: none; else session slot and generation: erase_owned() erases it
  // Where what was there before is copied, if it fits; may be null. bytes and kind are set.
  DictEntry* previous = nullptr;
};

struct DictWritten {
  uint64_t revision = 0;  // of this change; refused: of the entry as it is, 0 = absent
  uint64_t create_revision = 0;
  uint64_t version = 0;
  bool existed = false;
};

/// Where a scan goes on: the hash it has come to. Starts as {0, 0, false}.
struct DictCursor {
  uint64_t high = 0, low = 0;
  bool done = false;
};

struct DictScanned {
  DictEntry entry;  // room points into the page's room
  const std::byte* key;
  uint32_t key_bytes;
};

/// One change. A transaction makes several with one revision: ask for `at` = 0, then for the others
/// until `at` + 1 = `of`.
struct DictChange {
  uint32_t at = 0;  // in: which change of the revision
  uint32_t of = 1;  // out: how many it has
  DictEntry entry;
  std::byte* key_room = nullptr;  // kDictKeyBytesMax
  uint32_t key_bytes = 0;
  uint64_t revision = 0;
  // What it replaced: previous.kind is a value's if there was one. Fill in its room to have it.
  DictEntry previous;
  bool had_previous = false;
};

/// What must hold of an entry for a transaction to take its first branch.
struct DictCompare {
  enum class What : uint8_t { kModRevision, kCreateRevision, kVersion, kValue };
  enum class Sign : uint8_t { kEqual, kNotEqual, kLess, kGreater };
  DictKey key{};
  What what = What::kModRevision;
  Sign sign = Sign::kEqual;
  uint64_t number = 0;  // of an absent entry each is 0
  // kValue: kind and bytes; an absent entry is unequal and neither less nor greater. Values are
  // ordered by their bytes.
  const void* value = nullptr;
  uint64_t bytes = 0;
  DictKind kind = DictKind::kBytes;
};

/// A get, or a write as by Dict::write(). Erasing what is not there changes nothing and refuses
/// nothing, unless if_present says so. Each key is written at most once.
struct DictOperation {
  DictEntry* get = nullptr;  // not null: the entry of write.key as it was before the transaction
  DictWrite write{};
  DictWritten done{};              // out, of a write
  Outcome outcome = Outcome::kOk;  // out: kOk, kNotFound, kTooLarge of a get's room
  uint64_t scratch[3] = {};        // of the transaction
};

/// At most kDictTransactionMax compares and operations of the longer branch together.
struct DictTransaction {
  const DictCompare* compares = nullptr;
  uint32_t compares_n = 0;
  DictOperation* first = nullptr;  // if all compares hold
  uint32_t first_n = 0;
  DictOperation* other = nullptr;  // if not
  uint32_t other_n = 0;
};

struct DictTransacted {
  bool held = false;  // all compares did
  uint32_t changes = 0;
  uint64_t revision = 0;  // of all changes; none: the last one that was done
  uint32_t refused = 0;   // which operation of the branch refused
};

/// A slice of a sweep.
struct DictSwept {
  uint64_t gone = 0;            // entries that were erased, added to
  int64_t next_ms = INT64_MAX;  // the earliest expiry that was met and has not passed
  // Told of each of these: hash_of() the key, and when. May be null.
  void (*due)(void* context, uint64_t hash, int64_t expires_ms) = nullptr;
  void* context = nullptr;
};

}  // namespace heddle::shm
