// What Client knows about lists and blocks.
#include <heddle/client.h>
#include <heddle/name.h>

#include <utility>

#include "client/src/channel.h"
#include "client/src/list_channel.h"

namespace heddle {
namespace {

Status check_member(const std::shared_ptr<detail::Channel>& channel, std::string_view name) {
  if (!channel) {
    return Status(Reason::kDaemonUnreachable, "this client is not connected; use Client::connect");
  }
  // `~/` is expanded by the broker, which knows for sure who asks.
  return check_object_name(name.starts_with("~/") ? name.substr(2) : name);
}

Result<List> made_list(Result<std::shared_ptr<detail::ListChannel>> list) {
  if (!list) return std::move(list).status();
  return detail::ListAccess::list(*std::move(list));
}
Result<Block> made_block(Result<std::shared_ptr<detail::BlockChannel>> block) {
  if (!block) return std::move(block).status();
  return detail::BlockAccess::block(*std::move(block));
}

}  // namespace

Result<List> Client::create_list(std::string_view name, const ListOptions& options) {
  if (Status bad = check_member(channel_, name); !bad.ok()) return bad;
  return made_list(channel_->open_list(name, options, true));
}
Result<List> Client::create_anonymous_list(const ListOptions& options) {
  if (Status bad = check_member(channel_, "anon"); !bad.ok()) return bad;
  return made_list(channel_->open_list({}, options, true));
}
Result<List> Client::open_list(std::string_view name, const ListOptions& options) {
  if (Status bad = check_member(channel_, name); !bad.ok()) return bad;
  return made_list(channel_->open_list(name, options, false));
}
Status Client::delete_list(std::string_view name) {
  if (Status bad = check_member(channel_, name); !bad.ok()) return bad;
  return channel_->delete_list(name);
}
Result<std::vector<ListInfo>> Client::lists(std::string_view prefix) {
  if (!channel_) return check_member(channel_, prefix);
  return channel_->lists(prefix);
}
Result<ListInfo> Client::list_info(std::string_view name) {
  if (Status bad = check_member(channel_, name); !bad.ok()) return bad;
  return channel_->list_info(name);
}

Result<Block> Client::create_block(std::string_view name, const BlockOptions& options) {
  if (Status bad = check_member(channel_, name); !bad.ok()) return bad;
  return made_block(channel_->open_block(name, options, true));
}
Result<Block> Client::create_anonymous_block(const BlockOptions& options) {
  if (Status bad = check_member(channel_, "anon"); !bad.ok()) return bad;
  return made_block(channel_->open_block({}, options, true));
}
Result<Block> Client::open_block(std::string_view name, const BlockOptions& options) {
  if (Status bad = check_member(channel_, name); !bad.ok()) return bad;
  return made_block(channel_->open_block(name, options, false));
}
Status Client::delete_block(std::string_view name) {
  if (Status bad = check_member(channel_, name); !bad.ok()) return bad;
  return channel_->delete_block(name);
}
Result<std::vector<BlockInfo>> Client::blocks(std::string_view prefix) {
  if (!channel_) return check_member(channel_, prefix);
  return channel_->blocks(prefix);
}
Result<BlockInfo> Client::block_info(std::string_view name) {
  if (Status bad = check_member(channel_, name); !bad.ok()) return bad;
  return channel_->block_info(name);
}

}  // namespace heddle
