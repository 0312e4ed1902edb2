#include "daemon/server/attach_dicts.h"

#include <cstring>
#include <nlohmann/json.hpp>

#include "daemon/broker/dict_once.h"
#include "daemon/broker/dict_options.h"
#include "daemon/objects/block.h"
#include "daemon/objects/dict.h"
#include "daemon/objects/list.h"
#include "daemon/server/attach_calls.h"

namespace heddle::server {
namespace {

using nlohmann::json;

void dict_figures(const broker::MemberInfo& info, json& out) {
  const local::DictOptionsWire& options = info.options.dict;
  out["options"] = {{"max_entries", options.max_entries},
                    {"max_bytes", options.max_bytes},
                    {"max_value_bytes", options.max_value_bytes},
                    {"max_key_bytes", options.max_key_bytes},
                    {"history", options.history},
                    {"keep_previous", options.keep_previous != 0},
                    {"default_ttl_ms", options.default_ttl_ms},
                    {"eviction", broker::eviction_name(options.eviction)},
                    {"ttl_on_overwrite", broker::ttl_on_overwrite_name(options.ttl_on_overwrite)}};
  if (const auto dict = std::static_pointer_cast<objects::Dict>(info.member)) {
    out["entries"] = dict->len();
    out["bytes"] = dict->bytes();
    out["revision"] = dict->revision();
    out["oldest_revision"] = dict->oldest_revision();
  }
}

void list_figures(const broker::MemberInfo& info, json& out) {
  const local::ListOptionsWire& options = info.options.list;
  out["options"] = {{"max_len", options.max_len},
                    {"max_bytes", options.max_bytes},
                    {"max_value_bytes", options.max_value_bytes}};
  if (const auto list = std::static_pointer_cast<objects::List>(info.member)) {
    const shm::ListInfo figures = list->figures();
    out["length"] = figures.length;
    out["bytes"] = figures.bytes;
    out["revision"] = figures.revision;
  }
}

void block_figures(const broker::MemberInfo& info, json& out) {
  out["options"] = {{"size", info.options.block.size}};
  if (const auto block = std::static_pointer_cast<objects::Block>(info.member)) {
    const shm::BlockInfo figures = block->figures();
    out["version"] = figures.version;
    out["writing"] = figures.writing;
    out["writer_owner"] = figures.owner;
    out["writer_thread"] = figures.thread;
    out["torn"] = figures.torn;
    out["torn_at"] = figures.torn_at;
    out["torn_end"] = figures.torn_end;
  }
}

json member_json(const broker::MemberInfo& info) {
  static constexpr const char* kLifetime[] = {"kept", "attached", "session"};
  const local::MemberOptionsHead& head = info.options.head;
  char mode[8];
  std::snprintf(mode, sizeof mode, "%04o", head.mode & 0777u);
  json out = {{"kind", broker::FamilyTable::family_of(static_cast<uint8_t>(info.kind))->noun()},
              {"name", info.name},
              {"id", info.object_id},
              {"uid", info.uid},
              {"gid", info.gid},
              {"mode", mode},
              {"lifetime", kLifetime[head.lifetime % 3]},
              {"memory_bytes", info.memory_bytes},
              {"attached", info.attached},
              {"watching", info.waiting},
              {"quarantined", info.quarantined}};
  switch (info.kind) {
    case local::ObjectKind::kList:
      list_figures(info, out);
      break;
    case local::ObjectKind::kBlock:
      block_figures(info, out);
      break;
    default:
      dict_figures(info, out);
      break;
  }
  return out;
}

Status malformed() { return {Reason::kInvalidArgument, "bad packet: a fenced write of a dict"}; }

}  // namespace

bool member_kind(std::string_view noun, local::ObjectKind* out) {
  for (uint8_t kind = 0; kind < UINT8_MAX; ++kind) {
    const broker::Family* family = broker::FamilyTable::family_of(kind);
    if (family == nullptr || noun != family->noun()) continue;
    *out = family->kind();
    return true;
  }
  return false;
}

Result<std::string> list_members_json(broker::Core& core, const objects::Caller& caller,
                                      local::ObjectKind kind, std::string_view prefix,
                                      std::string_view page_token, uint32_t page_size,
                                      size_t bytes_max) {
  const auto found = core.list_members(caller, kind, prefix, page_token, page_size + size_t{1});
  json out = {{"objects", json::array()}, {"next_page_token", ""}};
  size_t bytes = kPageFrameBytes;
  for (size_t i = 0; i < found.size(); ++i) {
    json row = member_json(found[i]);
    bytes += text_of(row).size() + 1;
    if (i > 0 && (i == page_size || bytes > bytes_max)) {
      out["next_page_token"] = found[i - 1].name;
      break;
    }
    out["objects"].push_back(std::move(row));
  }
  return text_of(out);
}

Result<std::string> describe_member_json(broker::Core& core, const objects::Caller& caller,
                                         local::ObjectKind kind, std::string_view name) {
  const auto info = core.describe_member(caller, kind, name);
  if (!info.ok()) return info.status();
  return text_of(member_json(*info));
}

Result<local::PutDone> write_dict_fenced(broker::Core& core, const objects::Caller& caller,
                                         const local::PutFenced& head, std::string_view body) {
  local::DictFenced asked;
  if (body.size() < sizeof asked) return malformed();
  std::memcpy(&asked, body.data(), sizeof asked);
  body.remove_prefix(sizeof asked);
  if (asked.key_bytes > body.size() || asked.conditions > 3 || asked.owned > 1 ||
      asked.expiry > static_cast<uint8_t>(shm::DictExpiry::kSet) ||
      (asked.kind > static_cast<uint8_t>(shm::DictKind::kJson) &&
       asked.kind != static_cast<uint8_t>(shm::DictKind::kDeleted))) {
    return malformed();
  }
  const auto ref =
      core.find_member(caller, local::ObjectKind::kDict, head.name, broker::Need::kWrite);
  if (!ref.ok()) return ref.status();
  if (ref->object_id != head.object_id) {
    return Status(Reason::kClosed, "the dict was deleted").with_object(ref->member->label());
  }
  const auto fence = core.fence_of(caller, head.lock, head.token);
  if (!fence.ok()) return fence.status();
  const std::string_view key = body.substr(0, asked.key_bytes), value = body.substr(key.size());
  shm::DictWrite write;
  write.key = local::dict_key(key);
  write.value = value.data();
  write.bytes = value.size();
  write.kind = static_cast<shm::DictKind>(asked.kind);
  write.if_version = asked.if_version;
  write.if_absent = (asked.conditions & 1) != 0;
  write.if_present = (asked.conditions & 2) != 0;
  write.expiry = static_cast<shm::DictExpiry>(asked.expiry);
  write.expires_ms = asked.expires_ms;
  write.owner = asked.owned != 0 ? caller.session_id : 0;
  const std::string id =
      "local/" + std::to_string(caller.session_id) + "/" + std::to_string(head.number);
  broker::DictDone done;
  bool again = false;
  Status status = broker::change_dict_once(
      {core, caller, *ref, id, {key}},
      [&](broker::DictDone* made) {
        return static_cast<objects::Dict&>(*ref->member)
            .write(write, *fence, &made->outcome, &made->written);
      },
      &done, &again);
  if (!status.ok()) return status;
  if (done.outcome == shm::Outcome::kOk) return local::PutDone{done.written.revision, 0};
  return local::PutDone{
      local::kDictRefused | static_cast<uint64_t>(done.outcome) << 48 | done.written.revision, 0};
}

}  // namespace heddle::server
