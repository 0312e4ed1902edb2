#include "proto/local/list_calls.h"

#include <algorithm>
#include <array>
#include <memory>

namespace heddle::local {
namespace {

using shm::Outcome;

constexpr uint64_t kRowRoom = 512;
constexpr size_t kRowsAtOnce = 256;
constexpr uint64_t kRowsRoom = 64 * 1024;
// A value that grows each time it is read has somebody who writes it all the time.
constexpr uint32_t kRowTriesMax = 1000;

void lend_room(ListRow* row) {
  if (row->value.size() < kRowRoom) row->value.resize(kRowRoom);
  row->entry = {};
  row->entry.room = reinterpret_cast<std::byte*>(row->value.data());
  row->entry.room_bytes = row->value.size();
}

/// True: there was not enough, now there is.
bool more_room(Outcome outcome, ListRow* row) {
  if (outcome != Outcome::kTooLarge || row->entry.bytes <= row->value.size()) return false;
  row->value.resize(row->entry.bytes);
  return true;
}

}  // namespace

Outcome read_row(const shm::List& list, int64_t index, ListRow* out) {
  for (uint32_t tries = 0; tries < kRowTriesMax; ++tries) {
    lend_room(out);
    const Outcome outcome = list.get(index, &out->entry);
    if (more_room(outcome, out)) continue;
    out->value.resize(outcome == Outcome::kOk ? out->entry.bytes : 0);
    out->entry.room = nullptr;
    return outcome;
  }
  return Outcome::kCorrupt;
}

Outcome change_taking(shm::List& list, shm::ListActor& a, const shm::ListChange& asked,
                      shm::ListWritten* written, ListRow* taken) {
  shm::ListChange change = asked;
  change.previous = &taken->entry;
  for (uint32_t tries = 0; tries < kRowTriesMax; ++tries) {
    lend_room(taken);
    const Outcome outcome = list.change(a, change, written);
    if (more_room(outcome, taken)) continue;
    taken->value.resize(outcome == Outcome::kOk ? taken->entry.bytes : 0);
    taken->entry.room = nullptr;
    return outcome;
  }
  return Outcome::kCorrupt;
}

Outcome read_rows(const shm::List& list, int64_t from, size_t most, uint64_t bytes_max,
                  uint64_t if_revision, ListRows* out) {
  *out = {};
  uint64_t room_bytes = kRowsRoom, bytes = 0, revision = if_revision;
  std::unique_ptr<std::byte[]> room(new std::byte[room_bytes]);
  std::array<shm::ListEntry, kRowsAtOnce> entries;
  for (uint32_t tries = 0; tries < kRowTriesMax;) {
    shm::ListPage page;
    const int64_t at =
        out->rows.empty() ? from : static_cast<int64_t>(out->from + out->rows.size());
    const size_t n = std::min(entries.size(), most - out->rows.size());
    const Outcome outcome =
        list.page(at, entries.data(), n, room.get(), room_bytes, revision, &page);
    if (outcome == Outcome::kTooLarge && page.needed > room_bytes) {
      room_bytes = page.needed;
      room.reset(new std::byte[room_bytes]);
      ++tries;
      continue;
    }
    // Of a list that has gone on meanwhile what was read is a page.
    if (outcome == Outcome::kMismatch && !out->rows.empty()) return Outcome::kOk;
    out->revision = page.revision;
    out->length = page.length;
    if (outcome != Outcome::kOk) return outcome;
    if (out->rows.empty()) {
      const auto length = static_cast<int64_t>(page.length);
      out->from = static_cast<uint64_t>(std::clamp(at < 0 ? at + length : at, int64_t{0}, length));
    }
    revision = page.revision;
    for (size_t i = 0; i < page.n; ++i) {
      ListRow& row = out->rows.emplace_back();
      row.entry = entries[i];
      row.value.assign(reinterpret_cast<const char*>(row.entry.room), row.entry.bytes);
      row.entry.room = nullptr;
      bytes += row.entry.bytes;
    }
    const bool at_end = out->from + out->rows.size() >= page.length;
    if (page.n == 0 || at_end || out->rows.size() >= most || bytes >= bytes_max) {
      return Outcome::kOk;
    }
  }
  return Outcome::kCorrupt;
}

}  // namespace heddle::local
