// A handle on one named dict: keys and values that many processes share, read in place, written by
// one step each, watched.
//
//   auto settings = client.dict("settings").value();
//   settings.set("mode", "fast");
//   settings.increment("runs", 1);
//   for (auto watch = settings.watch().value(); auto event = watch.next();) ...
#ifndef HEDDLE_DICT_H_
#define HEDDLE_DICT_H_

#include <heddle/options.h>
#include <heddle/queue.h>
#include <heddle/result.h>
#include <heddle/status.h>

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace heddle {

namespace detail {
class DictChannel;
class DictWatchChannel;
struct DictAccess;
}  // namespace detail

enum class DictType : std::uint8_t {
  kNull = 0,
  kBool = 1,
  kInt64 = 2,
  kDouble = 3,
  kString = 4,  // UTF-8 by intention; not checked
  kBytes = 5,
  kJson = 6,  // JSON text, kept exactly
};

// What is written. It copies no text: the bytes must live until the call returns.
class DictInput {
 public:
  DictInput() = default;                                                       // null
  DictInput(std::nullptr_t) {}                                                 // NOLINT
  DictInput(bool value) : type_(DictType::kBool), length_(1) { keep(value); }  // NOLINT
  template <std::integral T>
  requires(!std::same_as<T, bool>) DictInput(T value)
      : type_(DictType::kInt64), length_(8) {  // NOLINT
    keep(static_cast<std::int64_t>(value));
  }
  DictInput(double value) : type_(DictType::kDouble), length_(8) { keep(value); }  // NOLINT
  DictInput(const char* text) : DictInput(std::string_view(text)) {}               // NOLINT
  DictInput(const std::string& text) : DictInput(std::string_view(text)) {}        // NOLINT
  DictInput(std::string_view text) : DictInput(text, DictType::kString) {}         // NOLINT
  DictInput(std::span<const std::byte> bytes)                                      // NOLINT
      : type_(DictType::kBytes), data_(bytes.data()), length_(bytes.size()) {}
  static DictInput bytes(std::string_view bytes) { return {bytes, DictType::kBytes}; }
  // INVALID_ARGUMENT when it is written and is no JSON.
  static DictInput json(std::string_view text) { return {text, DictType::kJson}; }
  // A value as it is stored: of kInt64 and kDouble 8 bytes of this machine's order, of kBool one.
  DictInput(std::string_view stored, DictType type)
      : type_(type),
        data_(reinterpret_cast<const std::byte*>(stored.data())),
        length_(stored.size()) {}

  DictType type() const { return type_; }
  const std::byte* data() const { return data_ != nullptr ? data_ : scalar_; }
  std::size_t length() const { return length_; }

 private:
  template <typename T>
  void keep(T value) {
    std::memcpy(scalar_, &value, sizeof value);
  }
  DictType type_ = DictType::kNull;
  const std::byte* data_ = nullptr;  // Null: scalar_.
  std::size_t length_ = 0;
  std::byte scalar_[8] = {};
};

// What was read.
struct HEDDLE_API DictValue {
  DictType type = DictType::kNull;
  std::string stored;  // As DictInput has it.

  bool is_null() const { return type == DictType::kNull; }
  // Nothing unless it is of that type.
  std::optional<bool> boolean() const;
  std::optional<std::int64_t> integer() const;
  std::optional<double> number() const;  // Of kInt64 as well.
  // The bytes of kString, kBytes and kJson; empty for others.
  std::string_view text() const;
  // Any value as JSON text; bytes that are no UTF-8 are replaced.
  std::string to_json() const;
  DictInput input() const { return {stored, type}; }
  bool operator==(const DictValue&) const = default;
};

// What is known of an entry beside its value.
struct DictMeta {
  std::uint64_t mod_revision = 0;  // Of the change that wrote it; 0: it is being numbered.
  std::uint64_t create_revision = 0;
  std::uint64_t version = 0;                          // 1 as it was created.
  std::optional<std::chrono::milliseconds> ttl = {};  // Left; absent: it stays.
  std::uint64_t session = 0;  // Of an entry that goes with its session: whose; else 0.
};

struct DictEntry : DictMeta {
  std::string key;
  DictValue value;
};

// As get() gives it.
struct DictGot : DictEntry {
  std::uint64_t revision = 0;  // Of the dict, then.
};

// How a change of one entry ended. Conditions that did not hold are no failures.
enum class DictOutcome : std::uint8_t {
  kDone = 1,
  kNotFound = 2,  // There is none, and there had to be.
  kExists = 3,    // There is one, and there had to be none.
  kMismatch = 4,  // Another revision, value or type than asked for; a bound would be passed.
};
HEDDLE_API const char* dict_outcome_name(DictOutcome outcome) noexcept;

struct DictChanged {
  DictOutcome outcome = DictOutcome::kDone;
  bool existed = false;            // Before it.
  std::uint64_t mod_revision = 0;  // Of this change; not done: of the entry as it is, 0 = absent.
  std::uint64_t create_revision = 0;
  std::uint64_t version = 0;
  std::uint64_t revision = 0;              // Of the dict.
  std::optional<DictEntry> previous = {};  // Where it was asked for and there was one.

  explicit operator bool() const { return outcome == DictOutcome::kDone; }
};

// When an entry is gone: after a time, at a time, never, as it was, or as the dict's
// ttl_on_overwrite says.
class DictExpiry {
 public:
  DictExpiry() = default;  // as the dict says
  template <typename Rep, typename Period>
  DictExpiry(std::chrono::duration<Rep, Period> ttl)  // NOLINT
      : how_(std::chrono::ceil<std::chrono::milliseconds>(ttl)) {}
  DictExpiry(std::chrono::system_clock::time_point at) : how_(at) {}  // NOLINT
  static DictExpiry keep() { return DictExpiry(Fixed::kKeep); }
  static DictExpiry never() { return DictExpiry(Fixed::kNever); }

  enum class Fixed : std::uint8_t { kPolicy, kKeep, kNever };
  using How = std::variant<Fixed, std::chrono::milliseconds, std::chrono::system_clock::time_point>;
  const How& how() const { return how_; }

 private:
  explicit DictExpiry(Fixed fixed) : how_(fixed) {}
  How how_ = Fixed::kPolicy;
};

struct DictSetOptions {
  std::optional<std::uint64_t> if_version = {};  // Its mod_revision; 0: it must be absent.
  bool if_absent = false;
  bool if_present = false;
  std::optional<DictInput> if_value = {};  // Type and bytes.
  DictExpiry expiry = {};
  bool session = false;  // It goes with this session.
  bool return_previous = false;
  // From get_or_lease(): it ends with this change. LEASE_LOST, a failure, if it has ended before.
  std::uint64_t lease = 0;
  // Refused with STALE_FENCE, a failure, once somebody else has been granted the lock; goes by way
  // of the broker. Not together with if_value, return_previous and lease on shared memory.
  std::optional<Fence> fence = {};
};

struct DictLeaseOptions {
  // How long the one who computes has; its lease ends with its session, too. Up to a day.
  std::chrono::milliseconds lease = std::chrono::seconds(10);
  // A value that has no more left to live is stale: one caller computes it anew, and the others get
  // it meanwhile, or wait. 0: values are good until they expire.
  std::chrono::milliseconds early = {};
  bool wait_when_stale = false;
  std::chrono::nanoseconds timeout = kForever;  // For somebody else.
};
struct DictLeased {
  std::optional<DictGot> entry = {};
  bool stale = false;       // The entry is; it is being computed anew.
  std::uint64_t lease = 0;  // Not 0: by this caller, who ends it with set() or end_lease().
};

struct DictIncrementOptions {
  std::optional<double> least = {}, most = {};  // Of doubles.
  std::optional<std::int64_t> least_integer = {}, most_integer = {};
  double initial = 0;  // What a missing entry begins as; of integers a whole number.
  DictExpiry expiry = DictExpiry::keep();
};

// Changes of a JSON value in part.
struct DictEditOptions {
  DictSetOptions conditions = {};  // if_version, if_absent, if_present, expiry, session.
  std::optional<double> least = {}, most = {};  // Of an increment.
};
struct DictEdited {
  DictChanged changed;
  std::string json;  // What is at the pointer now.
};

struct DictScanOptions {
  std::string prefix = {};
  std::string from = {}, to = {};  // from <= key < to, by bytes; empty: no bound.
  bool keys_only = false;
  std::size_t page_size = 1000;
};
struct DictPage {
  std::vector<DictEntry> entries;
  std::string next;            // For the next page; empty: this was the last one.
  std::uint64_t revision = 0;  // At which the first page began.
};

enum class DictEventKind : std::uint8_t {
  kPut = 1,
  kDelete = 2,
  kExpire = 3,
  kEvict = 4,
  kClear = 5,
  kSnapshot = 6,      // An entry as it is.
  kSnapshotDone = 7,  // No entry: all of them have come, changes follow.
};
HEDDLE_API const char* dict_event_name(DictEventKind kind) noexcept;

struct DictEvent {
  DictEventKind kind = DictEventKind::kPut;
  std::uint64_t revision = 0;  // Changes of one transaction have the same one.
  DictEntry entry;             // Its value with kPut and kSnapshot.
  std::optional<DictEntry> previous = {};
};

struct DictWatchOptions {
  std::uint64_t start_revision = 0;  // The first change wanted; 0: the next one from now on.
  std::string prefix = {};
  bool want_previous = false;
  // First the entries as they are, then every change since the snapshot began; what changed while
  // it was read comes again.
  bool initial_snapshot = false;
};

// Changes in order, none missing, from a dict. It keeps nothing: whoever is slower than the history
// is long gets OUT_OF_RANGE, naming the oldest revision, and may begin again from there or with a
// snapshot. Threads: one at a time.
class HEDDLE_API DictWatch {
 public:
  DictWatch() noexcept = default;
  explicit operator bool() const noexcept { return watch_ != nullptr; }

  // Waits for the next one. EMPTY (timeout 0), TIMED_OUT; OUT_OF_RANGE; CLOSED when the dict was
  // deleted. Over a restart of the broker it goes on where it was.
  Result<DictEvent> next(std::chrono::nanoseconds timeout = kForever);
  // The start_revision for a watch that goes on after what next() has given: of a transaction that
  // was given in part, the same revision again.
  std::uint64_t next_revision() const noexcept;

 private:
  friend struct detail::DictAccess;
  std::shared_ptr<detail::DictWatchChannel> watch_;
};

// What must hold of an entry for the first branch of a transaction.
struct DictCompare {
  enum class What : std::uint8_t { kModRevision, kCreateRevision, kVersion, kValue };
  enum class Sign : std::uint8_t { kEqual, kNotEqual, kLess, kGreater };
  std::string_view key;
  What what = What::kModRevision;
  Sign sign = Sign::kEqual;
  std::uint64_t number = 0;  // Of an absent entry each is 0.
  DictInput value = {};
};

struct DictOperation {
  enum class What : std::uint8_t { kGet, kSet, kErase };
  What what = What::kGet;
  std::string_view key;
  DictInput value = {};
  DictSetOptions options = {};  // Without return_previous and fence.
};

struct DictOperationResult {
  DictChanged changed;
  std::optional<DictEntry> entry;  // Of a kGet: as it was before the transaction.
};

struct DictTransacted {
  DictOutcome outcome = DictOutcome::kDone;  // Of the operation that refused.
  std::size_t refused = 0;                   // Which of its branch; nothing was changed then.
  bool held = false;                         // All compares did.
  std::uint64_t revision = 0;                // Of all its changes.
  std::vector<DictOperationResult> results;  // One for each operation of the branch.
};

struct DictOptions {
  std::optional<std::uint64_t> max_entries = {};      // 1,000,000.
  std::optional<std::uint64_t> max_bytes = {};        // Of keys and values; 256 MiB.
  std::optional<std::uint32_t> max_value_bytes = {};  // 16 MiB, which is the limit.
  std::optional<std::uint32_t> max_key_bytes = {};    // 4,096, which is the limit.
  std::optional<std::uint32_t> history = {};          // Changes that can be read back; 1,024.
  std::optional<bool> keep_previous = {};             // Changes tell what they replaced; true.
  std::optional<std::uint32_t> default_ttl_ms = {};   // 0: entries stay.
  // At max_entries or max_bytes: refuse, or of a sample the oldest write, the least recently used
  // or what expires first goes.
  enum class Eviction : std::uint8_t { kReject, kOldestWrite, kLru, kTtlFirst };
  std::optional<Eviction> eviction = {};
  // What becomes of an expiry when the entry is written again and nothing is said about it.
  enum class TtlOnOverwrite : std::uint8_t { kClear, kKeep, kDefault };
  std::optional<TtlOnOverwrite> ttl_on_overwrite = {};
  std::optional<Lifetime> lifetime = {};   // kKept; kAttached for anonymous ones.
  std::optional<std::uint32_t> mode = {};  // Permission bits: r reads, w writes; 0600.
  std::string group = {};
  // create_dict only: an existing one is opened if the given options agree with it.
  bool open_existing = false;
};

struct DictInfo {
  std::string name;
  std::uint64_t object_id = 0;
  DictOptions options;  // Every field set to what holds.
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint64_t entries = 0;  // Exact when nothing is under way.
  std::uint64_t bytes = 0;
  std::uint64_t revision = 0;
  std::uint64_t oldest_revision = 0;
  std::uint64_t memory_bytes = 0;
  std::uint32_t attached = 0;
  std::uint32_t watching = 0;
  bool quarantined = false;
};

// What get_into() fills in.
struct DictRead : DictMeta {
  DictType type = DictType::kNull;
  std::size_t length = 0;  // Of the value, also when it did not fit.
};

// Rights: with r alone the dict is mapped read-only on the shared-memory plane, and every change is
// DENIED. Deleted by somebody: CLOSED.
// Threads: all methods may be called from any number of threads at once. Copies are the same
// handle. Fork: on the shared-memory plane the child's first call attaches a session of its own;
// over gRPC its calls are UNSUPPORTED.
// Cost: on the shared-memory plane no call here waits for anybody, but those with a fence. get_into
// allocates nothing; a change allocates nothing unless the memory of the dict has to grow.
class HEDDLE_API Dict {
 public:
  Dict() noexcept = default;  // No dict: every method fails with INVALID_ARGUMENT.

  explicit operator bool() const noexcept { return dict_ != nullptr; }
  const std::string& name() const;

  // --- Reading. NOT_FOUND, without a word: there is no such key.
  Result<DictGot> get(std::string_view key);
  // Copies the value to `room`. TOO_LARGE: it did not fit, read->length says what it needs.
  Status get_into(std::string_view key, std::span<std::byte> room, DictRead* read);
  // For each key, in order; absent ones are empty. Each as it was at some moment of the call.
  Result<std::vector<std::optional<DictEntry>>> get_many(std::span<const std::string_view> keys);
  Result<bool> contains(std::string_view key);
  Result<std::uint64_t> len();
  Result<std::uint64_t> revision();  // The last one that is done.

  // --- Changing. See DictChanged; FULL, TOO_LARGE, MEMORY_EXHAUSTED, DENIED are failures.
  Result<DictChanged> set(std::string_view key, const DictInput& value,
                          const DictSetOptions& options = {});
  Result<DictChanged> erase(std::string_view key, const DictSetOptions& options = {});
  // Erases and gives what was there: NOT_FOUND.
  Result<DictEntry> pop(std::string_view key);
  // What is there, after putting `value` there if nothing was.
  Result<DictEntry> setdefault(std::string_view key, const DictInput& value);
  // Many, one after the other: how many are written. transact() writes all at once.
  struct Pair {
    std::string_view key;
    DictInput value;
    DictExpiry expiry = {};
  };
  struct Updated {
    std::size_t done = 0;
    Status status;  // Why it stopped before the end, or OK.
    std::uint64_t revision = 0;
  };
  Updated update(std::span<const Pair> pairs);
  // Every key that is there now goes, one after the other: how many.
  Result<std::uint64_t> clear();

  // The value, or the right to compute it: one caller gets that, the others wait for the value, or
  // for the right when it was given up, ran out, or its owner died. TIMED_OUT (EMPTY with timeout
  // 0): somebody else computes. Keys of up to 4,089 bytes; needs w.
  Result<DictLeased> get_or_lease(std::string_view key, const DictLeaseOptions& options = {});
  // Gives it up. False: it had ended before.
  Result<bool> end_lease(std::string_view key, std::uint64_t lease);

  // Atomically. A missing entry begins as options.initial; a value of another type, or a sum beyond
  // a bound, is a kMismatch and *now is what is there.
  Result<DictChanged> increment(std::string_view key, std::int64_t by, std::int64_t* now = nullptr,
                                const DictIncrementOptions& options = {});
  template <std::integral T>
  requires(!std::same_as<T, std::int64_t>) Result<DictChanged> increment(
      std::string_view key, T by, std::int64_t* now = nullptr,
      const DictIncrementOptions& options = {}) {
    return increment(key, static_cast<std::int64_t>(by), now, options);
  }
  Result<DictChanged> increment(std::string_view key, double by, double* now = nullptr,
                                const DictIncrementOptions& options = {});
  // At the end of a string or of bytes; *length is what it has then.
  Result<DictChanged> append(std::string_view key, const DictInput& value,
                             const DictSetOptions& options = {}, std::size_t* length = nullptr);
  Result<DictChanged> touch(std::string_view key, const DictExpiry& expiry);
  Result<DictChanged> persist(std::string_view key) { return touch(key, DictExpiry::never()); }

  // --- Documents. RFC 6901 pointers; "" is the whole value. Each change reads, changes and writes,
  // and begins again when somebody else has written meanwhile. INVALID_ARGUMENT: no JSON, no
  // pointer, a failed test of a patch. The value is written anew: numbers beyond 64 bits become
  // doubles.
  Result<std::string> get_json(std::string_view key, std::string_view pointer = {});
  Result<DictEdited> set_json(std::string_view key, std::string_view pointer, std::string_view json,
                              const DictEditOptions& options = {});
  Result<DictEdited> erase_json(std::string_view key, std::string_view pointer,
                                const DictEditOptions& options = {});
  Result<DictEdited> merge_json(std::string_view key, std::string_view pointer,
                                std::string_view json, const DictEditOptions& options = {});
  Result<DictEdited> patch_json(std::string_view key, std::string_view operations,
                                const DictEditOptions& options = {});
  Result<DictEdited> increment_json(std::string_view key, std::string_view pointer,
                                    std::string_view by, const DictEditOptions& options = {});

  // --- Looking at all of it. Entries that are there all the time come exactly once, in no order
  // that means anything. What changed since the first page is what watch() tells from its
  // revision + 1 on.
  Result<DictPage> scan(const DictScanOptions& options = {}, const std::string& next = {});
  Result<std::vector<std::string>> keys(const std::string& prefix = {});
  Result<std::vector<DictEntry>> items(const std::string& prefix = {});
  Result<std::vector<DictValue>> values(const std::string& prefix = {});

  Result<DictWatch> watch(const DictWatchOptions& options = {});
  // Up to 1,024 compares and operations; one revision, all or nothing.
  Result<DictTransacted> transact(std::span<const DictCompare> compares,
                                  std::span<const DictOperation> then,
                                  std::span<const DictOperation> otherwise = {},
                                  const std::optional<Fence>& fence = {});
  Result<DictInfo> info();

 private:
  friend struct detail::DictAccess;
  std::shared_ptr<detail::DictChannel> dict_;
};

}  // namespace heddle

#endif  // HEDDLE_DICT_H_
