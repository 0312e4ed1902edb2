// A handle on one named list: values in a row that many processes share. Every change is one step,
// whole or not at all; who reads holds nobody up.
//
//   auto list = client.create_list("events").value();
//   list.append("started");
//   for (const ListItem& item : list.items().value()) ...
//   auto first = list.pop(0);
#ifndef HEDDLE_LIST_H_
#define HEDDLE_LIST_H_

#include <heddle/dict.h>
#include <heddle/options.h>
#include <heddle/result.h>
#include <heddle/status.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace heddle {

namespace detail {
class ListChannel;
struct ListAccess;
}  // namespace detail

// An element: a value of the same kinds as those of a dict.
struct ListItem {
  DictValue value;
  std::uint64_t revision = 0;  // Of the change that put it there.
};

struct ListChanged {
  std::uint64_t index = 0;     // From 0: where the element is, or was.
  std::uint64_t length = 0;    // Of the list after it.
  std::uint64_t revision = 0;  // Of this change; one more than that of the change before.
};

struct ListTaken : ListChanged {
  ListItem item;
};

// Elements in a row, all of one revision.
struct ListPage {
  std::vector<ListItem> items;
  std::uint64_t from = 0;  // Index of the first.
  std::uint64_t length = 0;
  std::uint64_t revision = 0;
  // Where the next page begins, if there is one.
  std::optional<std::int64_t> next() const {
    const std::uint64_t end = from + items.size();
    if (end >= length || items.empty()) return std::nullopt;
    return static_cast<std::int64_t>(end);
  }
};

struct ListOptions {
  std::optional<std::uint64_t> max_len = {};          // 1,000,000; up to 134,217,728.
  std::optional<std::uint64_t> max_bytes = {};        // Of all values; 256 MiB, up to 8 GiB.
  std::optional<std::uint32_t> max_value_bytes = {};  // 16 MiB, which is the limit.
  std::optional<Lifetime> lifetime = {};              // kKept; kAttached for anonymous ones.
  std::optional<std::uint32_t> mode = {};             // Permission bits: r reads, w writes; 0600.
  std::string group = {};
  // create_list only: an existing one is opened if the given options agree with it.
  bool open_existing = false;
};

struct ListInfo {
  std::string name;
  std::uint64_t object_id = 0;
  ListOptions options;  // Every field set to what holds.
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint64_t length = 0;  // Of one moment with the next two.
  std::uint64_t bytes = 0;
  std::uint64_t revision = 0;
  std::uint64_t memory_bytes = 0;
  std::uint32_t attached = 0;
  std::uint32_t watching = 0;
  bool quarantined = false;
};

// An index below 0 counts from the end: -1 is the last element. OUT_OF_RANGE: there is no such one.
// `if_revision`: the change is made only if the list has that revision, else MISMATCH, whose
// actual() is the one it has.
// Rights: with r alone the list is mapped read-only on the shared-memory plane, and every change is
// DENIED. Deleted by somebody: CLOSED.
// Threads: all methods may be called from any number of threads at once. Copies are the same
// handle. Fork: on the shared-memory plane the child's first call attaches a session of its own;
// over gRPC its calls are UNSUPPORTED.
// Cost: on the shared-memory plane no call waits for anybody, but wait_change().
class HEDDLE_API List {
 public:
  List() noexcept = default;  // No list: every method fails with INVALID_ARGUMENT.

  explicit operator bool() const noexcept { return list_ != nullptr; }
  const std::string& name() const;

  // --- Reading.
  Result<ListItem> get(std::int64_t index);
  // Up to `most` elements from `from` on, fewer if they are large: see ListPage::next(). Behind the
  // end: none. `if_revision` as above, so that pages belong together.
  Result<ListPage> slice(std::int64_t from = 0, std::size_t most = 1000,
                         std::optional<std::uint64_t> if_revision = {});
  // All elements, of one revision. It begins anew when the list changes meanwhile; MISMATCH if it
  // did so all the time.
  Result<std::vector<ListItem>> items();
  Result<std::uint64_t> len();
  Result<std::uint64_t> revision();  // Of the last change; 0: there was none.
  // Waits until the list has that revision or a later one, which it gives. TIMED_OUT, or EMPTY with
  // timeout 0.
  Result<std::uint64_t> wait_change(std::uint64_t revision,
                                    std::chrono::nanoseconds timeout = kForever);

  // --- Changing. FULL, TOO_LARGE, MEMORY_EXHAUSTED, DENIED, MISMATCH, OUT_OF_RANGE.
  Result<ListChanged> append(const DictInput& value, std::optional<std::uint64_t> if_revision = {});
  // Before that element; beyond an end: at that end.
  Result<ListChanged> insert(std::int64_t index, const DictInput& value,
                             std::optional<std::uint64_t> if_revision = {});
  Result<ListChanged> set(std::int64_t index, const DictInput& value,
                          std::optional<std::uint64_t> if_revision = {});
  // Takes the element out and gives it. EMPTY: there is none. Over gRPC, if the connection broke in
  // between: BROKER_AWAY, when it was taken and its value was lost.
  Result<ListTaken> pop(std::int64_t index = -1, std::optional<std::uint64_t> if_revision = {});
  Result<ListChanged> remove(std::int64_t index, std::optional<std::uint64_t> if_revision = {});
  Result<ListChanged> clear(std::optional<std::uint64_t> if_revision = {});
  Result<ListInfo> info();

 private:
  friend struct detail::ListAccess;
  std::shared_ptr<detail::ListChannel> list_;
};

}  // namespace heddle

#endif  // HEDDLE_LIST_H_
