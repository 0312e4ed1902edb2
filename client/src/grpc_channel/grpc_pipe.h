// Pipes over gRPC.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "client/src/grpc_channel/pipe_link.h"
#include "client/src/pipe_channel.h"

namespace heddle::detail {

PipeOptions pipe_options_from(const v1::PipeOptions& wire);

class GrpcPipe final : public PipeChannel {
 public:
  // Closes the link with the last handle.
  using LinkRef = std::shared_ptr<PipeLink>;
  explicit GrpcPipe(LinkRef link) : link_(std::move(link)) {}
  ~GrpcPipe() override { let_go(); }

  const std::string& name() const override { return link_->opened().name(); }
  PipeSide side() const override;
  PipeOptions options() const override { return pipe_options_from(link_->opened().options()); }
  Status send(const Body& body, std::int64_t deadline_ns, std::size_t* sent) override;
  Status send_many(std::span<const Body> bodies, std::int64_t deadline_ns,
                   std::size_t* done) override;
  Status hold(std::int64_t deadline_ns) override;
  void let_go() noexcept override;
  // The room is this process's own. What is committed is on its way then; that it could not be
  // sent is told by the next call, at the latest by shutdown_write().
  Status reserve(std::size_t bytes, std::int64_t deadline_ns, std::span<std::byte>* room) override;
  Status commit(std::span<std::byte> room, std::size_t length, BodyKind kind) override;
  void abandon() noexcept override { room_.clear(); }
  Status receive(std::span<std::byte> to, std::int64_t deadline_ns, std::size_t* length,
                 BodyKind* kind) override;
  Status view(std::int64_t deadline_ns, std::span<const std::byte>* bytes, BodyKind* kind) override;
  Status consume(std::span<const std::byte> bytes, std::size_t length) override;
  void unview() noexcept override { link_->keep(); }
  Status poll(std::int64_t deadline_ns) override;
  Status shutdown_write() override;
  Result<std::vector<PipeUser>> peer() override;
  Result<int> ready_fd() override { return link_->ready_fd(); }
  Result<std::shared_ptr<PipeChannel>> share() override;

 private:
  // In requests that go on with each other; *messages and *bytes are what is in.
  Status send_run(std::span<const Body> bodies, std::int64_t deadline_ns, std::size_t* messages,
                  std::size_t* bytes);
  Status settle_commits(std::size_t unanswered_max);

  const LinkRef link_;
  std::string room_;
  std::vector<std::uint64_t> commits_;  // tickets not looked at yet
};

PipeUser pipe_user_from(const v1::PipeEnd::User& wire);
Status create_pipe(Remote& remote, std::string_view name, const PipeOptions& options);
Result<std::shared_ptr<PipeChannel>> open_pipe(std::shared_ptr<Remote> remote,
                                               std::string_view name, const PipeOptions& options,
                                               v1::PipeServiceAttachRequest::How how,
                                               std::int64_t deadline_ns);
Result<std::shared_ptr<PipeHallChannel>> listen_pipe(std::shared_ptr<Remote> remote,
                                                     std::string_view name,
                                                     const PipeOptions& options);
Status delete_pipe(Remote& remote, std::string_view name);
Result<std::vector<PipeInfo>> list_pipes(Remote& remote, std::string_view prefix);
Result<PipeInfo> pipe_info(Remote& remote, std::string_view name);

}  // namespace heddle::detail
