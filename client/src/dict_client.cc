// What Client knows about dicts.
#include <heddle/client.h>
#include <heddle/name.h>

#include <utility>

#include "client/src/channel.h"
#include "client/src/dict_channel.h"

namespace heddle {
namespace {

Status check_dict(const std::shared_ptr<detail::Channel>& channel, std::string_view name) {
  if (!channel) {
    return Status(Reason::kDaemonUnreachable, "this client is not connected; use Client::connect");
  }
  // `~/` is expanded by the broker, which knows for sure who asks.
  return check_object_name(name.starts_with("~/") ? name.substr(2) : name);
}

Result<Dict> made(Result<std::shared_ptr<detail::DictChannel>> dict) {
  if (!dict) return std::move(dict).status();
  return detail::DictAccess::dict(*std::move(dict));
}

}  // namespace

Result<Dict> Client::create_dict(std::string_view name, const DictOptions& options) {
  if (Status bad = check_dict(channel_, name); !bad.ok()) return bad;
  return made(channel_->open_dict(name, options, true));
}

Result<Dict> Client::create_anonymous_dict(const DictOptions& options) {
  if (Status bad = check_dict(channel_, "anon"); !bad.ok()) return bad;
  return made(channel_->open_dict({}, options, true));
}

Result<Dict> Client::dict(std::string_view name, const DictOptions& options) {
  if (Status bad = check_dict(channel_, name); !bad.ok()) return bad;
  return made(channel_->open_dict(name, options, false));
}

Status Client::delete_dict(std::string_view name) {
  if (Status bad = check_dict(channel_, name); !bad.ok()) return bad;
  return channel_->delete_dict(name);
}

Result<std::vector<DictInfo>> Client::dicts(std::string_view prefix) {
  if (!channel_) return check_dict(channel_, prefix);
  return channel_->dicts(prefix);
}

Result<DictInfo> Client::dict_info(std::string_view name) {
  if (Status bad = check_dict(channel_, name); !bad.ok()) return bad;
  return channel_->dict_info(name);
}

}  // namespace heddle
