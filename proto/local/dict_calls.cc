#include "proto/local/dict_calls.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <memory>
#include <utility>

namespace heddle::local {
namespace {

using shm::Outcome;

constexpr uint32_t kTriesMax = 100'000;
constexpr uint64_t kRoomFirst = 4096;
constexpr uint64_t kPageRoom = 256 * 1024;
constexpr size_t kPageRows = 256;

bool is_document(const shm::DictEntry& entry) {
  const auto kind = static_cast<shm::DictKind>(entry.kind);
  return kind == shm::DictKind::kJson || kind == shm::DictKind::kString;
}

/// Whether `write` would go ahead on an entry that is (not) there.
bool holds(const shm::DictWrite& write, bool there, const shm::DictEntry& entry, Outcome* refused) {
  const bool any = write.if_version == shm::kDictAnyVersion;
  if (there && (write.if_absent || (!any && write.if_version == 0))) {
    *refused = Outcome::kExists;
  } else if (!there && (write.if_present || (!any && write.if_version != 0))) {
    *refused = Outcome::kNotFound;
  } else if (there && !any && entry.mod_revision != write.if_version) {
    *refused = Outcome::kMismatch;
  } else {
    return true;
  }
  return false;
}

bool lost_a_race(Outcome outcome) {
  return outcome == Outcome::kMismatch || outcome == Outcome::kExists ||
         outcome == Outcome::kNotFound;
}

/// Read, let `make(item, there, &write)` fill in what is to be written, write unless somebody else
/// has meanwhile, or again. `make` gives kOk, or the outcome to end with.
template <class Make>
Outcome read_write(shm::Dict& dict, shm::DictActor& a, const shm::DictWrite& asked,
                   shm::DictWritten* written, DictItem* item, Make make) {
  const std::string_view key(static_cast<const char*>(asked.key.data), asked.key.bytes);
  for (uint32_t tries = 0; tries < kTriesMax; ++tries) {
    const Outcome found = read_item(dict, key, &a, item);
    const bool there = found == Outcome::kOk;
    if (!there && found != Outcome::kNotFound) return found;
    *written = {};
    written->existed = there;
    written->revision = there ? item->entry.mod_revision : 0;
    Outcome refused = Outcome::kOk;
    if (!holds(asked, there, item->entry, &refused)) return refused;
    shm::DictWrite write = asked;
    write.previous = nullptr;
    if (const Outcome made = make(*item, there, &write); made != Outcome::kOk) return made;
    write.if_version = there ? item->entry.mod_revision : 0;
    const Outcome outcome = dict.write(a, write, written);
    if (outcome == Outcome::kOk || !lost_a_race(outcome)) return outcome;
    // Not a race, but what it must be is not what it is.
    if (asked.if_value != nullptr && there && written->revision == item->entry.mod_revision) {
      return outcome;
    }
    if (asked.if_value != nullptr && !there) return outcome;
    if (!shm::is_value(static_cast<uint8_t>(write.kind)) && !there) return outcome;
  }
  return Outcome::kCorrupt;
}

}  // namespace

Outcome read_item(const shm::Dict& dict, std::string_view key, shm::DictActor* helper,
                  DictItem* out) {
  out->key.assign(key);
  if (out->value.size() < kRoomFirst) out->value.resize(kRoomFirst);
  for (uint32_t tries = 0; tries < kTriesMax; ++tries) {
    out->entry = {};
    out->entry.room = reinterpret_cast<std::byte*>(out->value.data());
    out->entry.room_bytes = out->value.size();
    const Outcome outcome = dict.get(dict_key(key), &out->entry, helper);
    if (outcome == Outcome::kTooLarge && out->entry.bytes > out->value.size()) {
      out->value.resize(out->entry.bytes);
      continue;
    }
    out->value.resize(outcome == Outcome::kOk ? out->entry.bytes : 0);
    return outcome;
  }
  return Outcome::kCorrupt;
}

Outcome write_returning(shm::Dict& dict, shm::DictActor& a, const shm::DictWrite& write,
                        shm::DictWritten* written, DictItem* previous) {
  return read_write(dict, a, write, written, previous,
                    [](const DictItem&, bool, shm::DictWrite*) { return Outcome::kOk; });
}

Outcome edit_document(shm::Dict& dict, shm::DictActor& a, const shm::DictWrite& asked,
                      const JsonEdit& edit, shm::DictWritten* written, std::string* at,
                      Status* why) {
  DictItem item;
  std::string text;
  *why = Status();
  return read_write(
      dict, a, asked, written, &item, [&](const DictItem& old, bool there, shm::DictWrite* write) {
        if (there && !is_document(old.entry)) {
          *why = Status(Reason::kInvalidArgument, "the value is neither JSON nor text");
          return Outcome::kMismatch;
        }
        auto edited = json_edited(there ? std::optional<std::string_view>(old.value) : std::nullopt,
                                  edit, at);
        if (!edited.ok()) {
          *why = edited.status();
          return Outcome::kMismatch;
        }
        text = *std::move(edited);
        write->value = text.data();
        write->bytes = text.size();
        write->kind = shm::DictKind::kJson;
        return Outcome::kOk;
      });
}

std::string DictPlace::to_text() const {
  char text[49];
  std::snprintf(
      text, sizeof text, "%016llx%016llx%016llx", static_cast<unsigned long long>(cursor.high),
      static_cast<unsigned long long>(cursor.low), static_cast<unsigned long long>(revision));
  return text;
}

bool DictPlace::parse(std::string_view text, DictPlace* out) {
  if (text.size() != 48) return false;
  uint64_t* const words[] = {&out->cursor.high, &out->cursor.low, &out->revision};
  for (size_t i = 0; i < 3; ++i) {
    const char* const begin = text.data() + 16 * i;
    const auto [end, error] = std::from_chars(begin, begin + 16, *words[i], 16);
    if (error != std::errc() || end != begin + 16) return false;
  }
  out->cursor.done = false;
  return true;
}

Outcome scan_page(const shm::Dict& dict, const DictFilter& filter, size_t rows_max,
                  uint64_t bytes_max, uint32_t looks_max, DictPlace* place,
                  std::vector<DictItem>* rows) {
  uint64_t room_bytes = kPageRoom, bytes = 0;
  std::unique_ptr<std::byte[]> room(new std::byte[room_bytes]);
  std::array<shm::DictScanned, kPageRows> page;
  for (uint32_t looks = 0; looks < looks_max && !place->cursor.done; ++looks) {
    if (rows->size() >= rows_max || bytes >= bytes_max) break;
    size_t n = 0;
    uint64_t needed = 0;
    const size_t most = std::min(page.size(), rows_max - rows->size());
    const Outcome outcome = dict.scan(&place->cursor, page.data(), most, room.get(), room_bytes,
                                      !filter.keys_only, &n, &needed);
    if (outcome == Outcome::kTooLarge) {
      room_bytes = needed + kPageRoom;
      room.reset(new std::byte[room_bytes]);
      continue;
    }
    if (outcome != Outcome::kOk) return outcome;
    for (size_t i = 0; i < n; ++i) {
      const std::string_view key(reinterpret_cast<const char*>(page[i].key), page[i].key_bytes);
      if (!filter.admits(key)) continue;
      DictItem& row = rows->emplace_back();
      row.key = key;
      row.entry = page[i].entry;
      if (!filter.keys_only) {
        row.value.assign(reinterpret_cast<const char*>(page[i].entry.room), page[i].entry.bytes);
      }
      row.entry.room = nullptr;
      bytes += row.key.size() + row.value.size();
    }
  }
  return Outcome::kOk;
}

namespace {

/// One change, whatever its size. The strings are the rooms.
Outcome read_one(const shm::Dict& dict, const DictNext& next, bool want_previous, DictEvent* out,
                 uint32_t* of) {
  std::string& value = out->item.value;
  std::string& previous = out->previous.value;
  out->item.key.resize(shm::kDictKeyBytesMax);
  value.resize(kRoomFirst);
  if (want_previous) previous.resize(kRoomFirst);
  for (uint32_t tries = 0; tries < kTriesMax; ++tries) {
    shm::DictChange change;
    change.at = next.at;
    change.key_room = reinterpret_cast<std::byte*>(out->item.key.data());
    change.entry.room = reinterpret_cast<std::byte*>(value.data());
    change.entry.room_bytes = value.size();
    if (want_previous) {
      change.previous.room = reinterpret_cast<std::byte*>(previous.data());
      change.previous.room_bytes = previous.size();
    }
    const Outcome outcome = dict.read_change(next.revision, &change);
    if (outcome == Outcome::kTooLarge) {
      if (change.entry.bytes > value.size()) value.resize(change.entry.bytes);
      if (change.had_previous && change.previous.bytes > previous.size()) {
        previous.resize(change.previous.bytes);
      }
      continue;
    }
    if (outcome != Outcome::kOk) return outcome;
    const bool is_put = shm::is_value(change.entry.kind);
    out->revision = next.revision;
    out->item.key.resize(std::min<size_t>(change.key_bytes, out->item.key.size()));
    value.resize(is_put ? change.entry.bytes : 0);
    out->item.entry = change.entry;
    out->item.entry.room = nullptr;
    out->had_previous = want_previous && change.had_previous && shm::is_value(change.previous.kind);
    previous.resize(out->had_previous ? change.previous.bytes : 0);
    out->previous.entry = change.previous;
    out->previous.entry.room = nullptr;
    *of = change.of;
    return outcome;
  }
  return Outcome::kCorrupt;
}

}  // namespace

Outcome read_changes(const shm::Dict& dict, std::string_view prefix, bool want_previous, size_t max,
                     uint64_t bytes_max, DictNext* next, std::vector<DictEvent>* out) {
  uint64_t bytes = 0;
  DictEvent event;
  // Changes that do not pass are looked at as well, but not without end.
  for (size_t looks = 0; out->size() < max && bytes < bytes_max && looks < 16 * max; ++looks) {
    uint32_t of = 1;
    const Outcome outcome = read_one(dict, *next, want_previous, &event, &of);
    if (outcome == Outcome::kEmpty) break;
    if (outcome != Outcome::kOk) return outcome;
    if (++next->at >= of) *next = {next->revision + 1, 0};
    if (!dict_key_seen(event.item.key, prefix)) continue;
    bytes += event.item.key.size() + event.item.value.size() + event.previous.value.size();
    out->push_back(std::move(event));
    event = {};
  }
  return Outcome::kOk;
}

namespace {

std::string_view text_of(const shm::DictKey& key) {
  return {static_cast<const char*>(key.data), key.bytes};
}

/// The operations of a branch, with room for what they read.
struct Branch {
  std::vector<shm::DictOperation> operations;
  std::vector<shm::DictEntry> entries;
  std::vector<std::string> rooms;

  Branch(const shm::Dict& dict, shm::DictActor& a, const std::vector<DictStep>& steps)
      : operations(steps.size()), entries(steps.size()), rooms(steps.size()) {
    for (size_t i = 0; i < steps.size(); ++i) {
      operations[i].write = steps[i].write;
      if (!steps[i].get) continue;
      shm::DictEntry now;
      (void)dict.get(steps[i].write.key, &now, &a);
      rooms[i].resize(2 * now.bytes + kRoomFirst);  // it may grow before it is read
      entries[i].room = reinterpret_cast<std::byte*>(rooms[i].data());
      entries[i].room_bytes = rooms[i].size();
      operations[i].get = &entries[i];
    }
  }
};

/// A value that grew too fast: as long as nobody wrote again, it is what is there.
void read_again(const shm::Dict& dict, shm::DictActor& a, std::string_view key,
                const shm::DictEntry& seen, DictStepDone* out) {
  const Outcome outcome = read_item(dict, key, &a, &out->item);
  const bool same = outcome == Outcome::kOk && out->item.entry.mod_revision == seen.mod_revision;
  out->outcome = same ? Outcome::kOk : Outcome::kTooLarge;
}

}  // namespace

Outcome transact(shm::Dict& dict, shm::DictActor& a, const std::vector<shm::DictCompare>& compares,
                 const std::vector<DictStep>& first, const std::vector<DictStep>& other,
                 shm::DictTransacted* done, std::vector<DictStepDone>* out) {
  Branch one(dict, a, first), two(dict, a, other);
  const auto n = [](size_t size) { return static_cast<uint32_t>(size); };
  const shm::DictTransaction transaction{compares.data(),       n(compares.size()),
                                         one.operations.data(), n(one.operations.size()),
                                         two.operations.data(), n(two.operations.size())};
  *done = {};
  const Outcome outcome = dict.transact(a, transaction, done);
  out->clear();
  if (outcome != Outcome::kOk) return outcome;
  Branch& branch = done->held ? one : two;
  for (size_t i = 0; i < branch.operations.size(); ++i) {
    const shm::DictOperation& operation = branch.operations[i];
    DictStepDone& step = out->emplace_back();
    step.outcome = operation.outcome;
    step.written = operation.done;
    if (operation.get == nullptr || operation.outcome == Outcome::kNotFound) continue;
    if (operation.outcome == Outcome::kTooLarge) {
      read_again(dict, a, text_of(operation.write.key), branch.entries[i], &step);
      continue;
    }
    step.item.key = text_of(operation.write.key);
    step.item.entry = branch.entries[i];
    branch.rooms[i].resize(branch.entries[i].bytes);
    step.item.value = std::move(branch.rooms[i]);
  }
  return outcome;
}

}  // namespace heddle::local
