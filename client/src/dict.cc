#include <heddle/dict.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "client/src/channel.h"
#include "client/src/dict_channel.h"
#include "proto/local/dict_lease.h"

namespace heddle {

namespace {

Status no_dict() {
  return Status(Reason::kInvalidArgument, "this handle has no dict; use Client::dict");
}

const std::string kNoName;

template <typename T>
std::optional<T> scalar_of(const DictValue& value, DictType type) {
  if (value.type != type || value.stored.size() != sizeof(T)) return std::nullopt;
  T out;
  std::memcpy(&out, value.stored.data(), sizeof out);
  return out;
}

constexpr std::size_t kPageRows = 4096;

// All pages, one after the other.
template <typename Each>
Status each_entry(detail::DictChannel& dict, const std::string& prefix, bool keys_only, Each each) {
  DictScanOptions options{.prefix = prefix, .keys_only = keys_only, .page_size = kPageRows};
  std::string place;
  do {
    DictPage page;
    Status status = dict.scan(options, place, &page);
    if (!status.ok()) return status;
    for (DictEntry& entry : page.entries) each(std::move(entry));
    place = std::move(page.next);
  } while (!place.empty());
  return {};
}

}  // namespace

std::optional<bool> DictValue::boolean() const {
  if (type != DictType::kBool || stored.size() != 1) return std::nullopt;
  return stored[0] != 0;
}
std::optional<std::int64_t> DictValue::integer() const {
  return scalar_of<std::int64_t>(*this, DictType::kInt64);
}
std::optional<double> DictValue::number() const {
  if (const auto whole = integer()) return static_cast<double>(*whole);
  return scalar_of<double>(*this, DictType::kDouble);
}
std::string_view DictValue::text() const {
  return type >= DictType::kString ? std::string_view(stored) : std::string_view();
}

std::string DictValue::to_json() const {
  nlohmann::json out;
  if (type == DictType::kJson) return stored;
  if (const auto value = boolean()) {
    out = *value;
  } else if (const auto whole = integer()) {
    out = *whole;
  } else if (const auto real = number()) {
    out = *real;
  } else if (type >= DictType::kString) {
    out = stored;
  }
  return out.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

const char* dict_outcome_name(DictOutcome outcome) noexcept {
  switch (outcome) {
    case DictOutcome::kDone:
      return "OK";
    case DictOutcome::kNotFound:
      return "NOT_FOUND";
    case DictOutcome::kExists:
      return "EXISTS";
    case DictOutcome::kMismatch:
      return "MISMATCH";
  }
  return "UNKNOWN";
}

const char* dict_event_name(DictEventKind kind) noexcept {
  switch (kind) {
    case DictEventKind::kPut:
      return "PUT";
    case DictEventKind::kDelete:
      return "DELETE";
    case DictEventKind::kExpire:
      return "EXPIRE";
    case DictEventKind::kEvict:
      return "EVICT";
    case DictEventKind::kClear:
      return "CLEAR";
    case DictEventKind::kSnapshot:
      return "SNAPSHOT";
    case DictEventKind::kSnapshotDone:
      return "SNAPSHOT_DONE";
  }
  return "UNKNOWN";
}

Result<DictEvent> DictWatch::next(std::chrono::nanoseconds timeout) {
  if (!watch_) return Status(Reason::kInvalidArgument, "this watch is of no dict");
  DictEvent event;
  Status status = watch_->next(detail::deadline_after(timeout), &event);
  if (!status.ok()) return status;
  return event;
}

std::uint64_t DictWatch::next_revision() const noexcept {
  return watch_ ? watch_->next_revision() : 0;
}

const std::string& Dict::name() const { return dict_ ? dict_->name() : kNoName; }

Status Dict::get_into(std::string_view key, std::span<std::byte> room, DictRead* read) {
  if (!dict_) return no_dict();
  return dict_->get_into(key, room, read);
}

Result<DictGot> Dict::get(std::string_view key) {
  if (!dict_) return no_dict();
  DictGot got;
  Status status = dict_->get(key, &got);
  if (!status.ok()) return status;
  return got;
}

Result<std::vector<std::optional<DictEntry>>> Dict::get_many(
    std::span<const std::string_view> keys) {
  if (!dict_) return no_dict();
  std::vector<std::optional<DictEntry>> out;
  out.reserve(keys.size());
  Status status = dict_->get_many(keys, &out);
  if (!status.ok()) return status;
  return out;
}

Result<bool> Dict::contains(std::string_view key) {
  DictRead read;
  const Status status = get_into(key, {}, &read);
  if (status.ok() || status.is(Reason::kTooLarge)) return true;
  if (status.is(Reason::kNotFound)) return false;
  return status;
}

Result<std::uint64_t> Dict::len() {
  auto all = info();
  if (!all) return std::move(all).status();
  return all->entries;
}

Result<std::uint64_t> Dict::revision() {
  if (!dict_) return no_dict();
  return dict_->revision();
}

Result<DictChanged> Dict::set(std::string_view key, const DictInput& value,
                              const DictSetOptions& options) {
  if (!dict_) return no_dict();
  if (value.type() == DictType::kJson &&
      !nlohmann::json::accept(reinterpret_cast<const char*>(value.data()),
                              reinterpret_cast<const char*>(value.data()) + value.length())) {
    return Status(Reason::kInvalidArgument, "the value is not JSON; write it as a string")
        .with_object("dict " + name());
  }
  DictChanged changed;
  Status status = dict_->write({key, &value, &options}, &changed);
  if (!status.ok()) return status;
  return changed;
}

Result<DictChanged> Dict::erase(std::string_view key, const DictSetOptions& options) {
  if (!dict_) return no_dict();
  DictChanged changed;
  Status status = dict_->write({key, nullptr, &options}, &changed);
  if (!status.ok()) return status;
  return changed;
}

Result<DictEntry> Dict::pop(std::string_view key) {
  auto changed = erase(key, {.return_previous = true});
  if (!changed) return std::move(changed).status();
  if (!*changed || !changed->previous) return Reason::kNotFound;
  return *std::move(changed->previous);
}

Result<DictEntry> Dict::setdefault(std::string_view key, const DictInput& value) {
  for (;;) {
    auto there = get(key);
    if (there) return static_cast<DictEntry>(*std::move(there));
    if (!there.status().is(Reason::kNotFound)) return std::move(there).status();
    auto made = set(key, value, {.if_absent = true});
    if (!made) return std::move(made).status();
    if (!*made) continue;  // somebody else was first
    DictEntry entry;
    entry.key = key;
    entry.value = {value.type(), {reinterpret_cast<const char*>(value.data()), value.length()}};
    entry.mod_revision = made->mod_revision;
    entry.create_revision = made->create_revision;
    entry.version = made->version;
    return entry;
  }
}

Dict::Updated Dict::update(std::span<const Pair> pairs) {
  Updated updated;
  updated.status = dict_ ? dict_->update(pairs, &updated.done, &updated.revision) : no_dict();
  return updated;
}

Result<std::uint64_t> Dict::clear() {
  if (!dict_) return no_dict();
  return dict_->clear();
}

Result<DictChanged> Dict::increment(std::string_view key, std::int64_t by, std::int64_t* now,
                                    const DictIncrementOptions& options) {
  if (!dict_) return no_dict();
  detail::DictIncrementSpec spec;
  spec.key = key;
  spec.by_integer = by;
  spec.initial_integer = static_cast<std::int64_t>(options.initial);
  spec.least_integer = options.least_integer.value_or(INT64_MIN);
  spec.most_integer = options.most_integer.value_or(INT64_MAX);
  spec.expiry = options.expiry;
  DictChanged changed;
  Status status = dict_->increment(spec, &changed);
  if (!status.ok()) return status;
  if (now != nullptr) *now = spec.now_integer;
  return changed;
}

Result<DictChanged> Dict::increment(std::string_view key, double by, double* now,
                                    const DictIncrementOptions& options) {
  if (!dict_) return no_dict();
  detail::DictIncrementSpec spec;
  spec.key = key;
  spec.is_integer = false;
  spec.by = by;
  spec.initial = options.initial;
  spec.least = options.least.value_or(-std::numeric_limits<double>::infinity());
  spec.most = options.most.value_or(std::numeric_limits<double>::infinity());
  spec.expiry = options.expiry;
  DictChanged changed;
  Status status = dict_->increment(spec, &changed);
  if (!status.ok()) return status;
  if (now != nullptr) *now = spec.now;
  return changed;
}

Result<DictChanged> Dict::append(std::string_view key, const DictInput& value,
                                 const DictSetOptions& options, std::size_t* length) {
  if (!dict_) return no_dict();
  if (value.type() != DictType::kString && value.type() != DictType::kBytes) {
    return Status(Reason::kInvalidArgument, "only strings and bytes can be appended")
        .with_object("dict " + name());
  }
  DictChanged changed;
  std::size_t total = 0;
  Status status = dict_->append(key, value, options, &changed, &total);
  if (!status.ok()) return status;
  if (length != nullptr) *length = total;
  return changed;
}

Result<DictChanged> Dict::touch(std::string_view key, const DictExpiry& expiry) {
  if (!dict_) return no_dict();
  DictChanged changed;
  Status status = dict_->touch(key, expiry, &changed);
  if (!status.ok()) return status;
  return changed;
}

Result<std::string> Dict::get_json(std::string_view key, std::string_view pointer) {
  if (!dict_) return no_dict();
  return dict_->get_json(key, pointer);
}

namespace {

Result<DictEdited> edited(const std::shared_ptr<detail::DictChannel>& dict,
                          const detail::DictEditSpec& spec) {
  if (!dict) return no_dict();
  DictEdited out;
  Status status = dict->edit(spec, &out);
  if (!status.ok()) return status;
  return out;
}

}  // namespace

Result<DictEdited> Dict::set_json(std::string_view key, std::string_view pointer,
                                  std::string_view json, const DictEditOptions& options) {
  return edited(dict_, {key, detail::DictEditWhat::kSet, pointer, json, &options});
}
Result<DictEdited> Dict::erase_json(std::string_view key, std::string_view pointer,
                                    const DictEditOptions& options) {
  return edited(dict_, {key, detail::DictEditWhat::kErase, pointer, {}, &options});
}
Result<DictEdited> Dict::merge_json(std::string_view key, std::string_view pointer,
                                    std::string_view json, const DictEditOptions& options) {
  return edited(dict_, {key, detail::DictEditWhat::kMerge, pointer, json, &options});
}
Result<DictEdited> Dict::patch_json(std::string_view key, std::string_view operations,
                                    const DictEditOptions& options) {
  return edited(dict_, {key, detail::DictEditWhat::kPatch, {}, operations, &options});
}
Result<DictEdited> Dict::increment_json(std::string_view key, std::string_view pointer,
                                        std::string_view by, const DictEditOptions& options) {
  return edited(dict_, {key, detail::DictEditWhat::kIncrement, pointer, by, &options});
}

Result<DictPage> Dict::scan(const DictScanOptions& options, const std::string& next) {
  if (!dict_) return no_dict();
  DictPage page;
  Status status = dict_->scan(options, next, &page);
  if (!status.ok()) return status;
  return page;
}

Result<std::vector<std::string>> Dict::keys(const std::string& prefix) {
  if (!dict_) return no_dict();
  std::vector<std::string> all;
  Status status = each_entry(*dict_, prefix, true,
                             [&](DictEntry entry) { all.push_back(std::move(entry.key)); });
  if (!status.ok()) return status;
  return all;
}

Result<std::vector<DictEntry>> Dict::items(const std::string& prefix) {
  if (!dict_) return no_dict();
  std::vector<DictEntry> all;
  Status status =
      each_entry(*dict_, prefix, false, [&](DictEntry entry) { all.push_back(std::move(entry)); });
  if (!status.ok()) return status;
  return all;
}

Result<std::vector<DictValue>> Dict::values(const std::string& prefix) {
  if (!dict_) return no_dict();
  std::vector<DictValue> all;
  Status status = each_entry(*dict_, prefix, false,
                             [&](DictEntry entry) { all.push_back(std::move(entry.value)); });
  if (!status.ok()) return status;
  return all;
}

Result<DictLeased> Dict::get_or_lease(std::string_view key, const DictLeaseOptions& options) {
  if (!dict_) return no_dict();
  const std::int64_t lease_ms = options.lease.count();
  if (lease_ms < 1 || lease_ms > local::kDictLeaseMsMax) {
    return Status(Reason::kInvalidArgument, "a lease is from 1 ms to a day")
        .with_object("dict " + name())
        .with_limit(local::kDictLeaseMsMax, static_cast<std::uint64_t>(lease_ms));
  }
  DictLeased out;
  Status status = dict_->get_or_lease(key, options, detail::deadline_after(options.timeout), &out);
  if (!status.ok()) return status;
  return out;
}

Result<bool> Dict::end_lease(std::string_view key, std::uint64_t lease) {
  if (!dict_) return no_dict();
  return dict_->end_lease(key, lease);
}

Result<DictWatch> Dict::watch(const DictWatchOptions& options) {
  if (!dict_) return no_dict();
  auto watch = dict_->watch(options);
  if (!watch) return std::move(watch).status();
  return detail::DictAccess::watch(*std::move(watch));
}

Result<DictTransacted> Dict::transact(std::span<const DictCompare> compares,
                                      std::span<const DictOperation> then,
                                      std::span<const DictOperation> otherwise,
                                      const std::optional<Fence>& fence) {
  if (!dict_) return no_dict();
  DictTransacted out;
  Status status = dict_->transact(compares, then, otherwise, fence, &out);
  if (!status.ok()) return status;
  return out;
}

Result<DictInfo> Dict::info() {
  if (!dict_) return no_dict();
  return dict_->info();
}

}  // namespace heddle
