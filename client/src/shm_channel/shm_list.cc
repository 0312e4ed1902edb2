// A list over shared memory: every operation ends in the same shm::List function that the broker
// calls for remote clients.
#include <algorithm>
#include <utility>

#include "client/src/list_channel.h"
#include "client/src/shm_channel/member_json.h"
#include "client/src/shm_channel/nap.h"
#include "client/src/shm_channel/shm_member.h"
#include "client/src/shm_channel/wire_fields.h"
#include "proto/local/list_calls.h"
#include "proto/local/list_status.h"

namespace heddle::detail {

using shm::Outcome;

namespace {

constexpr std::uint64_t kSliceBytes = 1 << 20;

ListItem item_from(local::ListRow row) {
  return {{static_cast<DictType>(row.entry.kind), std::move(row.value)}, row.entry.revision};
}

shm::ListChange change_of(const ListChangeSpec& spec) {
  shm::ListChange change;
  switch (spec.what) {
    case ListChangeWhat::kAppend:
      break;
    case ListChangeWhat::kInsert:
      change.index = spec.index;
      break;
    case ListChangeWhat::kSet:
      change.op = shm::ListOp::kSet;
      change.index = spec.index;
      break;
    case ListChangeWhat::kPop:
    case ListChangeWhat::kRemove:
      change.op = shm::ListOp::kRemove;
      change.index = spec.index;
      break;
    case ListChangeWhat::kClear:
      change.op = shm::ListOp::kClear;
      break;
  }
  if (spec.value != nullptr) {
    change.value = spec.value->data();
    change.bytes = spec.value->length();
    change.kind = static_cast<std::uint8_t>(spec.value->type());
  }
  if (spec.if_revision) change.if_revision = *spec.if_revision;
  return change;
}

class ShmList final : public ListChannel, public ShmMember<shm::List> {
 public:
  using ShmMember::ShmMember;
  const std::string& name() const override { return name_; }

  Status get(std::int64_t index, ListItem* out) override {
    Status status;
    Hands* hands = this->hands(&status);
    if (hands == nullptr) return status;
    local::ListRow row;
    const Outcome outcome = local::read_row(hands->list->core, index, &row);
    if (outcome != Outcome::kOk) return explain(outcome, *hands->list, index);
    *out = item_from(std::move(row));
    return {};
  }

  Status slice(std::int64_t from, std::size_t most, std::optional<std::uint64_t> if_revision,
               ListPage* out) override {
    Status status;
    Hands* hands = this->hands(&status);
    if (hands == nullptr) return status;
    const std::uint64_t revision = if_revision.value_or(shm::kListAnyRevision);
    local::ListRows page;
    const Outcome outcome =
        local::read_rows(hands->list->core, from, most, kSliceBytes, revision, &page);
    if (outcome != Outcome::kOk) return explain(outcome, *hands->list, from, 0, revision);
    out->items.reserve(page.rows.size());
    for (local::ListRow& row : page.rows) out->items.push_back(item_from(std::move(row)));
    out->from = page.from;
    out->length = page.length;
    out->revision = page.revision;
    return {};
  }

  Status change(const ListChangeSpec& spec, ListTaken* out) override {
    const shm::ListChange change = change_of(spec);
    const bool takes = spec.what == ListChangeWhat::kPop;
    Outcome outcome = Outcome::kOk;
    shm::ListWritten written;
    local::ListRow taken;
    ListAttachment* used = nullptr;
    Status status = run(
        change.bytes,
        [&](ListAttachment& at, shm::ListActor& actor) {
          return takes ? local::change_taking(at.core, actor, change, &written, &taken)
                       : at.core.change(actor, change, &written);
        },
        &outcome, &used);
    if (!status.ok()) return status;
    if (outcome != Outcome::kOk) {
      return explain(outcome, *used, change.index, change.bytes, change.if_revision);
    }
    out->index = written.index;
    out->length = written.length;
    out->revision = written.revision;
    if (takes) out->item = item_from(std::move(taken));
    return status;
  }

  Status figures(std::uint64_t* length, std::uint64_t* revision) override {
    Status status;
    Hands* hands = this->hands(&status);
    if (hands == nullptr) return status;
    shm::ListInfo now;
    const Outcome outcome = hands->list->core.info(&now);
    *length = now.length;
    *revision = now.revision;
    return explain(outcome, *hands->list);
  }

  Status wait_change(std::uint64_t revision, std::int64_t deadline_ns,
                     std::uint64_t* now) override {
    std::int64_t next_look_ns = 0;
    for (;;) {
      std::uint64_t length = 0;
      Status status = figures(&length, now);
      if (!status.ok() || *now >= revision) return status;
      if (deadline_ns == kTry) return Reason::kEmpty;
      const std::int64_t now_ns = monotonic_ns();
      if (now_ns >= deadline_ns) return Reason::kTimedOut;
      Hands* hands = this->hands(&status);
      if (hands == nullptr) return status;
      ListAttachment& at = *hands->list;
      if (hands->dict_actor == nullptr) {
        nap_until(now_ns, deadline_ns);
        if (now_ns < next_look_ns) continue;
        next_look_ns = now_ns + kLookEveryNs;
        status = look(at);
      } else if (at.core.wait_change(*hands->dict_actor, revision, deadline_ns) ==
                 Outcome::kTimedOut) {
        status = look(at);
      }
      if (!status.ok()) return status;
    }
  }

  Result<ListInfo> info() override {
    auto info = channel_->list_info(name_);
    if (info.status().is(Reason::kNotFound)) return local::list_gone(name_);
    return info;
  }

 private:
  Status explain(Outcome outcome, ListAttachment& at, std::int64_t index = 0,
                 std::uint64_t bytes = 0, std::uint64_t if_revision = 0) const {
    return local::list_status(outcome, {name_, &at.core, index, bytes, if_revision});
  }
};

ListInfo list_info_of(const nlohmann::json& row) {
  ListInfo info;
  const nlohmann::json in_force = member_fields(row, &info);
  json_field(row, "length", &info.length);
  json_field(row, "bytes", &info.bytes);
  json_field(row, "revision", &info.revision);
  json_field(in_force, "max_len", &info.options.max_len.emplace());
  json_field(in_force, "max_bytes", &info.options.max_bytes.emplace());
  json_field(in_force, "max_value_bytes", &info.options.max_value_bytes.emplace());
  return info;
}

}  // namespace

Result<std::shared_ptr<ListChannel>> ShmChannel::open_list(std::string_view name,
                                                           const ListOptions& options,
                                                           bool create) {
  local::Open open{};
  open.flags = open_flags(options, name, create);
  local::ListOptionsWire& wire = open.member.list;
  give(wire, options.max_len, wire.max_len, local::kGivenMaxLen);
  give(wire, options.max_bytes, wire.max_bytes, local::kGivenMaxBytes);
  give(wire, options.max_value_bytes, wire.max_value_bytes, local::kGivenMaxValueBytes);
  give(wire, options.lifetime, wire.lifetime, local::kGivenLifetime);
  give(wire, options.mode, wire.mode, local::kGivenMode);
  if (!options.group.empty()) wire.given |= local::kGivenGroup;
  auto attachment = attach_member<shm::List>(open, options.group, name);
  if (!attachment) return attachment.status();
  return std::shared_ptr<ListChannel>(
      std::make_shared<ShmList>(shared_from_this(), std::move(*attachment)));
}

Status ShmChannel::delete_list(std::string_view name) {
  return remove(local::ObjectKind::kList, name);
}

Result<ListInfo> ShmChannel::list_info(std::string_view name) {
  return describe_member(*this, "list", name, list_info_of);
}

Result<std::vector<ListInfo>> ShmChannel::lists(std::string_view prefix) {
  return list_members(*this, "list", prefix, list_info_of);
}

}  // namespace heddle::detail
