#include "daemon/services/list_wire.h"

#include "daemon/objects/block.h"
#include "daemon/services/dict_wire.h"
#include "daemon/services/member_lookup.h"

namespace heddle::services {
namespace {

// What the options of both have: lifetime, mode, group.
template <class Wire, class Options>
Status common_options_from(const Wire& wire, Options* out) {
  take_given(wire.has_mode(), wire.mode(), &out->mode, local::kGivenMode, &out->given);
  if (wire.has_group()) out->given |= local::kGivenGroup;
  if (given_word(wire.lifetime(), 3, local::kGivenLifetime, &out->lifetime, &out->given)) return {};
  return {Reason::kInvalidArgument, "unknown options.lifetime"};
}

template <class Wire>
void common_info_to(const broker::MemberInfo& info, Wire* wire) {
  wire->set_name(info.name);
  auto* options = wire->mutable_options();
  options->set_mode(info.options.head.mode);
  options->set_lifetime(static_cast<v1::DictOptions::Lifetime>(info.options.head.lifetime + 1));
  options->set_group(std::to_string(info.gid));
  wire->set_uid(info.uid);
  wire->set_gid(info.gid);
  wire->set_object_id(info.object_id);
  wire->set_memory_bytes(info.memory_bytes);
  wire->set_attached(info.attached);
  wire->set_watching(info.waiting);
  wire->set_quarantined(info.quarantined);
}

}  // namespace

Status list_options_from(const v1::ListOptions& wire, broker::MemberOptions* out) {
  *out = {};
  local::ListOptionsWire& list = out->list;
  take_given(wire.has_max_len(), wire.max_len(), &list.max_len, local::kGivenMaxLen, &list.given);
  take_given(wire.has_max_bytes(), wire.max_bytes(), &list.max_bytes, local::kGivenMaxBytes,
             &list.given);
  take_given(wire.has_max_value_bytes(), wire.max_value_bytes(), &list.max_value_bytes,
             local::kGivenMaxValueBytes, &list.given);
  return common_options_from(wire, &list);
}

void list_info_to(const broker::MemberInfo& info, v1::ListInfo* wire) {
  common_info_to(info, wire);
  auto* options = wire->mutable_options();
  options->set_max_len(info.options.list.max_len);
  options->set_max_bytes(info.options.list.max_bytes);
  options->set_max_value_bytes(info.options.list.max_value_bytes);
  const auto list = std::static_pointer_cast<objects::List>(info.member);
  if (!list) return;
  const shm::ListInfo figures = list->figures();
  wire->set_length(figures.length);
  wire->set_bytes(figures.bytes);
  wire->set_revision(figures.revision);
}

void list_element_to(local::ListRow& row, v1::ListElement* wire) {
  dict_value_to(row.entry.kind, row.value, wire->mutable_value());
  wire->set_revision(row.entry.revision);
}

Status block_options_from(const v1::BlockOptions& wire, broker::MemberOptions* out) {
  *out = {};
  take_given(wire.has_size(), wire.size(), &out->block.size, local::kGivenSize, &out->block.given);
  return common_options_from(wire, &out->block);
}

void block_info_to(const broker::MemberInfo& info, v1::BlockInfo* wire) {
  common_info_to(info, wire);
  wire->mutable_options()->set_size(info.options.block.size);
  const auto block = std::static_pointer_cast<objects::Block>(info.member);
  if (!block) return;
  const shm::BlockInfo figures = block->figures();
  wire->set_version(figures.version);
  wire->set_writing(figures.writing);
  wire->set_writer_owner(figures.owner);
  wire->set_writer_thread(figures.thread);
  wire->set_torn(figures.torn);
  wire->set_torn_at(figures.torn_at);
  wire->set_torn_end(figures.torn_end);
}

}  // namespace heddle::services
