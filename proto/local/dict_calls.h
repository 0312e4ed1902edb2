// What both planes do with a dict beyond one call of the memory protocol: values of any size,
// filtered pages, changes in a row, documents. Client library and broker call the same functions.
//
// Outcomes as in proto/shm/dict.h; nothing here blocks, and everything here may be called over a
// read-only mapping unless it takes a DictActor&.
#pragma once

#include <heddle/result.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "proto/local/json_document.h"
#include "proto/local/memory_asks.h"
#include "proto/shm/dict.h"
#include "proto/shm/dict_grant.h"

namespace heddle::local {

struct DictItem {
  std::string key, value;
  shm::DictEntry entry;  // its room is of no use any more
};

inline shm::DictKey dict_key(std::string_view key) {
  return {key.data(), static_cast<uint32_t>(key.size() < UINT32_MAX ? key.size() : UINT32_MAX)};
}

/// The whole value. kOk, kNotFound, kCorrupt.
shm::Outcome read_item(const shm::Dict& dict, std::string_view key, shm::DictActor* helper,
                       DictItem* out);
/// As Dict::write(); *previous is what it replaced (written->existed), exactly.
shm::Outcome write_returning(shm::Dict& dict, shm::DictActor& a, const shm::DictWrite& write,
                             shm::DictWritten* written, DictItem* previous);
/// Reads the document, changes it, writes it if nobody has written since, or again. Conditions and
/// expiry as in `write`, whose value is not looked at. kMismatch as well when the value is no JSON
/// or text; *why says what is wrong with the edit (then nothing was written).
shm::Outcome edit_document(shm::Dict& dict, shm::DictActor& a, const shm::DictWrite& write,
                           const JsonEdit& edit, shm::DictWritten* written, std::string* at,
                           Status* why);

/// Keys that begin so are leases, see dict_lease.h.
inline constexpr std::string_view kDictLeasePrefix{"\0lease\0", 7};
/// Whether whoever asks for this prefix sees the key.
inline bool dict_key_seen(std::string_view key, std::string_view prefix) {
  return key.starts_with(prefix) &&
         (!key.starts_with(kDictLeasePrefix) || prefix.starts_with(kDictLeasePrefix));
}

struct DictFilter {
  std::string prefix;
  std::string from, to;  // from <= key < to, by bytes; empty: no bound
  bool keys_only = false;
  bool admits(std::string_view key) const {
    return dict_key_seen(key, prefix) && key >= from && (to.empty() || key < to);
  }
};
/// Where a scan goes on, and the revision at which it began. As text: 48 digits.
struct DictPlace {
  shm::DictCursor cursor{};
  uint64_t revision = 0;
  std::string to_text() const;
  static bool parse(std::string_view text, DictPlace* out);
};
/// Up to `rows_max` more entries that pass, while their bytes are below `bytes_max`. Gives up for
/// now after `looks_max` looks into the dict, so a page may be short or empty; place->cursor.done
/// says when it was the last one.
shm::Outcome scan_page(const shm::Dict& dict, const DictFilter& filter, size_t rows_max,
                       uint64_t bytes_max, uint32_t looks_max, DictPlace* place,
                       std::vector<DictItem>* rows);

struct DictEvent {
  uint64_t revision = 0;
  DictItem item;  // entry.kind: a value's, or why the key went
  bool had_previous = false;
  DictItem previous;  // without key
};
/// The next change that is due: one revision of a transaction has several.
struct DictNext {
  uint64_t revision = 1;
  uint32_t at = 0;
};
/// Changes from *next on whose key begins with `prefix`, up to `max` of them or `bytes_max`. kOk
/// (perhaps none: there are no more now), kOutOfRange, kCorrupt. *next moves on.
shm::Outcome read_changes(const shm::Dict& dict, std::string_view prefix, bool want_previous,
                          size_t max, uint64_t bytes_max, DictNext* next,
                          std::vector<DictEvent>* out);

/// One operation of a transaction: a get, or a write as in Dict::write().
struct DictStep {
  bool get = false;
  shm::DictWrite write{};
};
struct DictStepDone {
  shm::Outcome outcome = shm::Outcome::kOk;  // of a get: kOk, kNotFound
  shm::DictWritten written{};
  DictItem item;  // of a get, as it was before
};
/// As Dict::transact(), with values of any size. *out has one for each operation of the branch.
shm::Outcome transact(shm::Dict& dict, shm::DictActor& a,
                      const std::vector<shm::DictCompare>& compares,
                      const std::vector<DictStep>& first, const std::vector<DictStep>& other,
                      shm::DictTransacted* done, std::vector<DictStepDone>* out);

}  // namespace heddle::local
