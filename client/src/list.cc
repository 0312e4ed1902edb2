#include <heddle/block.h>
#include <heddle/list.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "client/src/channel.h"
#include "client/src/list_channel.h"

namespace heddle {

namespace {

Status no_list() {
  return Status(Reason::kInvalidArgument, "this handle has no list; use Client::open_list");
}
Status no_block() {
  return Status(Reason::kInvalidArgument, "this handle has no block; use Client::open_block");
}

const std::string kNameless;
constexpr std::size_t kItemsAtOnce = 4096;
constexpr int kItemTries = 100;

Result<ListTaken> list_changed(const std::shared_ptr<detail::ListChannel>& list,
                               const detail::ListChangeSpec& spec) {
  if (!list) return no_list();
  if (spec.value != nullptr && spec.value->type() == DictType::kJson) {
    const auto* text = reinterpret_cast<const char*>(spec.value->data());
    if (!nlohmann::json::accept(text, text + spec.value->length())) {
      return Status(Reason::kInvalidArgument, "the value is not JSON; write it as a string")
          .with_object("list " + list->name());
    }
  }
  ListTaken taken;
  Status status = list->change(spec, &taken);
  if (!status.ok()) return status;
  return taken;
}

Result<ListChanged> without_item(Result<ListTaken> taken) {
  if (!taken) return std::move(taken).status();
  return static_cast<const ListChanged&>(*taken);
}

}  // namespace

using detail::ListChangeWhat;

const std::string& List::name() const { return list_ ? list_->name() : kNameless; }

Result<ListItem> List::get(std::int64_t index) {
  if (!list_) return no_list();
  ListItem item;
  Status status = list_->get(index, &item);
  if (!status.ok()) return status;
  return item;
}

Result<ListPage> List::slice(std::int64_t from, std::size_t most,
                             std::optional<std::uint64_t> if_revision) {
  if (!list_) return no_list();
  if (most == 0) return Status(Reason::kInvalidArgument, "a page has one element at least");
  ListPage page;
  Status status = list_->slice(from, most, if_revision, &page);
  if (!status.ok()) return status;
  return page;
}

Result<std::vector<ListItem>> List::items() {
  for (int tries = 0;; ++tries) {
    std::vector<ListItem> all;
    auto page = slice(0, kItemsAtOnce);
    while (page) {
      for (ListItem& item : page->items) all.push_back(std::move(item));
      const auto next = page->next();
      if (!next) return all;
      page = slice(*next, kItemsAtOnce, page->revision);
    }
    if (!page.status().is(Reason::kMismatch) || tries == kItemTries) {
      return std::move(page).status();
    }
  }
}

Result<std::uint64_t> List::len() {
  if (!list_) return no_list();
  std::uint64_t length = 0, revision = 0;
  Status status = list_->figures(&length, &revision);
  if (!status.ok()) return status;
  return length;
}

Result<std::uint64_t> List::revision() {
  if (!list_) return no_list();
  std::uint64_t length = 0, revision = 0;
  Status status = list_->figures(&length, &revision);
  if (!status.ok()) return status;
  return revision;
}

Result<std::uint64_t> List::wait_change(std::uint64_t revision, std::chrono::nanoseconds timeout) {
  if (!list_) return no_list();
  std::uint64_t now = 0;
  Status status = list_->wait_change(revision, detail::deadline_after(timeout), &now);
  if (!status.ok()) return status;
  return now;
}

Result<ListChanged> List::append(const DictInput& value, std::optional<std::uint64_t> if_revision) {
  return without_item(list_changed(list_, {ListChangeWhat::kAppend, 0, &value, if_revision}));
}
Result<ListChanged> List::insert(std::int64_t index, const DictInput& value,
                                 std::optional<std::uint64_t> if_revision) {
  return without_item(list_changed(list_, {ListChangeWhat::kInsert, index, &value, if_revision}));
}
Result<ListChanged> List::set(std::int64_t index, const DictInput& value,
                              std::optional<std::uint64_t> if_revision) {
  return without_item(list_changed(list_, {ListChangeWhat::kSet, index, &value, if_revision}));
}
Result<ListTaken> List::pop(std::int64_t index, std::optional<std::uint64_t> if_revision) {
  return list_changed(list_, {ListChangeWhat::kPop, index, nullptr, if_revision});
}
Result<ListChanged> List::remove(std::int64_t index, std::optional<std::uint64_t> if_revision) {
  return without_item(list_changed(list_, {ListChangeWhat::kRemove, index, nullptr, if_revision}));
}
Result<ListChanged> List::clear(std::optional<std::uint64_t> if_revision) {
  return without_item(list_changed(list_, {ListChangeWhat::kClear, 0, nullptr, if_revision}));
}

Result<ListInfo> List::info() {
  if (!list_) return no_list();
  return list_->info();
}

const std::string& Block::name() const { return block_ ? block_->name() : kNameless; }
std::uint64_t Block::size() const noexcept { return block_ ? block_->size() : 0; }

Result<BlockMap> Block::map(bool read_only) {
  if (!block_) return no_block();
  return block_->map(read_only);
}

Result<BlockRead> Block::read(std::uint64_t at, std::span<std::byte> to,
                              std::chrono::nanoseconds timeout) {
  if (!block_) return no_block();
  BlockRead read;
  Status status = block_->read(at, to, detail::deadline_after(timeout), &read);
  if (!status.ok()) return status;
  return read;
}

Result<std::uint64_t> Block::write(std::uint64_t at, std::span<const std::byte> from,
                                   const BlockWriteOptions& options) {
  if (!block_) return no_block();
  std::uint64_t version = 0;
  Status status = block_->write(at, from, options.if_version,
                                detail::deadline_after(options.timeout), &version);
  if (!status.ok()) return status;
  return version;
}

Result<std::uint64_t> Block::version() {
  if (!block_) return no_block();
  return block_->version();
}

Result<std::uint64_t> Block::wait_change(std::uint64_t version_seen,
                                         std::chrono::nanoseconds timeout) {
  if (!block_) return no_block();
  std::uint64_t now = 0;
  Status status = block_->wait_change(version_seen, detail::deadline_after(timeout), &now);
  if (!status.ok()) return status;
  return now;
}

Status Block::mend() { return block_ ? block_->mend() : no_block(); }

Result<bool> Block::force() {
  if (!block_) return no_block();
  return block_->force();
}

Result<BlockInfo> Block::info() {
  if (!block_) return no_block();
  return block_->info();
}

}  // namespace heddle
