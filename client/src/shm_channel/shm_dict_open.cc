// Dicts over shared memory: what the broker is asked for.
#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "client/src/shm_channel/member_json.h"
#include "client/src/shm_channel/shm_dict.h"
#include "client/src/shm_channel/wire_fields.h"

namespace heddle::detail {

using local::AttachType;

namespace {

using Json = nlohmann::json;

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

DictInfo info_of(const Json& row) {
  DictInfo info;
  const Json in_force = member_fields(row, &info);
  json_field(row, "entries", &info.entries);
  json_field(row, "bytes", &info.bytes);
  json_field(row, "revision", &info.revision);
  json_field(row, "oldest_revision", &info.oldest_revision);
  DictOptions& options = info.options;
  const auto number = [&](const char* key, auto* to) { json_field(in_force, key, &to->emplace()); };
  number("max_entries", &options.max_entries);
  number("max_bytes", &options.max_bytes);
  number("max_value_bytes", &options.max_value_bytes);
  number("max_key_bytes", &options.max_key_bytes);
  number("history", &options.history);
  number("keep_previous", &options.keep_previous);
  number("default_ttl_ms", &options.default_ttl_ms);
  json_word(in_force, "eviction", {"reject", "evict_oldest_write", "evict_lru", "evict_ttl_first"},
            &options.eviction);
  json_word(in_force, "ttl_on_overwrite", {"clear", "keep", "default"}, &options.ttl_on_overwrite);
  return info;
}

}  // namespace

Result<std::shared_ptr<DictChannel>> ShmChannel::open_dict(std::string_view name,
                                                           const DictOptions& options,
                                                           bool create) {
  local::Open open{};
  open.flags = open_flags(options, name, create);
  open.member.dict = wire_of(options);
  auto attachment = attach_member<shm::Dict>(open, options.group, name);
  if (!attachment) return attachment.status();
  return std::shared_ptr<DictChannel>(
      std::make_shared<ShmDict>(shared_from_this(), std::move(*attachment)));
}

Status ShmChannel::delete_dict(std::string_view name) {
  return remove(local::ObjectKind::kDict, name);
}

Result<DictInfo> ShmChannel::dict_info(std::string_view name) {
  return describe_member(*this, "dict", name, info_of);
}

Result<std::vector<DictInfo>> ShmChannel::dicts(std::string_view prefix) {
  return list_members(*this, "dict", prefix, info_of);
}

Result<DictInfo> ShmDict::info() {
  auto info = channel_->dict_info(name_);
  if (info.status().is(Reason::kNotFound)) {
    return Status(Reason::kClosed, "the dict was deleted").with_object("dict " + name_);
  }
  return info;
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
  out->revision = at.core.revision();
  return status;
}

}  // namespace heddle::detail
