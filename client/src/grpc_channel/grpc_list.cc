#include "client/src/grpc_channel/grpc_list.h"

#include <algorithm>
#include <utility>

#include "client/src/grpc_channel/grpc_dict.h"
#include "client/src/grpc_channel/grpc_member.h"
#include "client/src/grpc_channel/wire.h"
#include "heddle/v1/list_service.pb.h"

namespace heddle::detail {
namespace {

using ListStub = v1::ListService::Stub;

constexpr std::size_t kListRowsAtOnce = 4'096;
constexpr std::uint64_t kListBytesAtOnce = 2 << 20;

ListInfo list_info_from(const v1::ListInfo& wire) {
  ListInfo info;
  member_info_from(wire, &info);
  info.length = wire.length();
  info.bytes = wire.bytes();
  info.revision = wire.revision();
  info.options.max_len = wire.options().max_len();
  info.options.max_bytes = wire.options().max_bytes();
  info.options.max_value_bytes = wire.options().max_value_bytes();
  return info;
}

ListItem list_item_from(const v1::ListElement& wire) {
  return {dict_value_from(wire.value()), wire.revision()};
}

class GrpcList final : public ListChannel {
 public:
  GrpcList(std::shared_ptr<Remote> remote, const v1::ListInfo& info)
      : remote_(std::move(remote)),
        name_(info.name()),
        max_value_bytes_(info.options().max_value_bytes()) {}
  const std::string& name() const override { return name_; }

#define HEDDLE_LIST_CALL(Name, bytes)       \
  v1::ListService##Name##Response response; \
  Status status = call(&ListStub::Name, request, &response, bytes)

  Status get(std::int64_t index, ListItem* out) override {
    v1::ListServiceGetRequest request;
    request.set_index(index);
    HEDDLE_LIST_CALL(Get, max_value_bytes_);
    if (status.ok()) *out = list_item_from(response.element());
    return status;
  }

  Status slice(std::int64_t from, std::size_t most, std::optional<std::uint64_t> if_revision,
               ListPage* out) override {
    v1::ListServiceSliceRequest request;
    request.set_from(from);
    request.set_page_size(static_cast<std::uint32_t>(std::min(most, kListRowsAtOnce)));
    if (if_revision) request.set_if_revision(*if_revision);
    HEDDLE_LIST_CALL(Slice, kListBytesAtOnce + max_value_bytes_);
    if (!status.ok()) return status;
    for (const auto& element : response.elements()) out->items.push_back(list_item_from(element));
    out->from = response.from();
    out->length = response.length();
    out->revision = response.revision();
    return status;
  }

  Status change(const ListChangeSpec& spec, ListTaken* out) override {
    switch (spec.what) {
      case ListChangeWhat::kAppend: {
        v1::ListServiceAppendRequest request;
        return send(&ListStub::Append, request, spec, v1::ListServiceAppendResponse(), out);
      }
      case ListChangeWhat::kInsert: {
        v1::ListServiceInsertRequest request;
        return send(&ListStub::Insert, request, spec, v1::ListServiceInsertResponse(), out);
      }
      case ListChangeWhat::kSet: {
        v1::ListServiceSetRequest request;
        return send(&ListStub::Set, request, spec, v1::ListServiceSetResponse(), out);
      }
      case ListChangeWhat::kPop: {
        v1::ListServicePopRequest request;
        return send(&ListStub::Pop, request, spec, v1::ListServicePopResponse(), out);
      }
      case ListChangeWhat::kRemove: {
        v1::ListServiceRemoveRequest request;
        return send(&ListStub::Remove, request, spec, v1::ListServiceRemoveResponse(), out);
      }
      case ListChangeWhat::kClear:
        break;
    }
    v1::ListServiceClearRequest request;
    return send(&ListStub::Clear, request, spec, v1::ListServiceClearResponse(), out);
  }

  Status wait_change(std::uint64_t revision, std::int64_t deadline_ns,
                     std::uint64_t* now) override {
    std::uint64_t length = 0;
    if (Status status = figures(&length, now); !status.ok() || *now >= revision) return status;
    if (deadline_ns == kTry) return Reason::kEmpty;
    v1::ListServiceWatchRequest request;
    request.set_name(name_);
    request.set_revision(revision);
    return told(watch_once<v1::ListServiceWatchResponse>(
        *remote_, *remote_->lists, request, deadline_ns,
        [](const auto& response) { return response.revision(); }, now));
  }

  Status figures(std::uint64_t* length, std::uint64_t* revision) override {
    v1::ListServiceInfoRequest request;
    HEDDLE_LIST_CALL(Info, 0);
    *length = response.list().length();
    *revision = response.list().revision();
    return status;
  }

  Result<ListInfo> info() override {
    v1::ListServiceInfoRequest request;
    HEDDLE_LIST_CALL(Info, 0);
    if (!status.ok()) return status;
    return list_info_from(response.list());
  }

#undef HEDDLE_LIST_CALL

 private:
  // Names the list, and says CLOSED when it is no more.
  Status told(Status status) const {
    if (status.is(Reason::kNotFound)) {
      return Status(Reason::kClosed, "the list was deleted").with_object("list " + name_);
    }
    if (status.ok() || !status.object().empty()) return status;
    return std::move(status).with_object("list " + name_);
  }

  template <class Method, class Request, class Response>
  Status call(Method method, Request& request, Response* response, std::uint64_t bytes) {
    request.set_name(name_);
    const auto attempt = [&](grpc::ClientContext& context) {
      return (remote_->lists.get()->*method)(&context, request, response);
    };
    return told(remote_->call(kTry, attempt, nullptr, bytes));
  }

  template <class Method, class Request, class Response>
  Status send(Method method, Request& request, const ListChangeSpec& spec, Response response,
              ListTaken* out) {
    if (spec.if_revision) request.set_if_revision(*spec.if_revision);
    if constexpr (requires { request.set_index(spec.index); }) request.set_index(spec.index);
    std::uint64_t bytes = max_value_bytes_;  // of what comes back
    if constexpr (requires { request.mutable_value(); }) {
      dict_value_to(*spec.value, request.mutable_value());
      bytes = spec.value->length();
    }
    request.set_request_id(remote_->next_request_id());
    Status status = call(method, request, &response, bytes);
    if (!status.ok()) return status;
    out->index = response.changed().index();
    out->length = response.changed().length();
    out->revision = response.changed().revision();
    if constexpr (requires { response.element(); }) out->item = list_item_from(response.element());
    return status;
  }

  const std::shared_ptr<Remote> remote_;
  const std::string name_;
  const std::uint64_t max_value_bytes_;
};

}  // namespace

Result<std::shared_ptr<ListChannel>> open_list(const std::shared_ptr<Remote>& remote,
                                               std::string_view name, const ListOptions& options,
                                               bool create) {
  v1::ListServiceCreateRequest request;
  v1::ListServiceCreateResponse response;
  member_create_to(name, options, create, &request);
  v1::ListOptions* wire = request.mutable_options();
  if (options.max_len) wire->set_max_len(*options.max_len);
  if (options.max_bytes) wire->set_max_bytes(*options.max_bytes);
  if (options.max_value_bytes) wire->set_max_value_bytes(*options.max_value_bytes);
  Status status = remote->call(kTry, [&](grpc::ClientContext& context) {
    return remote->lists->Create(&context, request, &response);
  });
  if (!status.ok()) return status;
  return std::shared_ptr<ListChannel>(std::make_shared<GrpcList>(remote, response.list()));
}

Status delete_list(Remote& remote, std::string_view name) {
  v1::ListServiceDeleteRequest request;
  v1::ListServiceDeleteResponse response;
  request.set_name(std::string(name));
  return remote.call(kTry, [&](grpc::ClientContext& context) {
    return remote.lists->Delete(&context, request, &response);
  });
}

Result<std::vector<ListInfo>> list_lists(Remote& remote, std::string_view prefix) {
  std::vector<ListInfo> all;
  v1::ListServiceListRequest request;
  v1::ListServiceListResponse response;
  request.set_prefix(std::string(prefix));
  do {
    Status status = remote.call(kTry, [&](grpc::ClientContext& context) {
      return remote.lists->List(&context, request, &response);
    });
    if (!status.ok()) return status;
    for (const auto& list : response.lists()) all.push_back(list_info_from(list));
    request.set_page_token(response.next_page_token());
  } while (!response.next_page_token().empty());
  return all;
}

Result<ListInfo> list_info(Remote& remote, std::string_view name) {
  v1::ListServiceInfoRequest request;
  v1::ListServiceInfoResponse response;
  request.set_name(std::string(name));
  Status status = remote.call(kTry, [&](grpc::ClientContext& context) {
    return remote.lists->Info(&context, request, &response);
  });
  if (!status.ok()) return status;
  return list_info_from(response.list());
}

}  // namespace heddle::detail
