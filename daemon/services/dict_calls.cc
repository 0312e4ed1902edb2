// The methods of DictService that change entries.
#include <bit>
#include <cmath>
#include <deque>
#include <limits>

#include "daemon/broker/dict_once.h"
#include "daemon/objects/dict_leases.h"
#include "daemon/services/dict_lookup.h"
#include "daemon/services/dict_service.h"
#include "daemon/services/dict_wire.h"

namespace heddle::services {
namespace {

using broker::DictDone;
using broker::MemberRef;
using broker::Need;
using shm::Outcome;

constexpr int kDictWritesMax = 4'096;
constexpr size_t kDictTxnMax = 1'024;

Status named(Status status, const objects::Dict& dict) {
  return status.object().empty() ? std::move(status).with_object(dict.label()) : status;
}

/// The parts of a write that requests have in common, and where its bytes lie.
struct Asked {
  shm::DictWrite write;
  std::string value, if_value;
  objects::Fence fence;
};

template <class Request>
Status write_from(Env& env, const Caller& caller, const Request& request, Asked* out) {
  out->write.key = local::dict_key(dict_key_from(request));
  if constexpr (requires { request.conditions(); }) {
    Status bad = dict_conditions_from(request.conditions(), &out->if_value, &out->write);
    if (!bad.ok()) return bad;
  }
  if constexpr (requires { request.expiry(); }) {
    if (Status bad = dict_expiry_from(request.expiry(), &out->write); !bad.ok()) return bad;
  }
  if constexpr (requires { request.fence(); }) {
    return dict_fence_from(env, caller, request, &out->fence);
  }
  return {};
}

template <class Request>
Status value_from(const Request& request, Asked* out) {
  return dict_value_from(request.value(), &out->value, &out->write.value, &out->write.bytes,
                         &out->write.kind);
}

/// Once for its request id.
template <class Request>
Status once(Env& env, const Caller& caller, const MemberRef& ref, const Request& request,
            std::vector<std::string_view> keys, const std::function<Status(DictDone*)>& change,
            DictDone* done, bool* again) {
  return broker::change_dict_once({env.broker, caller, ref, request.request_id(), std::move(keys)},
                                  change, done, again);
}

template <class Response>
Status answered(const DictDone& done, const objects::Dict& dict, Response* response) {
  dict_changed_to(done.outcome, done.written, response->mutable_changed());
  response->set_revision(dict.revision());
  return {};
}

Status session_owner(const Caller& caller, bool wanted, shm::DictWrite* write) {
  if (!wanted) return {};
  write->owner = caller.session_id;
  if (write->owner != 0) return {};
  return {Reason::kInvalidArgument, "an entry that goes with its session needs one; open it"};
}

}  // namespace

#define HEDDLE_DICT_METHOD(Name)                                                             \
  grpc::ServerUnaryReactor* DictService::Name(Context* context,                              \
                                              const v1::DictService##Name##Request* request, \
                                              v1::DictService##Name##Response* response)

template <class Request>
static uint64_t lease_of(const Request& request) {
  if constexpr (requires { request.lease(); }) return request.lease();
  return 0;
}

static Status write_with_lease(objects::Dict& dict, const Asked& asked, uint64_t lease,
                               DictDone* made) {
  return dict.change(
      asked.fence, asked.write.key.bytes, asked.write.bytes,
      [&](shm::Dict& memory, shm::DictActor& actor) {
        return local::write_leased(memory, actor, asked.write, lease, &made->written);
      },
      &made->outcome);
}

// One entry is written or erased; with what was there before where that is asked for.
template <class Request, class Response>
static Status change_entry(Env& env, const Caller& caller, const MemberRef& ref,
                           objects::Dict& dict, const Request& request, Asked& asked,
                           Response* response) {
  local::DictItem previous;
  DictDone done;
  bool again = false;
  Status status = once(
      env, caller, ref, request, {dict_key_from(request)},
      [&](DictDone* made) {
        if (const uint64_t lease = lease_of(request); lease != 0) {
          return write_with_lease(dict, asked, lease, made);
        }
        return dict.write(asked.write, asked.fence, &made->outcome, &made->written,
                          request.return_previous() ? &previous : nullptr);
      },
      &done, &again);
  if (!status.ok()) return status;
  if (request.return_previous() && done.outcome == Outcome::kOk && done.written.existed) {
    // Of a change that was made before, the history knows it for some time.
    local::DictNext next{done.written.revision, 0};
    std::vector<local::DictEvent> events;
    if (again && dict.changes({}, true, 1, uint64_t{1} << 40, &next, &events).ok() &&
        !events.empty()) {
      previous = std::move(events.front().previous);
    }
    dict_entry_to(previous, false, response->mutable_changed()->mutable_previous());
  }
  return answered(done, dict, response);
}

HEDDLE_DICT_METHOD(Set) {
  return with_dict(env_, context, request->name(), Need::kWrite,
                   [&](const Caller& caller, const MemberRef& ref, objects::Dict& dict) {
                     Asked asked;
                     Status status = write_from(env_, caller, *request, &asked);
                     if (status.ok()) status = value_from(*request, &asked);
                     if (status.ok()) {
                       status = session_owner(caller, request->session(), &asked.write);
                     }
                     if (!status.ok()) return named(std::move(status), dict);
                     return change_entry(env_, caller, ref, dict, *request, asked, response);
                   });
}

HEDDLE_DICT_METHOD(Remove) {
  return with_dict(env_, context, request->name(), Need::kWrite,
                   [&](const Caller& caller, const MemberRef& ref, objects::Dict& dict) {
                     Asked asked;
                     Status status = write_from(env_, caller, *request, &asked);
                     if (!status.ok()) return named(std::move(status), dict);
                     asked.write.kind = shm::DictKind::kDeleted;
                     return change_entry(env_, caller, ref, dict, *request, asked, response);
                   });
}

HEDDLE_DICT_METHOD(SetMany) {
  return with_dict(env_, context, request->name(), Need::kWrite,
                   [&](const Caller& caller, const MemberRef&, objects::Dict& dict) -> Status {
                     if (request->entries_size() > kDictWritesMax) {
                       return Status(Reason::kInvalidArgument, "too many entries in one call")
                           .with_object(dict.label())
                           .with_limit(kDictWritesMax,
                                       static_cast<uint64_t>(request->entries_size()));
                     }
                     objects::Fence fence;
                     Status status = dict_fence_from(env_, caller, *request, &fence);
                     for (int i = 0; status.ok() && i < request->entries_size(); ++i) {
                       const v1::DictEntry& entry = request->entries(i);
                       Asked asked;
                       asked.write.key = local::dict_key(dict_key_from(entry));
                       v1::DictExpiry expiry;
                       if (entry.has_ttl_ms()) expiry.set_ttl_ms(entry.ttl_ms());
                       status = dict_expiry_from(expiry, &asked.write);
                       if (status.ok()) status = value_from(entry, &asked);
                       Outcome outcome = Outcome::kOk;
                       shm::DictWritten written;
                       if (status.ok()) status = dict.write(asked.write, fence, &outcome, &written);
                       if (status.ok()) response->add_mod_revisions(written.revision);
                     }
                     response->set_revision(dict.revision());
                     return status.ok() ? status : named(std::move(status), dict);
                   });
}

HEDDLE_DICT_METHOD(Clear) {
  return with_dict(env_, context, request->name(), Need::kWrite,
                   [&](const Caller& caller, const MemberRef&, objects::Dict& dict) {
                     objects::Fence fence;
                     Status status = dict_fence_from(env_, caller, *request, &fence);
                     uint64_t cleared = 0;
                     Outcome outcome = Outcome::kOk;
                     if (status.ok()) {
                       status = dict.change(
                           fence, 0, 0,
                           [&](shm::Dict& memory, shm::DictActor& actor) {
                             uint64_t n = 0;
                             const Outcome result = memory.clear(actor, &n);
                             cleared += n;
                             return result;
                           },
                           &outcome);
                     }
                     response->set_cleared(cleared);
                     response->set_revision(dict.revision());
                     return status;
                   });
}

namespace {

template <class Number>
Number number_in(const v1::DictValue& value, Number absent) {
  if (value.has_integer()) return static_cast<Number>(value.integer());
  if (value.has_number()) return static_cast<Number>(value.number());
  return absent;
}

struct Sum {
  bool is_integer = true;
  int64_t integer = 0;
  double number = 0;
};

Outcome add(shm::Dict& memory, shm::DictActor& actor,
            const v1::DictServiceIncrementRequest& request, const shm::DictWrite& write, Sum* sum,
            shm::DictWritten* written) {
  const shm::DictKey key = write.key;
  // What is not said stays as it is.
  const auto expiry =
      write.expiry == shm::DictExpiry::kPolicy ? shm::DictExpiry::kKeep : write.expiry;
  if (sum->is_integer) {
    constexpr auto kLeast = std::numeric_limits<int64_t>::min();
    constexpr auto kMost = std::numeric_limits<int64_t>::max();
    sum->integer = number_in<int64_t>(request.initial(), 0);
    return memory.increment(actor, key, request.integer(), number_in(request.least(), kLeast),
                            number_in(request.most(), kMost), &sum->integer, written, expiry,
                            write.expires_ms);
  }
  constexpr double kFar = std::numeric_limits<double>::infinity();
  sum->number = number_in<double>(request.initial(), 0);
  return memory.increment(actor, key, request.number(), number_in(request.least(), -kFar),
                          number_in(request.most(), kFar), &sum->number, written, expiry,
                          write.expires_ms);
}

}  // namespace

HEDDLE_DICT_METHOD(Increment) {
  return with_dict(env_, context, request->name(), Need::kWrite,
                   [&](const Caller& caller, const MemberRef& ref, objects::Dict& dict) -> Status {
                     Asked asked;
                     Status status = write_from(env_, caller, *request, &asked);
                     if (!status.ok()) return named(std::move(status), dict);
                     const bool is_integer = !request->has_number();
                     DictDone done;
                     bool again = false;
                     status = once(
                         env_, caller, ref, *request, {dict_key_from(*request)},
                         [&](DictDone* made) {
                           Sum sum{is_integer};
                           Status ended = dict.change(
                               asked.fence, asked.write.key.bytes, sizeof(int64_t),
                               [&](shm::Dict& memory, shm::DictActor& actor) {
                                 return add(memory, actor, *request, asked.write, &sum,
                                            &made->written);
                               },
                               &made->outcome);
                           made->value = is_integer ? static_cast<uint64_t>(sum.integer)
                                                    : std::bit_cast<uint64_t>(sum.number);
                           return ended;
                         },
                         &done, &again);
                     if (!status.ok()) return status;
                     if (is_integer) {
                       response->mutable_value()->set_integer(static_cast<int64_t>(done.value));
                     } else {
                       response->mutable_value()->set_number(std::bit_cast<double>(done.value));
                     }
                     return answered(done, dict, response);
                   });
}

HEDDLE_DICT_METHOD(Append) {
  return with_dict(
      env_, context, request->name(), Need::kWrite,
      [&](const Caller& caller, const MemberRef& ref, objects::Dict& dict) -> Status {
        Asked asked;
        Status status = write_from(env_, caller, *request, &asked);
        if (status.ok()) status = value_from(*request, &asked);
        if (!status.ok()) return named(std::move(status), dict);
        if (asked.write.kind != shm::DictKind::kString &&
            asked.write.kind != shm::DictKind::kBytes) {
          return named({Reason::kInvalidArgument, "only text and data can be appended"}, dict);
        }
        DictDone done;
        bool again = false;
        status = once(
            env_, caller, ref, *request, {dict_key_from(*request)},
            [&](DictDone* made) {
              return dict.change(
                  asked.fence, asked.write.key.bytes, asked.write.bytes,
                  [&](shm::Dict& memory, shm::DictActor& actor) {
                    return memory.append(actor, asked.write, &made->value, &made->written);
                  },
                  &made->outcome);
            },
            &done, &again);
        if (!status.ok()) return status;
        response->set_value_bytes(done.value);
        return answered(done, dict, response);
      });
}

HEDDLE_DICT_METHOD(Touch) {
  return with_dict(
      env_, context, request->name(), Need::kWrite,
      [&](const Caller& caller, const MemberRef&, objects::Dict& dict) -> Status {
        Asked asked;
        Status status = write_from(env_, caller, *request, &asked);
        if (!status.ok()) return named(std::move(status), dict);
        if (asked.write.expiry != shm::DictExpiry::kSet &&
            asked.write.expiry != shm::DictExpiry::kClear) {
          return named({Reason::kInvalidArgument, "a touch says how long, until when, or never"},
                       dict);
        }
        DictDone done;
        status = dict.change(
            asked.fence, asked.write.key.bytes, 0,
            [&](shm::Dict& memory, shm::DictActor& actor) {
              return memory.touch(actor, asked.write.key, asked.write.expiry,
                                  asked.write.expires_ms, &done.written);
            },
            &done.outcome);
        return status.ok() ? answered(done, dict, response) : status;
      });
}

HEDDLE_DICT_METHOD(Edit) {
  return with_dict(
      env_, context, request->name(), Need::kWrite,
      [&](const Caller& caller, const MemberRef& ref, objects::Dict& dict) -> Status {
        Asked asked;
        Status status = write_from(env_, caller, *request, &asked);
        if (!status.ok()) return named(std::move(status), dict);
        if (!v1::DictServiceEditRequest::What_IsValid(request->what())) {
          return named({Reason::kInvalidArgument, "unknown what"}, dict);
        }
        local::JsonEdit edit;
        if (request->what() != 0) {
          edit.what = static_cast<local::JsonEdit::What>(request->what() - 1);
        }
        edit.pointer = request->pointer();
        edit.text = request->json_text();
        if (request->has_least()) edit.least = request->least();
        if (request->has_most()) edit.most = request->most();
        DictDone done;
        bool again = false;
        status = once(
            env_, caller, ref, *request, {dict_key_from(*request)},
            [&](DictDone* made) -> Status {
              Status why;
              Status ended = dict.change(
                  asked.fence, asked.write.key.bytes, request->json_text().size(),
                  [&](shm::Dict& memory, shm::DictActor& actor) {
                    return local::edit_document(memory, actor, asked.write, edit, &made->written,
                                                response->mutable_json_text(), &why);
                  },
                  &made->outcome);
              return ended.ok() ? why : ended;
            },
            &done, &again);
        return status.ok() ? answered(done, dict, response) : named(std::move(status), dict);
      });
}

namespace {

Status compare_from(const v1::DictCompare& wire, std::string* storage, shm::DictCompare* out) {
  if (!v1::DictCompare::What_IsValid(wire.what()) || !v1::DictCompare::Sign_IsValid(wire.sign())) {
    return {Reason::kInvalidArgument, "unknown what or sign of a compare"};
  }
  out->key = local::dict_key(dict_key_from(wire));
  if (wire.what() != 0) out->what = static_cast<shm::DictCompare::What>(wire.what() - 1);
  if (wire.sign() != 0) out->sign = static_cast<shm::DictCompare::Sign>(wire.sign() - 1);
  out->number = wire.number();
  return dict_value_from(wire.value(), storage, &out->value, &out->bytes, &out->kind);
}

/// The steps of a branch; what they write lies in the request or in `storage`.
Status steps_from(const google::protobuf::RepeatedPtrField<v1::DictOperation>& wire,
                  const Caller& caller, std::deque<Asked>* storage,
                  std::vector<local::DictStep>* out, uint64_t* bytes) {
  for (const v1::DictOperation& one : wire) {
    Asked& asked = storage->emplace_back();
    asked.write.key = local::dict_key(dict_key_from(one));
    Status status = dict_conditions_from(one.conditions(), &asked.if_value, &asked.write);
    if (status.ok()) status = dict_expiry_from(one.expiry(), &asked.write);
    if (status.ok()) status = session_owner(caller, one.session(), &asked.write);
    asked.write.kind = shm::DictKind::kDeleted;
    if (status.ok() && one.what() == v1::DictOperation::WHAT_SET) {
      status = value_from(one, &asked);
    }
    if (status.ok() && !v1::DictOperation::What_IsValid(one.what())) {
      status = {Reason::kInvalidArgument, "unknown what of an operation"};
    }
    if (!status.ok()) return status;
    const bool get = one.what() <= v1::DictOperation::WHAT_GET;
    *bytes += asked.write.bytes;
    out->push_back({get, asked.write});
  }
  return {};
}

}  // namespace

namespace {

// Of one that was made before, what its operations came to is not remembered.
void results_to(const std::vector<local::DictStep>& branch, std::vector<local::DictStepDone>& steps,
                v1::DictServiceTxnResponse* response) {
  for (size_t i = 0; i < steps.size(); ++i) {
    auto* result = response->add_results();
    if (!branch[i].get) {
      dict_changed_to(steps[i].outcome, steps[i].written, result->mutable_changed());
    } else if (steps[i].outcome == Outcome::kOk) {
      dict_entry_to(steps[i].item, false, result->mutable_entry());
    }
  }
}

std::vector<std::string_view> written_keys(const v1::DictServiceTxnRequest& request) {
  std::vector<std::string_view> keys;
  for (const auto* branch : {&request.then(), &request.otherwise()}) {
    for (const auto& one : *branch) {
      if (one.what() > v1::DictOperation::WHAT_GET) keys.push_back(dict_key_from(one));
    }
  }
  return keys;
}

}  // namespace

HEDDLE_DICT_METHOD(Txn) {
  return with_dict(
      env_, context, request->name(), Need::kWrite,
      [&](const Caller& caller, const MemberRef& ref, objects::Dict& dict) -> Status {
        objects::Fence fence;
        std::deque<Asked> storage;
        std::deque<std::string> values;
        std::vector<shm::DictCompare> compares;
        std::vector<local::DictStep> first, other;
        uint64_t bytes = 0;
        Status status = dict_fence_from(env_, caller, *request, &fence);
        for (int i = 0; status.ok() && i < request->compares_size(); ++i) {
          status =
              compare_from(request->compares(i), &values.emplace_back(), &compares.emplace_back());
        }
        if (status.ok()) status = steps_from(request->then(), caller, &storage, &first, &bytes);
        if (status.ok()) {
          status = steps_from(request->otherwise(), caller, &storage, &other, &bytes);
        }
        if (!status.ok()) return named(std::move(status), dict);
        shm::DictTransacted done;
        std::vector<local::DictStepDone> steps;
        DictDone recorded;
        bool again = false;
        status = once(
            env_, caller, ref, *request, written_keys(*request),
            [&](DictDone* made) {
              Status ended = dict.change(
                  fence, 0, bytes,
                  [&](shm::Dict& memory, shm::DictActor& actor) {
                    return local::transact(memory, actor, compares, first, other, &done, &steps);
                  },
                  &made->outcome);
              made->written.revision = done.revision;
              made->written.existed = done.held;
              made->value = done.refused;
              return ended;
            },
            &recorded, &again);
        if (status.is(Reason::kOutOfRange)) {
          return Status(Reason::kInvalidArgument,
                        "a transaction has up to 1,024 compares and operations, and writes no key "
                        "twice")
              .with_object(dict.label())
              .with_limit(kDictTxnMax, compares.size() + std::max(first.size(), other.size()));
        }
        if (!status.ok()) return status;
        response->set_outcome(dict_outcome(recorded.outcome));
        response->set_refused(static_cast<uint32_t>(recorded.value));
        response->set_held(recorded.written.existed);
        response->set_revision(recorded.written.revision);
        results_to(done.held ? first : other, steps, response);
        return status;
      });
}

#undef HEDDLE_DICT_METHOD

}  // namespace heddle::services
