#include "client/src/grpc_channel/grpc_dict.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "client/src/grpc_channel/wire.h"

namespace heddle::detail {
namespace {

using DictStub = v1::DictService::Stub;

constexpr std::size_t kDictKeysAtOnce = 1'024;
constexpr std::uint64_t kDictBytesAtOnce = 2 << 20;

template <class Message>
void dict_key_to(std::string_view key, Message* wire) {
  wire->set_key_data(key.data(), key.size());
}

template <typename T>
T dict_scalar(const DictInput& value) {
  T out{};
  std::memcpy(&out, value.data(), std::min(sizeof out, value.length()));
  return out;
}

}  // namespace

void dict_value_to(const DictInput& value, v1::DictValue* wire) {
  const auto* text = reinterpret_cast<const char*>(value.data());
  switch (value.type()) {
    case DictType::kNull:
      wire->set_null(google::protobuf::NULL_VALUE);
      return;
    case DictType::kBool:
      wire->set_boolean(dict_scalar<std::uint8_t>(value) != 0);
      return;
    case DictType::kInt64:
      wire->set_integer(dict_scalar<std::int64_t>(value));
      return;
    case DictType::kDouble:
      wire->set_number(dict_scalar<double>(value));
      return;
    // Whether it is UTF-8 would have to be looked at, here and there.
    case DictType::kString:
      wire->set_text_data(text, value.length());
      return;
    case DictType::kBytes:
      wire->set_data(text, value.length());
      return;
    case DictType::kJson:
      wire->set_json_text(text, value.length());
      return;
  }
}

template <typename T>
static std::string dict_stored(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

DictValue dict_value_from(const v1::DictValue& wire) {
  switch (wire.value_case()) {
    case v1::DictValue::kBoolean:
      return {DictType::kBool, dict_stored<std::uint8_t>(wire.boolean())};
    case v1::DictValue::kInteger:
      return {DictType::kInt64, dict_stored(wire.integer())};
    case v1::DictValue::kNumber:
      return {DictType::kDouble, dict_stored(wire.number())};
    case v1::DictValue::kText:
      return {DictType::kString, wire.text()};
    case v1::DictValue::kTextData:
      return {DictType::kString, wire.text_data()};
    case v1::DictValue::kData:
      return {DictType::kBytes, wire.data()};
    case v1::DictValue::kJsonText:
      return {DictType::kJson, wire.json_text()};
    default:
      return {};
  }
}

namespace {

void dict_changed_from(const v1::DictChanged& wire, std::uint64_t revision, DictChanged* out) {
  out->outcome = static_cast<DictOutcome>(wire.outcome());
  out->existed = wire.existed();
  out->mod_revision = wire.mod_revision();
  out->create_revision = wire.create_revision();
  out->version = wire.version();
  out->revision = revision;
  if (wire.has_previous()) out->previous = dict_entry_from(wire.previous());
}

void dict_expiry_to(const DictExpiry& expiry, v1::DictExpiry* wire) {
  using std::chrono::duration_cast;
  using std::chrono::milliseconds;
  if (const auto* ttl = std::get_if<milliseconds>(&expiry.how())) {
    wire->set_ttl_ms(std::max<std::int64_t>(ttl->count(), 0));
  } else if (const auto* fixed = std::get_if<DictExpiry::Fixed>(&expiry.how())) {
    if (*fixed == DictExpiry::Fixed::kKeep) wire->set_keep(true);
    if (*fixed == DictExpiry::Fixed::kNever) wire->set_never(true);
  } else {
    const auto at = std::get<std::chrono::system_clock::time_point>(expiry.how());
    wire->set_expire_at_ms(duration_cast<milliseconds>(at.time_since_epoch()).count());
  }
}

void dict_conditions_to(const DictSetOptions& options, v1::DictConditions* wire) {
  if (options.if_version) wire->set_if_version(*options.if_version);
  wire->set_if_absent(options.if_absent);
  wire->set_if_present(options.if_present);
  if (options.if_value) dict_value_to(*options.if_value, wire->mutable_if_value());
}

template <class Request>
void dict_fence_to(const std::optional<Fence>& fence, Request* request) {
  if (!fence) return;
  request->mutable_fence()->set_lock(fence->lock);
  request->mutable_fence()->set_token(fence->token);
}

void dict_options_to(const DictOptions& options, v1::DictOptions* wire) {
  if (options.max_entries) wire->set_max_entries(*options.max_entries);
  if (options.max_bytes) wire->set_max_bytes(*options.max_bytes);
  if (options.max_value_bytes) wire->set_max_value_bytes(*options.max_value_bytes);
  if (options.max_key_bytes) wire->set_max_key_bytes(*options.max_key_bytes);
  if (options.history) wire->set_history(*options.history);
  if (options.keep_previous) wire->set_keep_previous(*options.keep_previous);
  if (options.default_ttl_ms) wire->set_default_ttl_ms(*options.default_ttl_ms);
  if (options.mode) wire->set_mode(*options.mode);
  if (!options.group.empty()) wire->set_group(options.group);
  const auto word = [](const auto& given) { return given ? static_cast<int>(*given) + 1 : 0; };
  wire->set_eviction(static_cast<v1::DictOptions::Eviction>(word(options.eviction)));
  wire->set_ttl_on_overwrite(
      static_cast<v1::DictOptions::TtlOnOverwrite>(word(options.ttl_on_overwrite)));
  wire->set_lifetime(static_cast<v1::DictOptions::Lifetime>(word(options.lifetime)));
}

DictInfo dict_info_from(const v1::DictInfo& wire) {
  DictInfo info;
  info.name = wire.name();
  info.object_id = wire.object_id();
  info.uid = wire.uid();
  info.gid = wire.gid();
  info.entries = wire.entries();
  info.bytes = wire.bytes();
  info.revision = wire.revision();
  info.oldest_revision = wire.oldest_revision();
  info.memory_bytes = wire.memory_bytes();
  info.attached = wire.attached();
  info.watching = wire.watching();
  info.quarantined = wire.quarantined();
  const v1::DictOptions& in_force = wire.options();
  DictOptions& options = info.options;
  options.max_entries = in_force.max_entries();
  options.max_bytes = in_force.max_bytes();
  options.max_value_bytes = in_force.max_value_bytes();
  options.max_key_bytes = in_force.max_key_bytes();
  options.history = in_force.history();
  options.keep_previous = in_force.keep_previous();
  options.default_ttl_ms = in_force.default_ttl_ms();
  options.mode = in_force.mode();
  options.group = in_force.group();
  const auto word = [](int value, auto* to) {
    using Enum = typename std::remove_pointer_t<decltype(to)>::value_type;
    if (value > 0) *to = static_cast<Enum>(value - 1);
  };
  word(in_force.eviction(), &options.eviction);
  word(in_force.ttl_on_overwrite(), &options.ttl_on_overwrite);
  word(in_force.lifetime(), &options.lifetime);
  return info;
}

/// A write that says nothing of what must be there can be made twice.
bool dict_needs_id(const DictSetOptions& options) {
  return options.if_version || options.if_absent || options.if_present || options.if_value ||
         options.return_previous || options.lease != 0;
}

}  // namespace

DictEntry dict_entry_from(const v1::DictEntry& wire) {
  DictEntry entry;
  entry.key = wire.key_data().empty() ? wire.key() : wire.key_data();
  entry.value = dict_value_from(wire.value());
  entry.mod_revision = wire.mod_revision();
  entry.create_revision = wire.create_revision();
  entry.version = wire.version();
  entry.session = wire.session();
  if (wire.has_ttl_ms()) entry.ttl = std::chrono::milliseconds(wire.ttl_ms());
  return entry;
}

Result<std::shared_ptr<DictChannel>> open_dict(const std::shared_ptr<Remote>& remote,
                                               std::string_view name, const DictOptions& options,
                                               bool create) {
  v1::DictServiceCreateRequest request;
  v1::DictServiceCreateResponse response;
  request.set_name(std::string(name));
  dict_options_to(options, request.mutable_options());
  request.set_open_only(!create);
  request.set_exclusive(create && !options.open_existing);
  request.set_anonymous(create && name.empty());
  Status status = remote->call(kTry, [&](grpc::ClientContext& context) {
    return remote->dicts->Create(&context, request, &response);
  });
  if (!status.ok()) return status;
  return std::shared_ptr<DictChannel>(std::make_shared<GrpcDict>(
      remote, response.dict().name(), response.dict().options().max_value_bytes()));
}

Status delete_dict(Remote& remote, std::string_view name) {
  v1::DictServiceDeleteRequest request;
  v1::DictServiceDeleteResponse response;
  request.set_name(std::string(name));
  return remote.call(kTry, [&](grpc::ClientContext& context) {
    return remote.dicts->Delete(&context, request, &response);
  });
}

Result<std::vector<DictInfo>> list_dicts(Remote& remote, std::string_view prefix) {
  std::vector<DictInfo> all;
  v1::DictServiceListRequest request;
  v1::DictServiceListResponse response;
  request.set_prefix(std::string(prefix));
  do {
    Status status = remote.call(kTry, [&](grpc::ClientContext& context) {
      return remote.dicts->List(&context, request, &response);
    });
    if (!status.ok()) return status;
    for (const auto& dict : response.dicts()) all.push_back(dict_info_from(dict));
    request.set_page_token(response.next_page_token());
  } while (!response.next_page_token().empty());
  return all;
}

Result<DictInfo> dict_info(Remote& remote, std::string_view name) {
  v1::DictServiceInfoRequest request;
  v1::DictServiceInfoResponse response;
  request.set_name(std::string(name));
  Status status = remote.call(kTry, [&](grpc::ClientContext& context) {
    return remote.dicts->Info(&context, request, &response);
  });
  if (!status.ok()) return status;
  return dict_info_from(response.dict());
}

Status GrpcDict::told(Status status) const {
  if (status.is(Reason::kNotFound)) {
    return Status(Reason::kClosed, "the dict was deleted").with_object("dict " + name_);
  }
  if (status.ok() || !status.object().empty()) return status;
  return std::move(status).with_object("dict " + name_);
}

template <class Method, class Request, class Response>
Status GrpcDict::call(Method method, Request& request, Response* response, std::uint64_t bytes) {
  request.set_name(name_);
  const auto attempt = [&](grpc::ClientContext& context) {
    return (remote_->dicts.get()->*method)(&context, request, response);
  };
  return told(remote_->call(kTry, attempt, nullptr, bytes));
}

#define HEDDLE_DICT_CALL(Name, bytes)       \
  v1::DictService##Name##Response response; \
  Status status = call(&DictStub::Name, request, &response, bytes)

Status GrpcDict::get(std::string_view key, DictGot* out) {
  v1::DictServiceGetRequest request;
  dict_key_to(key, &request);
  HEDDLE_DICT_CALL(Get, max_value_bytes_);
  if (!status.ok()) return status;
  if (response.outcome() != v1::DICT_OUTCOME_OK) return Reason::kNotFound;
  static_cast<DictEntry&>(*out) = dict_entry_from(response.entry());
  out->key = key;
  out->revision = response.revision();
  return status;
}

Status GrpcDict::get_into(std::string_view key, std::span<std::byte> room, DictRead* read) {
  DictGot got;
  if (Status status = get(key, &got); !status.ok()) return status;
  static_cast<DictMeta&>(*read) = got;
  read->type = got.value.type;
  read->length = got.value.stored.size();
  if (read->length > room.size()) return Reason::kTooLarge;
  if (read->length != 0) std::memcpy(room.data(), got.value.stored.data(), read->length);
  return {};
}

Status GrpcDict::get_many(std::span<const std::string_view> keys,
                          std::vector<std::optional<DictEntry>>* out) {
  for (std::size_t at = 0; at < keys.size();) {
    v1::DictServiceGetManyRequest request;
    const std::size_t n = std::min(kDictKeysAtOnce, keys.size() - at);
    for (std::size_t i = 0; i < n; ++i)
      request.add_keys_data(keys[at + i].data(), keys[at + i].size());
    HEDDLE_DICT_CALL(GetMany, kDictBytesAtOnce + max_value_bytes_);
    if (!status.ok()) return status;
    for (const auto& wire : response.entries()) {
      auto& entry = out->emplace_back();
      if (wire.version() == 0) continue;
      entry = dict_entry_from(wire);
      entry->key = keys[out->size() - 1];
    }
    if (response.answered() == 0) return Status(Reason::kInternal, "an answer without entries");
    at += response.answered();
  }
  return {};
}

Status GrpcDict::write(const DictWriteSpec& spec, DictChanged* out) {
  const DictSetOptions& options = *spec.options;
  const auto fill = [&](auto& request) {
    dict_key_to(spec.key, &request);
    dict_conditions_to(options, request.mutable_conditions());
    request.set_return_previous(options.return_previous);
    dict_fence_to(options.fence, &request);
    if (spec.value == nullptr || dict_needs_id(options)) {
      request.set_request_id(remote_->next_request_id());
    }
  };
  if (spec.value == nullptr) {
    v1::DictServiceRemoveRequest request;
    fill(request);
    HEDDLE_DICT_CALL(Remove, options.return_previous ? max_value_bytes_ : 0);
    if (status.ok()) dict_changed_from(response.changed(), response.revision(), out);
    return status;
  }
  v1::DictServiceSetRequest request;
  fill(request);
  dict_value_to(*spec.value, request.mutable_value());
  dict_expiry_to(options.expiry, request.mutable_expiry());
  request.set_session(options.session);
  request.set_lease(options.lease);
  HEDDLE_DICT_CALL(Set, spec.value->length() + (options.return_previous ? max_value_bytes_ : 0));
  if (status.ok()) dict_changed_from(response.changed(), response.revision(), out);
  return status;
}

Status GrpcDict::update(std::span<const Dict::Pair> pairs, std::size_t* done,
                        std::uint64_t* revision) {
  using std::chrono::milliseconds;
  *done = 0;
  while (*done < pairs.size()) {
    v1::DictServiceSetManyRequest request;
    std::uint64_t bytes = 0;
    for (std::size_t i = *done; i < pairs.size() && bytes < kDictBytesAtOnce; ++i) {
      const Dict::Pair& pair = pairs[i];
      if (static_cast<std::size_t>(request.entries_size()) == kDictKeysAtOnce) break;
      const auto* ttl = std::get_if<milliseconds>(&pair.expiry.how());
      const auto* fixed = std::get_if<DictExpiry::Fixed>(&pair.expiry.how());
      if (ttl == nullptr && (fixed == nullptr || *fixed != DictExpiry::Fixed::kPolicy)) break;
      auto* entry = request.add_entries();
      dict_key_to(pair.key, entry);
      dict_value_to(pair.value, entry->mutable_value());
      if (ttl != nullptr) entry->set_ttl_ms(ttl->count());
      bytes += pair.key.size() + pair.value.length();
    }
    if (request.entries_size() == 0) {  // an expiry that goes by itself
      const DictSetOptions options{.expiry = pairs[*done].expiry};
      DictChanged changed;
      Status status = write({pairs[*done].key, &pairs[*done].value, &options}, &changed);
      if (!status.ok()) return status;
      *revision = changed.revision;
      ++*done;
      continue;
    }
    HEDDLE_DICT_CALL(SetMany, bytes);
    *done += static_cast<std::size_t>(response.mod_revisions_size());
    if (!status.ok()) return status;
    *revision = response.revision();
  }
  return {};
}

Result<std::uint64_t> GrpcDict::clear() {
  v1::DictServiceClearRequest request;
  HEDDLE_DICT_CALL(Clear, 0);
  if (!status.ok()) return status;
  return response.cleared();
}

Status GrpcDict::increment(DictIncrementSpec& spec, DictChanged* out) {
  v1::DictServiceIncrementRequest request;
  dict_key_to(spec.key, &request);
  if (spec.is_integer) {
    request.set_integer(spec.by_integer);
    request.mutable_initial()->set_integer(spec.initial_integer);
    request.mutable_least()->set_integer(spec.least_integer);
    request.mutable_most()->set_integer(spec.most_integer);
  } else {
    request.set_number(spec.by);
    request.mutable_initial()->set_number(spec.initial);
    request.mutable_least()->set_number(spec.least);
    request.mutable_most()->set_number(spec.most);
  }
  dict_expiry_to(spec.expiry, request.mutable_expiry());
  request.set_request_id(remote_->next_request_id());
  HEDDLE_DICT_CALL(Increment, 0);
  if (!status.ok()) return status;
  spec.now_integer = response.value().integer();
  spec.now = response.value().number();
  dict_changed_from(response.changed(), response.revision(), out);
  return status;
}

Status GrpcDict::append(std::string_view key, const DictInput& value, const DictSetOptions& options,
                        DictChanged* out, std::size_t* length) {
  v1::DictServiceAppendRequest request;
  dict_key_to(key, &request);
  dict_value_to(value, request.mutable_value());
  dict_conditions_to(options, request.mutable_conditions());
  dict_fence_to(options.fence, &request);
  request.set_request_id(remote_->next_request_id());
  HEDDLE_DICT_CALL(Append, value.length());
  if (!status.ok()) return status;
  *length = response.value_bytes();
  dict_changed_from(response.changed(), response.revision(), out);
  return status;
}

Status GrpcDict::touch(std::string_view key, const DictExpiry& expiry, DictChanged* out) {
  v1::DictServiceTouchRequest request;
  dict_key_to(key, &request);
  dict_expiry_to(expiry, request.mutable_expiry());
  HEDDLE_DICT_CALL(Touch, 0);
  if (status.ok()) dict_changed_from(response.changed(), response.revision(), out);
  return status;
}

Result<std::string> GrpcDict::get_json(std::string_view key, std::string_view pointer) {
  v1::DictServiceGetRequest request;
  dict_key_to(key, &request);
  request.set_pointer(std::string(pointer));
  HEDDLE_DICT_CALL(Get, max_value_bytes_);
  if (!status.ok()) return status;
  if (response.outcome() != v1::DICT_OUTCOME_OK) return Reason::kNotFound;
  return response.entry().value().json_text();
}

Status GrpcDict::edit(const DictEditSpec& spec, DictEdited* out) {
  v1::DictServiceEditRequest request;
  dict_key_to(spec.key, &request);
  request.set_what(static_cast<v1::DictServiceEditRequest::What>(static_cast<int>(spec.what) + 1));
  request.set_pointer(std::string(spec.pointer));
  request.set_json_text(std::string(spec.json));
  const DictEditOptions& options = *spec.options;
  dict_conditions_to(options.conditions, request.mutable_conditions());
  dict_expiry_to(options.conditions.expiry, request.mutable_expiry());
  dict_fence_to(options.conditions.fence, &request);
  if (options.least) request.set_least(*options.least);
  if (options.most) request.set_most(*options.most);
  request.set_request_id(remote_->next_request_id());
  request.set_name(name_);
  v1::DictServiceEditResponse response;
  const auto attempt = [&](grpc::ClientContext& context) {
    return remote_->dicts->Edit(&context, request, &response);
  };
  Status status = remote_->call(kTry, attempt, nullptr, spec.json.size() + max_value_bytes_);
  // Of the document, if the dict is there.
  if (status.is(Reason::kNotFound) && dict_info(*remote_, name_).ok()) return status;
  if (!status.ok()) return told(std::move(status));
  dict_changed_from(response.changed(), response.revision(), &out->changed);
  out->json = response.json_text();
  return status;
}

Status GrpcDict::scan(const DictScanOptions& options, const std::string& place, DictPage* out) {
  v1::DictServiceScanRequest request;
  request.set_prefix_data(options.prefix);
  request.set_from(options.from);
  request.set_to(options.to);
  request.set_keys_only(options.keys_only);
  request.set_page_size(
      static_cast<std::uint32_t>(std::clamp<std::size_t>(options.page_size, 1, 4'096)));
  request.set_page_token(place);
  for (;;) {
    HEDDLE_DICT_CALL(Scan, kDictBytesAtOnce + max_value_bytes_);
    if (!status.ok()) return status;
    for (const auto& entry : response.entries()) out->entries.push_back(dict_entry_from(entry));
    out->next = response.next_page_token();
    out->revision = response.revision();
    if (!out->entries.empty() || out->next.empty()) return status;
    request.set_page_token(out->next);  // nothing of what it looked at has passed
  }
}

Result<DictInfo> GrpcDict::info() {
  auto info = dict_info(*remote_, name_);
  if (!info.ok()) return told(info.status());
  return info;
}

Result<std::uint64_t> GrpcDict::revision() {
  auto all = info();
  if (!all.ok()) return all.status();
  return all->revision;
}

Status GrpcDict::get_or_lease(std::string_view key, const DictLeaseOptions& options,
                              std::int64_t deadline_ns, DictLeased* out) {
  v1::DictServiceGetOrLeaseRequest request;
  v1::DictServiceGetOrLeaseResponse response;
  request.set_name(name_);
  dict_key_to(key, &request);
  request.set_lease_ms(options.lease.count());
  request.set_early_ms(options.early.count());
  request.set_wait_when_stale(options.wait_when_stale);
  request.set_request_id(remote_->next_request_id());
  const auto attempt = [&](grpc::ClientContext& context) {
    timeout_to(deadline_ns, &request);
    return remote_->dicts->GetOrLease(&context, request, &response);
  };
  Status status = told(remote_->call(deadline_ns, attempt, nullptr, max_value_bytes_));
  if (!status.ok()) return status;
  out->stale = response.stale();
  out->lease = response.lease();
  if (response.has_entry()) {
    DictGot got;
    static_cast<DictEntry&>(got) = dict_entry_from(response.entry());
    got.key = key;
    got.revision = response.revision();
    out->entry = std::move(got);
  }
  if (out->entry || out->lease != 0) return status;
  if (deadline_ns == kTry) return Reason::kEmpty;
  return Status(Reason::kTimedOut,
                "session " + std::to_string(response.holder()) + " is computing the value")
      .with_object("dict " + name_);
}

Result<bool> GrpcDict::end_lease(std::string_view key, std::uint64_t lease) {
  v1::DictServiceEndLeaseRequest request;
  dict_key_to(key, &request);
  request.set_lease(lease);
  HEDDLE_DICT_CALL(EndLease, 0);
  if (!status.ok()) return status;
  return response.ended();
}

Result<std::shared_ptr<DictWatchChannel>> GrpcDict::watch(const DictWatchOptions& options) {
  return watch_grpc_dict(remote_, name_, options);
}

namespace {

void dict_operations_to(std::span<const DictOperation> asked,
                        google::protobuf::RepeatedPtrField<v1::DictOperation>* wire,
                        std::uint64_t* bytes) {
  for (const DictOperation& one : asked) {
    auto* operation = wire->Add();
    operation->set_what(static_cast<v1::DictOperation::What>(static_cast<int>(one.what) + 1));
    dict_key_to(one.key, operation);
    if (one.what == DictOperation::What::kGet) continue;
    dict_conditions_to(one.options, operation->mutable_conditions());
    if (one.what != DictOperation::What::kSet) continue;
    dict_value_to(one.value, operation->mutable_value());
    dict_expiry_to(one.options.expiry, operation->mutable_expiry());
    operation->set_session(one.options.session);
    *bytes += one.value.length();
  }
}

}  // namespace

Status GrpcDict::transact(std::span<const DictCompare> compares,
                          std::span<const DictOperation> then,
                          std::span<const DictOperation> otherwise,
                          const std::optional<Fence>& fence, DictTransacted* out) {
  v1::DictServiceTxnRequest request;
  std::uint64_t bytes = 0;
  for (const DictCompare& one : compares) {
    auto* compare = request.add_compares();
    dict_key_to(one.key, compare);
    compare->set_what(static_cast<v1::DictCompare::What>(static_cast<int>(one.what) + 1));
    compare->set_sign(static_cast<v1::DictCompare::Sign>(static_cast<int>(one.sign) + 1));
    compare->set_number(one.number);
    dict_value_to(one.value, compare->mutable_value());
  }
  dict_operations_to(then, request.mutable_then(), &bytes);
  dict_operations_to(otherwise, request.mutable_otherwise(), &bytes);
  dict_fence_to(fence, &request);
  request.set_request_id(remote_->next_request_id());
  HEDDLE_DICT_CALL(Txn, bytes + max_value_bytes_);
  if (!status.ok()) return status;
  out->outcome = static_cast<DictOutcome>(response.outcome());
  out->refused = response.refused();
  out->held = response.held();
  out->revision = response.revision();
  const auto branch = out->held ? then : otherwise;
  for (int i = 0; i < response.results_size(); ++i) {
    const auto& wire = response.results(i);
    DictOperationResult& result = out->results.emplace_back();
    if (wire.has_changed()) dict_changed_from(wire.changed(), out->revision, &result.changed);
    if (wire.has_entry()) {
      result.entry = dict_entry_from(wire.entry());
      result.entry->key = branch[static_cast<std::size_t>(i)].key;
    }
  }
  return status;
}

#undef HEDDLE_DICT_CALL

}  // namespace heddle::detail
