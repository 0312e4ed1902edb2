#include <algorithm>
#include <cstring>
#include <thread>
#include <utility>

#include "client/src/grpc_channel/grpc_list.h"
#include "client/src/grpc_channel/grpc_member.h"
#include "client/src/grpc_channel/wire.h"
#include "heddle/v1/block_service.pb.h"

namespace heddle::detail {
namespace {

using BlockStub = v1::BlockService::Stub;

constexpr std::uint64_t kBlockPieceBytes = std::uint64_t{16} << 20;
constexpr auto kBlockNap = std::chrono::milliseconds(2);

BlockInfo block_info_from(const v1::BlockInfo& wire) {
  BlockInfo info;
  member_info_from(wire, &info);
  info.options.size = wire.options().size();
  info.version = wire.version();
  info.writing = wire.writing();
  info.writer_owner = wire.writer_owner();
  info.writer_thread = wire.writer_thread();
  info.torn = wire.torn();
  info.torn_at = wire.torn_at();
  info.torn_end = wire.torn_end();
  return info;
}

class GrpcBlock final : public BlockChannel {
 public:
  GrpcBlock(std::shared_ptr<Remote> remote, const v1::BlockInfo& info)
      : remote_(std::move(remote)), name_(info.name()), size_(info.options().size()) {}
  const std::string& name() const override { return name_; }
  std::uint64_t size() const override { return size_; }

  Result<BlockMap> map(bool) override {
    return Status(Reason::kUnsupported,
                  "a block is mapped by processes of its machine, connected over shared memory; "
                  "over gRPC use read() and write()")
        .with_object("block " + name_);
  }

  // In pieces; all of one version, or again.
  Status read(std::uint64_t at, std::span<std::byte> to, std::int64_t deadline_ns,
              BlockRead* out) override {
    for (;;) {
      Status status = read_pieces(at, to, out);
      if (!status.is(Reason::kTimedOut) || !wait_a_little(deadline_ns)) return status;
    }
  }

  Status write(std::uint64_t at, std::span<const std::byte> from,
               std::optional<std::uint64_t> if_version, std::int64_t deadline_ns,
               std::uint64_t* version) override {
    v1::BlockServiceWriteRequest request;
    v1::BlockServiceWriteResponse response;
    request.set_at(at);
    request.set_data(from.data(), from.size());
    if (if_version) request.set_if_version(*if_version);
    for (;;) {
      request.set_request_id(remote_->next_request_id());
      Status status = call(&BlockStub::Write, request, &response, from.size());
      if (status.is(Reason::kTimedOut) && wait_a_little(deadline_ns)) continue;
      *version = response.version();
      return status;
    }
  }

  Result<std::uint64_t> version() override {
    auto all = info();
    if (!all.ok()) return all.status();
    return all->version;
  }

  Status wait_change(std::uint64_t seen, std::int64_t deadline_ns, std::uint64_t* now) override {
    auto current = version();
    if (!current.ok()) return current.status();
    *now = *current;
    if (*now != seen) return {};
    if (deadline_ns == kTry) return Reason::kEmpty;
    v1::BlockServiceWatchRequest request;
    request.set_name(name_);
    request.set_version_seen(seen);
    return told(watch_once<v1::BlockServiceWatchResponse>(
        *remote_, *remote_->blocks, request, deadline_ns,
        [](const auto& response) { return response.version(); }, now));
  }

  Status mend() override {
    v1::BlockServiceMendRequest request;
    v1::BlockServiceMendResponse response;
    return call(&BlockStub::Mend, request, &response, 0);
  }

  Result<bool> force() override {
    v1::BlockServiceForceRequest request;
    v1::BlockServiceForceResponse response;
    Status status = call(&BlockStub::Force, request, &response, 0);
    if (!status.ok()) return status;
    return response.ended();
  }

  Result<BlockInfo> info() override {
    v1::BlockServiceInfoRequest request;
    v1::BlockServiceInfoResponse response;
    Status status = call(&BlockStub::Info, request, &response, 0);
    if (!status.ok()) return status;
    return block_info_from(response.block());
  }

 private:
  // TIMED_OUT as well when two pieces are of two versions.
  Status read_pieces(std::uint64_t at, std::span<std::byte> to, BlockRead* out) {
    *out = {};
    std::size_t done = 0;
    do {
      v1::BlockServiceReadRequest request;
      v1::BlockServiceReadResponse response;
      request.set_at(at + done);
      request.set_bytes(std::min<std::uint64_t>(kBlockPieceBytes, to.size() - done));
      Status status = call(&BlockStub::Read, request, &response, request.bytes());
      if (!status.ok()) return status;
      if (response.data().size() != request.bytes()) {
        return Status(Reason::kInternal, "the daemon's answer is shorter than was asked");
      }
      if (done != 0 && response.version() != out->version) {
        return Status(Reason::kTimedOut, "it was written while it was read; try again")
            .with_object("block " + name_);
      }
      out->version = response.version();
      out->torn |= response.torn();
      if (!response.data().empty()) {
        std::memcpy(to.data() + done, response.data().data(), response.data().size());
      }
      done += response.data().size();
    } while (done < to.size());
    return {};
  }

  // The daemon waits for no writer.
  static bool wait_a_little(std::int64_t deadline_ns) {
    if (deadline_ns == kTry || monotonic_ns() >= deadline_ns) return false;
    std::this_thread::sleep_for(kBlockNap);
    return true;
  }

  Status told(Status status) const {
    if (status.is(Reason::kNotFound)) {
      return Status(Reason::kClosed, "the block was deleted").with_object("block " + name_);
    }
    if (status.ok() || !status.object().empty()) return status;
    return std::move(status).with_object("block " + name_);
  }

  template <class Method, class Request, class Response>
  Status call(Method method, Request& request, Response* response, std::uint64_t bytes) {
    request.set_name(name_);
    const auto attempt = [&](grpc::ClientContext& context) {
      return (remote_->blocks.get()->*method)(&context, request, response);
    };
    return told(remote_->call(kTry, attempt, nullptr, bytes));
  }

  const std::shared_ptr<Remote> remote_;
  const std::string name_;
  const std::uint64_t size_;
};

}  // namespace

Result<std::shared_ptr<BlockChannel>> open_block(const std::shared_ptr<Remote>& remote,
                                                 std::string_view name, const BlockOptions& options,
                                                 bool create) {
  v1::BlockServiceCreateRequest request;
  v1::BlockServiceCreateResponse response;
  member_create_to(name, options, create, &request);
  if (options.size) request.mutable_options()->set_size(*options.size);
  Status status = remote->call(kTry, [&](grpc::ClientContext& context) {
    return remote->blocks->Create(&context, request, &response);
  });
  if (!status.ok()) return status;
  return std::shared_ptr<BlockChannel>(std::make_shared<GrpcBlock>(remote, response.block()));
}

Status delete_block(Remote& remote, std::string_view name) {
  v1::BlockServiceDeleteRequest request;
  v1::BlockServiceDeleteResponse response;
  request.set_name(std::string(name));
  return remote.call(kTry, [&](grpc::ClientContext& context) {
    return remote.blocks->Delete(&context, request, &response);
  });
}

Result<std::vector<BlockInfo>> list_blocks(Remote& remote, std::string_view prefix) {
  std::vector<BlockInfo> all;
  v1::BlockServiceListRequest request;
  v1::BlockServiceListResponse response;
  request.set_prefix(std::string(prefix));
  do {
    Status status = remote.call(kTry, [&](grpc::ClientContext& context) {
      return remote.blocks->List(&context, request, &response);
    });
    if (!status.ok()) return status;
    for (const auto& block : response.blocks()) all.push_back(block_info_from(block));
    request.set_page_token(response.next_page_token());
  } while (!response.next_page_token().empty());
  return all;
}

Result<BlockInfo> block_info(Remote& remote, std::string_view name) {
  v1::BlockServiceInfoRequest request;
  v1::BlockServiceInfoResponse response;
  request.set_name(std::string(name));
  Status status = remote.call(kTry, [&](grpc::ClientContext& context) {
    return remote.blocks->Info(&context, request, &response);
  });
  if (!status.ok()) return status;
  return block_info_from(response.block());
}

}  // namespace heddle::detail
