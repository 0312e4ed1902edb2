// The methods that manage dicts and those that read.
#include "daemon/services/dict_service.h"

#include <algorithm>

#include "daemon/services/body.h"
#include "daemon/services/dict_lookup.h"
#include "daemon/services/dict_wire.h"

namespace heddle::services {
namespace {

using broker::MemberRef;
using broker::Need;
using broker::ObjectKind;

constexpr uint32_t kDictKeysMax = 4'096, kDictRowsDefault = 1'000;
constexpr uint64_t kDictGetBytes = 4 << 20;
constexpr uint64_t kDictPageBytes = 1 << 20;

Status describe_dict(Env& env, const Caller& caller, const std::string& name, v1::DictInfo* out) {
  const auto info = env.broker.describe_member(caller, ObjectKind::kDict, name);
  if (!info.ok()) return info.status();
  dict_info_to(*info, out);
  return {};
}

/// Part of a document, in place of the whole.
Status point_into(objects::Dict& dict, const std::string& pointer, local::DictItem* item,
                  shm::Outcome* outcome) {
  const auto kind = static_cast<shm::DictKind>(item->entry.kind);
  if (kind != shm::DictKind::kJson && kind != shm::DictKind::kString) {
    return Status(Reason::kInvalidArgument, "the value is neither JSON nor text")
        .with_object(dict.label());
  }
  auto at = local::json_at(item->value, pointer);
  if (at.status().is(Reason::kNotFound)) {
    *outcome = shm::Outcome::kNotFound;
    return {};
  }
  if (!at.ok()) return Status(at.status()).with_object(dict.label());
  item->value = *std::move(at);
  item->entry.kind = static_cast<uint8_t>(shm::DictKind::kJson);
  return {};
}

}  // namespace

#define HEDDLE_DICT_METHOD(Name)                                                             \
  grpc::ServerUnaryReactor* DictService::Name(Context* context,                              \
                                              const v1::DictService##Name##Request* request, \
                                              v1::DictService##Name##Response* response)

HEDDLE_DICT_METHOD(Create) {
  return answer_later(env_, context, [this, request, response](const Caller& caller) -> Status {
    broker::MemberOptions options;
    if (Status bad = dict_options_from(request->options(), &options); !bad.ok()) return bad;
    const auto ref = create_member(env_, caller, ObjectKind::kDict, *request, options);
    if (!ref.ok()) return ref.status();
    response->set_created(ref->created);
    response->set_session(caller.session_id);
    return describe_dict(env_, caller, ref->name, response->mutable_dict());
  });
}

HEDDLE_DICT_METHOD(Delete) {
  (void)response;
  return answer_later(env_, context, [this, request](const Caller& caller) {
    return env_.broker.delete_member(caller, ObjectKind::kDict, request->name());
  });
}

HEDDLE_DICT_METHOD(Info) {
  return answer(env_, context, [&](const Caller& caller) {
    return describe_dict(env_, caller, request->name(), response->mutable_dict());
  });
}

HEDDLE_DICT_METHOD(List) {
  return answer(env_, context, [&](const Caller& caller) -> Status {
    response->set_next_page_token(list_members(
        env_, caller, ObjectKind::kDict, *request,
        [&](const broker::MemberInfo& info) { dict_info_to(info, response->add_dicts()); }));
    return {};
  });
}

HEDDLE_DICT_METHOD(Get) {
  return with_dict(env_, context, request->name(), Need::kRead,
                   [&](const Caller&, const MemberRef&, objects::Dict& dict) -> Status {
                     local::DictItem item;
                     shm::Outcome outcome = shm::Outcome::kOk;
                     Status status = dict.get(dict_key_from(*request), &item, &outcome);
                     if (status.ok() && outcome == shm::Outcome::kOk && request->has_pointer()) {
                       status = point_into(dict, request->pointer(), &item, &outcome);
                     }
                     if (!status.ok()) return status;
                     response->set_outcome(dict_outcome(outcome));
                     if (outcome == shm::Outcome::kOk)
                       dict_entry_to(item, false, response->mutable_entry());
                     response->set_revision(dict.revision());
                     return status;
                   });
}

HEDDLE_DICT_METHOD(GetMany) {
  return with_dict(
      env_, context, request->name(), Need::kRead,
      [&](const Caller&, const MemberRef&, objects::Dict& dict) -> Status {
        const int texts = request->keys_size(), all = texts + request->keys_data_size();
        if (all > static_cast<int>(kDictKeysMax)) {
          return Status(Reason::kInvalidArgument, "too many keys in one call")
              .with_object(dict.label())
              .with_limit(kDictKeysMax, static_cast<uint64_t>(all));
        }
        response->set_revision(dict.revision());
        response->mutable_entries()->Reserve(all);
        uint64_t bytes = 0;
        local::DictItem item;
        int i = 0;
        for (; i < all && bytes < kDictGetBytes; ++i) {
          const std::string& key = i < texts ? request->keys(i) : request->keys_data(i - texts);
          shm::Outcome outcome = shm::Outcome::kOk;
          if (Status status = dict.get(key, &item, &outcome); !status.ok()) return status;
          auto* entry = response->add_entries();
          if (outcome != shm::Outcome::kOk) continue;
          bytes += item.value.size();
          dict_entry_to(item, false, entry);
        }
        response->set_answered(static_cast<uint32_t>(i));
        return {};
      });
}

HEDDLE_DICT_METHOD(Scan) {
  return with_dict(
      env_, context, request->name(), Need::kRead,
      [&](const Caller&, const MemberRef&, objects::Dict& dict) -> Status {
        local::DictPlace place;
        if (!request->page_token().empty() &&
            !local::DictPlace::parse(request->page_token(), &place)) {
          return Status(Reason::kInvalidArgument, "the page token is not one of a scan")
              .with_object(dict.label());
        }
        const local::DictFilter filter{
            request->prefix_data().empty() ? request->prefix() : request->prefix_data(),
            request->from(), request->to(), request->keys_only()};
        const uint32_t rows_max = request->page_size() == 0
                                      ? kDictRowsDefault
                                      : std::min(request->page_size(), kDictKeysMax);
        std::vector<local::DictItem> rows;
        Status status = dict.scan(filter, rows_max, kDictPageBytes, &place, &rows);
        if (!status.ok()) return status;
        for (local::DictItem& row : rows) dict_entry_to(row, true, response->add_entries());
        if (request->keys_only()) {
          for (auto& entry : *response->mutable_entries()) entry.clear_value();
        }
        if (!place.cursor.done) response->set_next_page_token(place.to_text());
        response->set_revision(place.revision);
        return status;
      });
}

#undef HEDDLE_DICT_METHOD

}  // namespace heddle::services
