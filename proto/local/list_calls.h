// What both planes do with a list beyond one call of the memory protocol: values of any size,
// pages, and what a change takes out. Client library and broker call the same functions.
//
// Outcomes as in proto/shm/list.h; nothing here blocks, and everything here may be called over a
// read-only mapping unless it takes a ListActor&.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "proto/local/memory_asks.h"
#include "proto/shm/list.h"

namespace heddle::local {

struct ListRow {
  std::string value;
  shm::ListEntry entry;  // its room is of no use any more
};

/// The whole value. kOk, kOutOfRange, kCorrupt.
shm::Outcome read_row(const shm::List& list, int64_t index, ListRow* out);

struct ListRows {
  std::vector<ListRow> rows;
  uint64_t from = 0;  // index of the first of them; without one, where it would be
  uint64_t length = 0, revision = 0;
};
/// Up to `most` elements from `from` on, of one revision, while their bytes are below `bytes_max`;
/// one at least unless `from` is at the end. `from` below 0 counts from the end; before the first
/// element it is that one, behind the end the end. `most` is not 0. kOk, kMismatch (the revision is
/// filled in), kCorrupt.
shm::Outcome read_rows(const shm::List& list, int64_t from, size_t most, uint64_t bytes_max,
                       uint64_t if_revision, ListRows* out);

/// As List::change(); *taken is what the change takes out of the list, whole.
shm::Outcome change_taking(shm::List& list, shm::ListActor& a, const shm::ListChange& change,
                           shm::ListWritten* written, ListRow* taken);

}  // namespace heddle::local
