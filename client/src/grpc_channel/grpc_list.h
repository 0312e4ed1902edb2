// Lists and blocks over gRPC: unary calls, and a stream for each wait.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "client/src/channel.h"
#include "client/src/grpc_channel/remote.h"
#include "client/src/list_channel.h"

namespace heddle::detail {

Result<std::shared_ptr<ListChannel>> open_list(const std::shared_ptr<Remote>& remote,
                                               std::string_view name, const ListOptions& options,
                                               bool create);
Status delete_list(Remote& remote, std::string_view name);
Result<std::vector<ListInfo>> list_lists(Remote& remote, std::string_view prefix);
Result<ListInfo> list_info(Remote& remote, std::string_view name);

Result<std::shared_ptr<BlockChannel>> open_block(const std::shared_ptr<Remote>& remote,
                                                 std::string_view name, const BlockOptions& options,
                                                 bool create);
Status delete_block(Remote& remote, std::string_view name);
Result<std::vector<BlockInfo>> list_blocks(Remote& remote, std::string_view prefix);
Result<BlockInfo> block_info(Remote& remote, std::string_view name);

}  // namespace heddle::detail
