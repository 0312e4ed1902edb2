#include "client/src/shm_channel/shm_dict.h"

#include <algorithm>
#include <utility>

#include "client/src/shm_channel/shm_channel.h"
#include "proto/local/dict_status.h"

namespace heddle::detail {

using shm::Outcome;

namespace {

using std::chrono::milliseconds;
using std::chrono::system_clock;

static_assert(static_cast<int>(shm::DictKind::kJson) == static_cast<int>(DictType::kJson));
constexpr std::uint64_t kScanBytes = 1 << 20;

void expiry_to(const DictExpiry& expiry, shm::DictWrite* out) {
  milliseconds left{};
  if (const auto* fixed = std::get_if<DictExpiry::Fixed>(&expiry.how())) {
    out->expiry = *fixed == DictExpiry::Fixed::kKeep    ? shm::DictExpiry::kKeep
                  : *fixed == DictExpiry::Fixed::kNever ? shm::DictExpiry::kClear
                                                        : shm::DictExpiry::kPolicy;
    return;
  }
  if (const auto* ttl = std::get_if<milliseconds>(&expiry.how())) {
    left = *ttl;
  } else {
    left = std::chrono::duration_cast<milliseconds>(
        std::get<system_clock::time_point>(expiry.how()) - system_clock::now());
  }
  out->expiry = shm::DictExpiry::kSet;
  // 0 would be never.
  out->expires_ms = std::max<std::int64_t>(shm::dict_now_ms() + left.count(), 1);
}

shm::DictWrite write_of(std::string_view key, const DictInput* value, const DictSetOptions& options,
                        std::uint64_t session) {
  shm::DictWrite write;
  write.key = local::dict_key(key);
  write.kind = shm::DictKind::kDeleted;
  if (value != nullptr) {
    write.value = value->data();
    write.bytes = value->length();
    write.kind = static_cast<shm::DictKind>(value->type());
  }
  write.if_absent = options.if_absent;
  write.if_present = options.if_present;
  if (options.if_version) write.if_version = *options.if_version;
  if (options.if_value) {
    write.if_value = options.if_value->data();
    write.if_value_bytes = options.if_value->length();
    write.if_value_kind = static_cast<shm::DictKind>(options.if_value->type());
  }
  expiry_to(options.expiry, &write);
  if (options.session) write.owner = session;
  return write;
}

}  // namespace

std::uint64_t session_of(const DictAttachment& attachment) {
  return std::uint64_t{attachment.session->generation()} << 16 | attachment.session->owner();
}

void meta_from(const shm::DictEntry& entry, DictMeta* out) {
  out->mod_revision = entry.mod_revision;
  out->create_revision = entry.create_revision;
  out->version = entry.version;
  out->session = entry.owner;
  if (entry.expires_ms != 0) {
    out->ttl = milliseconds(std::max<std::int64_t>(entry.expires_ms - shm::dict_now_ms(), 0));
  } else {
    out->ttl.reset();
  }
}

DictEntry entry_from(local::DictItem item) {
  DictEntry entry;
  meta_from(item.entry, &entry);
  entry.key = std::move(item.key);
  entry.value = {static_cast<DictType>(shm::is_value(item.entry.kind) ? item.entry.kind : 0),
                 std::move(item.value)};
  return entry;
}

void changed_from(Outcome outcome, const shm::DictWritten& written, DictChanged* out) {
  out->outcome = outcome == Outcome::kOk         ? DictOutcome::kDone
                 : outcome == Outcome::kNotFound ? DictOutcome::kNotFound
                 : outcome == Outcome::kExists   ? DictOutcome::kExists
                                                 : DictOutcome::kMismatch;
  out->existed = written.existed;
  out->mod_revision = written.revision;
  out->create_revision = written.create_revision;
  out->version = written.version;
}

Status ShmDict::explain(Outcome outcome, DictAttachment& attachment, std::uint64_t key_bytes,
                        std::uint64_t value_bytes, std::uint64_t revision) {
  return local::dict_status(outcome, {name_, &attachment.core, key_bytes, value_bytes, revision});
}

// No status unless there is something to say: it would have to be destroyed.
Status ShmDict::get_into(std::string_view key, std::span<std::byte> room, DictRead* read) {
  Hands* hands = hands_now();
  if (hands == nullptr) [[unlikely]] {
    Status status;
    hands = hands_slow(&status);
    if (hands == nullptr) return status;
  }
  shm::DictEntry entry;
  entry.room = room.data();
  entry.room_bytes = room.size();
  const Outcome outcome = hands->dict->core.get(local::dict_key(key), &entry, hands->dict_actor);
  if (outcome == Outcome::kNotFound) return Reason::kNotFound;
  read->type = static_cast<DictType>(entry.kind);
  read->length = entry.bytes;
  read->mod_revision = entry.mod_revision;
  read->create_revision = entry.create_revision;
  read->version = entry.version;
  read->session = entry.owner;
  if (entry.expires_ms == 0) [[likely]] {
    read->ttl.reset();
  } else {
    meta_from(entry, read);
  }
  if (outcome == Outcome::kOk) [[likely]]
    return {};
  if (outcome == Outcome::kTooLarge) return Reason::kTooLarge;
  return explain(outcome, *hands->dict, key.size());
}

Status ShmDict::get(std::string_view key, DictGot* out) {
  Status status;
  Hands* hands = this->hands(&status);
  if (hands == nullptr) return status;
  local::DictItem item;
  const Outcome outcome = local::read_item(hands->dict->core, key, hands->dict_actor, &item);
  if (outcome == Outcome::kNotFound) return Reason::kNotFound;
  if (outcome != Outcome::kOk) return explain(outcome, *hands->dict, key.size());
  static_cast<DictEntry&>(*out) = entry_from(std::move(item));
  out->revision = hands->dict->core.revision();
  return {};
}

Status ShmDict::get_many(std::span<const std::string_view> keys,
                         std::vector<std::optional<DictEntry>>* out) {
  Status status;
  Hands* hands = this->hands(&status);
  if (hands == nullptr) return status;
  for (const std::string_view key : keys) {
    local::DictItem item;
    const Outcome outcome = local::read_item(hands->dict->core, key, hands->dict_actor, &item);
    auto& entry = out->emplace_back();
    if (outcome == Outcome::kOk) entry = entry_from(std::move(item));
    if (outcome != Outcome::kOk && outcome != Outcome::kNotFound) {
      return explain(outcome, *hands->dict, key.size());
    }
  }
  return {};
}

Status ShmDict::write(const DictWriteSpec& spec, DictChanged* out) {
  const DictSetOptions& options = *spec.options;
  Status status;
  Hands* hands = writing_hands(&status);
  if (hands == nullptr) return status;
  const shm::DictWrite write = write_of(spec.key, spec.value, options, session_of(*hands->dict));
  if (options.fence) return write_fenced(spec, write, out);
  Outcome outcome = Outcome::kOk;
  shm::DictWritten written;
  local::DictItem previous;
  status = change(
      spec.key.size(), write.bytes,
      [&](DictAttachment& at, shm::DictActor& actor) {
        if (options.lease != 0) {
          return local::write_leased(at.core, actor, write, options.lease, &written);
        }
        return options.return_previous
                   ? local::write_returning(at.core, actor, write, &written, &previous)
                   : at.core.write(actor, write, &written);
      },
      &outcome, &out->revision);
  if (!status.ok()) return status;
  changed_from(outcome, written, out);
  if (options.return_previous && outcome == Outcome::kOk && written.existed) {
    out->previous = entry_from(std::move(previous));
  }
  return status;
}

Status ShmDict::update(std::span<const Dict::Pair> pairs, std::size_t* done,
                       std::uint64_t* revision) {
  *done = 0;
  for (const Dict::Pair& pair : pairs) {
    const DictSetOptions options{.expiry = pair.expiry};
    DictChanged changed;
    Status status = write({pair.key, &pair.value, &options}, &changed);
    if (!status.ok()) return status;
    *revision = changed.revision;
    ++*done;
  }
  return {};
}

Result<std::uint64_t> ShmDict::clear() {
  Outcome outcome = Outcome::kOk;
  std::uint64_t cleared = 0;
  Status status = change(
      0, 0,
      [&](DictAttachment& at, shm::DictActor& actor) {
        std::uint64_t n = 0;
        const Outcome result = at.core.clear(actor, &n);
        cleared += n;
        return result;
      },
      &outcome, nullptr);
  if (!status.ok()) return status;
  return cleared;
}

Status ShmDict::increment(DictIncrementSpec& spec, DictChanged* out) {
  Outcome outcome = Outcome::kOk;
  shm::DictWritten written;
  shm::DictWrite expiry;
  expiry_to(spec.expiry, &expiry);
  Status status = change(
      spec.key.size(), sizeof(std::int64_t),
      [&](DictAttachment& at, shm::DictActor& actor) {
        const shm::DictKey key = local::dict_key(spec.key);
        spec.now_integer = spec.initial_integer;
        spec.now = spec.initial;
        return spec.is_integer
                   ? at.core.increment(actor, key, spec.by_integer, spec.least_integer,
                                       spec.most_integer, &spec.now_integer, &written,
                                       expiry.expiry, expiry.expires_ms)
                   : at.core.increment(actor, key, spec.by, spec.least, spec.most, &spec.now,
                                       &written, expiry.expiry, expiry.expires_ms);
      },
      &outcome, &out->revision);
  if (status.ok()) changed_from(outcome, written, out);
  return status;
}

Status ShmDict::append(std::string_view key, const DictInput& value, const DictSetOptions& options,
                       DictChanged* out, std::size_t* length) {
  Outcome outcome = Outcome::kOk;
  shm::DictWritten written;
  Status status = change(
      key.size(), value.length(),
      [&](DictAttachment& at, shm::DictActor& actor) {
        const shm::DictWrite write = write_of(key, &value, options, session_of(at));
        std::uint64_t total = 0;
        const Outcome result = at.core.append(actor, write, &total, &written);
        *length = total;
        return result;
      },
      &outcome, &out->revision);
  if (status.ok()) changed_from(outcome, written, out);
  return status;
}

Status ShmDict::touch(std::string_view key, const DictExpiry& expiry, DictChanged* out) {
  Outcome outcome = Outcome::kOk;
  shm::DictWritten written;
  shm::DictWrite when;
  expiry_to(expiry, &when);
  if (when.expiry != shm::DictExpiry::kSet && when.expiry != shm::DictExpiry::kClear) {
    return Status(Reason::kInvalidArgument, "a touch says how long, until when, or never")
        .with_object("dict " + name_);
  }
  Status status = change(
      key.size(), 0,
      [&](DictAttachment& at, shm::DictActor& actor) {
        return at.core.touch(actor, local::dict_key(key), when.expiry, when.expires_ms, &written);
      },
      &outcome, &out->revision);
  if (status.ok()) changed_from(outcome, written, out);
  return status;
}

Result<std::string> ShmDict::get_json(std::string_view key, std::string_view pointer) {
  DictGot got;
  if (Status status = get(key, &got); !status.ok()) return status;
  if (got.value.type != DictType::kJson && got.value.type != DictType::kString) {
    return Status(Reason::kInvalidArgument, "the value is neither JSON nor text")
        .with_object("dict " + name_);
  }
  auto at = local::json_at(got.value.stored, pointer);
  if (!at.ok()) return Status(at.status()).with_object("dict " + name_);
  return at;
}

Status ShmDict::edit(const DictEditSpec& spec, DictEdited* out) {
  local::JsonEdit edit;
  edit.what = static_cast<local::JsonEdit::What>(spec.what);
  edit.pointer = spec.pointer;
  edit.text = spec.json;
  edit.least = spec.options->least;
  edit.most = spec.options->most;
  const DictSetOptions& options = spec.options->conditions;
  if (options.fence) {
    return Status(Reason::kUnsupported,
                  "over shared memory a document is not edited with a fence; get it, and set it "
                  "with if_version and the fence")
        .with_object("dict " + name_);
  }
  Outcome outcome = Outcome::kOk;
  shm::DictWritten written;
  Status why;
  Status status = change(
      spec.key.size(), spec.json.size(),
      [&](DictAttachment& at, shm::DictActor& actor) {
        const shm::DictWrite write = write_of(spec.key, nullptr, options, session_of(at));
        return local::edit_document(at.core, actor, write, edit, &written, &out->json, &why);
      },
      &outcome, &out->changed.revision);
  if (!status.ok()) return status;
  if (!why.ok()) return std::move(why).with_object("dict " + name_);
  changed_from(outcome, written, &out->changed);
  return status;
}

Status ShmDict::scan(const DictScanOptions& options, const std::string& place, DictPage* out) {
  Status status;
  Hands* hands = this->hands(&status);
  if (hands == nullptr) return status;
  const shm::Dict& dict = hands->dict->core;
  local::DictPlace at;
  if (place.empty()) {
    at.revision = dict.revision();
  } else if (!local::DictPlace::parse(place, &at)) {
    return Status(Reason::kInvalidArgument, "that is no place in a scan")
        .with_object("dict " + name_);
  }
  std::vector<local::DictItem> rows;
  const local::DictFilter filter{options.prefix, options.from, options.to, options.keys_only};
  const Outcome outcome =
      local::scan_page(dict, filter, std::max<std::size_t>(options.page_size, 1), kScanBytes,
                       UINT32_MAX, &at, &rows);
  if (outcome != Outcome::kOk) return explain(outcome, *hands->dict);
  out->entries.reserve(rows.size());
  for (local::DictItem& row : rows) out->entries.push_back(entry_from(std::move(row)));
  out->revision = at.revision;
  if (!at.cursor.done) out->next = at.to_text();
  return status;
}

Result<std::uint64_t> ShmDict::revision() {
  Status status;
  Hands* hands = this->hands(&status);
  if (hands == nullptr) return status;
  return hands->dict->core.revision();
}

Result<std::shared_ptr<DictWatchChannel>> ShmDict::watch(const DictWatchOptions& options) {
  return watch_shm_dict(std::static_pointer_cast<ShmDict>(shared_from_this()), options);
}

namespace {

std::vector<local::DictStep> steps_of(std::span<const DictOperation> asked, std::uint64_t session,
                                      std::uint64_t* bytes) {
  std::vector<local::DictStep> steps;
  steps.reserve(asked.size());
  for (const DictOperation& one : asked) {
    const bool sets = one.what == DictOperation::What::kSet;
    steps.push_back({one.what == DictOperation::What::kGet,
                     write_of(one.key, sets ? &one.value : nullptr, one.options, session)});
    *bytes += steps.back().write.bytes;
  }
  return steps;
}

std::vector<shm::DictCompare> tests_of(std::span<const DictCompare> asked) {
  std::vector<shm::DictCompare> tests;
  tests.reserve(asked.size());
  for (const DictCompare& one : asked) {
    tests.push_back({local::dict_key(one.key), static_cast<shm::DictCompare::What>(one.what),
                     static_cast<shm::DictCompare::Sign>(one.sign), one.number, one.value.data(),
                     one.value.length(), static_cast<shm::DictKind>(one.value.type())});
  }
  return tests;
}

DictOperationResult result_of(local::DictStepDone done, bool get, std::uint64_t revision) {
  DictOperationResult result;
  if (get && done.outcome == Outcome::kOk) {
    result.entry = entry_from(std::move(done.item));
  } else if (!get) {
    changed_from(done.outcome, done.written, &result.changed);
    result.changed.revision = revision;
  }
  return result;
}

}  // namespace

Status ShmDict::transact(std::span<const DictCompare> compares, std::span<const DictOperation> then,
                         std::span<const DictOperation> otherwise,
                         const std::optional<Fence>& fence, DictTransacted* out) {
  if (fence) {
    return Status(Reason::kUnsupported, "over shared memory a transaction carries no fence")
        .with_object("dict " + name_);
  }
  Status status;
  Hands* hands = writing_hands(&status);
  if (hands == nullptr) return status;
  const std::uint64_t session = session_of(*hands->dict);
  std::uint64_t bytes = 0;
  const auto first = steps_of(then, session, &bytes), other = steps_of(otherwise, session, &bytes);
  const auto tests = tests_of(compares);
  shm::DictTransacted done;
  std::vector<local::DictStepDone> steps;
  Outcome outcome = Outcome::kOk;
  status = change(
      0, bytes,
      [&](DictAttachment& at, shm::DictActor& actor) {
        return local::transact(at.core, actor, tests, first, other, &done, &steps);
      },
      &outcome, nullptr);
  if (outcome == Outcome::kOutOfRange) {
    return Status(Reason::kInvalidArgument,
                  "a transaction has up to 1,024 compares and operations, and writes no key twice")
        .with_object("dict " + name_);
  }
  if (!status.ok()) return status;
  DictChanged changed;
  changed_from(outcome, {}, &changed);
  out->outcome = changed.outcome;
  out->refused = done.refused;
  out->held = done.held;
  out->revision = done.revision;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const bool get = (done.held ? first : other)[i].get;
    out->results.push_back(result_of(std::move(steps[i]), get, done.revision));
  }
  return status;
}

}  // namespace heddle::detail
