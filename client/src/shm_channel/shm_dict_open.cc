// Dicts over shared memory: what the broker is asked for.
#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "client/src/shm_channel/shm_channel.h"
#include "client/src/shm_channel/shm_dict.h"
#include "client/src/shm_channel/wire_fields.h"

namespace heddle::detail {

using local::AttachType;

namespace {

using Json = nlohmann::json;

constexpr std::uint32_t kPageRows = 100;
constexpr std::size_t kPartBytes = 60'000;

local::DictOptionsWire wire_of(const DictOptions& options) {
  local::DictOptionsWire wire{};
  give(wire, options.max_entries, wire.max_entries, local::kGivenMaxEntries);
  give(wire, options.max_bytes, wire.max_bytes, local::kGivenMaxBytes);
  give(wire, options.max_value_bytes, wire.max_value_bytes, local::kGivenMaxValueBytes);
  if (options.max_key_bytes) {
    wire.max_key_bytes =
        static_cast<std::uint16_t>(std::min<std::uint32_t>(*options.max_key_bytes, UINT16_MAX));
    wire.given |= local::kGivenMaxKeyBytes;
  }
  give(wire, options.history, wire.history, local::kGivenHistory);
  give(wire, options.keep_previous, wire.keep_previous, local::kGivenKeepPrevious);
  give(wire, options.default_ttl_ms, wire.default_ttl_ms, local::kGivenDefaultTtl);
  give(wire, options.eviction, wire.eviction, local::kGivenEviction);
  give(wire, options.ttl_on_overwrite, wire.ttl_on_overwrite, local::kGivenTtlOnOverwrite);
  give(wire, options.lifetime, wire.lifetime, local::kGivenLifetime);
  give(wire, options.mode, wire.mode, local::kGivenMode);
  if (!options.group.empty()) wire.given |= local::kGivenGroup;
  return wire;
}

template <typename T>
void field(const Json& object, const char* key, T* out) {
  const auto at = object.find(key);
  if (at != object.end() && (at->is_number() || at->is_boolean() || at->is_string())) {
    at->get_to(*out);
  }
}

// Which of the words the field is; nothing if it is none.
template <typename Enum>
void word(const Json& object, const char* key, std::initializer_list<const char*> words,
          std::optional<Enum>* out) {
  std::string text;
  field(object, key, &text);
  const auto at = std::find(words.begin(), words.end(), text);
  if (at != words.end()) *out = static_cast<Enum>(at - words.begin());
}

DictInfo info_of(const Json& row) {
  DictInfo info;
  field(row, "name", &info.name);
  field(row, "id", &info.object_id);
  field(row, "uid", &info.uid);
  field(row, "gid", &info.gid);
  field(row, "entries", &info.entries);
  field(row, "bytes", &info.bytes);
  field(row, "revision", &info.revision);
  field(row, "oldest_revision", &info.oldest_revision);
  field(row, "memory_bytes", &info.memory_bytes);
  field(row, "attached", &info.attached);
  field(row, "watching", &info.watching);
  field(row, "quarantined", &info.quarantined);
  std::string mode;
  field(row, "mode", &mode);
  DictOptions& options = info.options;
  if (!mode.empty()) options.mode = static_cast<std::uint32_t>(std::stoul(mode, nullptr, 8));
  word(row, "lifetime", {"kept", "attached", "session"}, &options.lifetime);
  options.group = std::to_string(info.gid);
  const auto in_force = row.find("options");
  if (in_force == row.end() || !in_force->is_object()) return info;
  const auto number = [&](const char* key, auto* to) { field(*in_force, key, &to->emplace()); };
  number("max_entries", &options.max_entries);
  number("max_bytes", &options.max_bytes);
  number("max_value_bytes", &options.max_value_bytes);
  number("max_key_bytes", &options.max_key_bytes);
  number("history", &options.history);
  number("keep_previous", &options.keep_previous);
  number("default_ttl_ms", &options.default_ttl_ms);
  word(*in_force, "eviction", {"reject", "evict_oldest_write", "evict_lru", "evict_ttl_first"},
       &options.eviction);
  word(*in_force, "ttl_on_overwrite", {"clear", "keep", "default"}, &options.ttl_on_overwrite);
  return info;
}

Status unreadable() { return {Reason::kInternal, "the broker's answer is not JSON"}; }

}  // namespace

Result<std::shared_ptr<DictAttachment>> ShmChannel::attach_dict(std::string_view name,
                                                                const DictOptions& options,
                                                                bool create) {
  local::Open open{};
  open.kind = static_cast<std::uint8_t>(local::ObjectKind::kDict);
  if (create) open.flags = local::kOpenCreate | (options.open_existing ? 0 : local::kOpenExclusive);
  if (create && name.empty()) open.flags |= local::kOpenAnonymous;
  open.member.dict = wire_of(options);
  auto asked = open_object(open, options.group, name);
  if (!asked) return std::move(asked).status();
  auto& [session, opened, fd] = *asked;
  const bool writable = (opened.rights & local::kRightWrite) != 0;
  auto mapping = Mapping::map(fd.get(), opened.bytes, !writable);
  if (!mapping) return mapping.status();
  auto attachment = std::make_shared<DictAttachment>();
  attachment->session = std::move(session);
  attachment->mapping = std::move(*mapping);
  attachment->fd = std::move(fd);
  attachment->object_id = opened.object_id;
  attachment->rights = opened.rights;
  attachment->name = opened.name;
  const auto attached = shm::Dict::attach(attachment->mapping.base(), attachment->mapping.bytes(),
                                          writable ? attachment->fd.get() : -1, &attachment->dict);
  if (attached != shm::Outcome::kOk) {
    return Status(Reason::kVersionMismatch,
                  "its memory has another layout than this library knows, or is damaged")
        .with_object("dict " + attachment->name);
  }
  return attachment;
}

Result<std::shared_ptr<DictChannel>> ShmChannel::open_dict(std::string_view name,
                                                           const DictOptions& options,
                                                           bool create) {
  auto attachment = attach_dict(name, options, create);
  if (!attachment) return attachment.status();
  return std::shared_ptr<DictChannel>(
      std::make_shared<ShmDict>(shared_from_this(), std::move(*attachment)));
}

Status ShmChannel::delete_dict(std::string_view name) {
  return remove(local::ObjectKind::kDict, name);
}

Result<DictInfo> ShmChannel::dict_info(std::string_view name) {
  auto text = call(local::CallMethod::kDescribe, Json{{"kind", "dict"}, {"name", name}}.dump());
  if (!text) return text.status();
  const Json row = Json::parse(*text, nullptr, false);
  if (!row.is_object()) return unreadable();
  return info_of(row);
}

Result<std::vector<DictInfo>> ShmChannel::dicts(std::string_view prefix) {
  std::vector<DictInfo> rows;
  std::string token;
  do {
    const Json arguments{
        {"kind", "dict"}, {"prefix", prefix}, {"page_size", kPageRows}, {"page_token", token}};
    auto text = call(local::CallMethod::kList, arguments.dump());
    if (!text) return text.status();
    const Json page = Json::parse(*text, nullptr, false);
    if (!page.is_object() || !page.contains("objects")) return unreadable();
    for (const Json& row : page["objects"]) rows.push_back(info_of(row));
    token.clear();
    field(page, "next_page_token", &token);
  } while (!token.empty());
  return rows;
}

Result<DictInfo> ShmDict::info() {
  auto info = channel_->dict_info(name_);
  if (info.status().is(Reason::kNotFound)) {
    return Status(Reason::kClosed, "the dict was deleted").with_object("dict " + name_);
  }
  return info;
}

bool ShmDict::more_memory(DictAttachment& attachment, std::uint32_t extents, Status* status) {
  *status = ask_memory(attachment, "dict " + name_, {extents, 0}, monotonic_ns() + kGrantWaitNs);
  if (status->is(Reason::kSessionLost)) key_.store(0);
  return status->ok();
}

// The broker checks the token and writes in one turn, see PutFenced in proto/local/attach.h.
Status ShmDict::write_fenced(const DictWriteSpec& spec, const shm::DictWrite& write,
                             DictChanged* out) {
  const DictSetOptions& options = *spec.options;
  if (options.if_value || options.return_previous || options.lease != 0) {
    return Status(Reason::kUnsupported,
                  "over shared memory a fenced write has neither if_value, return_previous nor a "
                  "lease")
        .with_object("dict " + name_);
  }
  Status status;
  Hands* hands = this->hands(&status);
  if (hands == nullptr) return status;
  local::PutFenced head{};
  if (!copy_text(head.name, name_) || !copy_text(head.lock, options.fence->lock)) {
    return Status(Reason::kInvalidName, "the name of the lock is too long")
        .with_limit(sizeof head.lock - 1, options.fence->lock.size());
  }
  local::DictFenced asked{};
  asked.if_version = write.if_version;
  asked.expires_ms = write.expires_ms;
  asked.key_bytes = write.key.bytes;
  asked.kind = static_cast<std::uint8_t>(write.kind);
  asked.conditions = static_cast<std::uint8_t>(write.if_absent | write.if_present << 1);
  asked.expiry = static_cast<std::uint8_t>(write.expiry);
  asked.owned = write.owner != 0;
  std::string body(reinterpret_cast<const char*>(&asked), sizeof asked);
  body.append(spec.key);
  body.append(static_cast<const char*>(write.value), write.bytes);
  DictAttachment& at = *hands->dict;
  head.object_id = at.object_id;
  head.number = at.session->next_put_number();
  head.token = options.fence->token;
  head.body_bytes = body.size();
  head.object_kind = static_cast<std::uint8_t>(local::ObjectKind::kDict);
  local::PutDone done{};
  while (done.id == 0) {
    local::Packet answer;
    const std::string_view part = std::string_view(body).substr(head.offset, kPartBytes);
    status = at.session->request(AttachType::kPutFenced, local::bytes_of(head),
                                 std::as_bytes(std::span(part)), AttachType::kPutDone, &answer);
    if (!status.ok()) return status;
    if (!answer.read(&done) || done.bytes_there > body.size()) {
      return Status(Reason::kInternal, "the broker's answer to a write cannot be read");
    }
    head.offset = done.bytes_there;  // less than was sent: the broker was restarted in between
  }
  shm::DictWritten written;
  const bool refused = (done.id & local::kDictRefused) != 0;
  written.revision = refused ? done.id & ((std::uint64_t{1} << 48) - 1) : done.id;
  written.existed = refused && written.revision != 0;
  changed_from(refused ? static_cast<shm::Outcome>(done.id >> 48 & 0xff) : shm::Outcome::kOk,
               written, out);
  out->revision = at.dict.revision();
  return status;
}

}  // namespace heddle::detail
