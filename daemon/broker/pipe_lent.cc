#include "daemon/broker/pipe_lent.h"

#include <cinttypes>
#include <cstdio>
#include <utility>

#include "daemon/broker/kept_status.h"
#include "proto/local/attach.h"

namespace heddle::broker {
namespace {

using local::KeptKind;

std::string label_of(const PipeLent::Lender& lender) {
  char label[local::kKeptLabelBytes];
  std::snprintf(label, sizeof label, "%" PRIx64 " %x %" PRIx64 " %x", lender.connection,
                static_cast<unsigned>(lender.side), lender.session_id, lender.request);
  return label;
}

bool parse_label(const std::string& label, PipeLent::Lender* out) {
  unsigned side = 0;
  const int fields = std::sscanf(label.c_str(), "%" SCNx64 " %x %" SCNx64 " %x", &out->connection,
                                 &side, &out->session_id, &out->request);
  out->side = static_cast<shm::PipeSide>(side & 1);
  return fields == 4 && side <= 1 && label == label_of(*out);
}

}  // namespace

void PipeLent::adopt(local::Kept kept, const std::function<bool(uint64_t connection)>& there) {
  Lender lender{};
  Bundle bundle = hold_bundle(std::move(kept.fd));
  if (!parse_label(kept.label, &lender) || !there(lender.connection)) {
    (void)keeper_.drop(KeptKind::kLent, kept.key);
    return;
  }
  waiting_[lender.connection][kept.key] = {lender, std::move(bundle)};
}

Result<uint64_t> PipeLent::lend(const Lender& lender, Bundle bundle,
                                const std::function<uint64_t()>& fresh) {
  const auto here = waiting_.find(lender.connection);
  if (here != waiting_.end()) {
    for (const auto& [number, one] : here->second) {
      if (one.lender == lender) return number;
    }
    if (here->second.size() >= local::kLentMax) {
      return Status(
                 Reason::kQuota,
                 "as many messages with descriptors wait in this connection as may; receive some")
          .with_limit(local::kLentMax, here->second.size());
    }
  }
  const uint64_t number = fresh();
  const auto kept = keeper_.keep(KeptKind::kLent, number, bundle->get(), label_of(lender));
  if (!kept.ok()) return kept_status(kept);
  waiting_[lender.connection][number] = {lender, std::move(bundle)};
  return number;
}

const PipeLent::Waiting* PipeLent::at(uint64_t connection, uint64_t number) const {
  const auto here = waiting_.find(connection);
  if (here == waiting_.end()) return nullptr;
  const auto one = here->second.find(number);
  return one == here->second.end() ? nullptr : &one->second;
}

Bundle PipeLent::find(uint64_t connection, shm::PipeSide side, uint64_t number) const {
  const Waiting* one = at(connection, number);
  return one != nullptr && one->lender.side == shm::other_side(side) ? one->bundle : nullptr;
}

void PipeLent::forget(uint64_t connection, shm::PipeSide side, uint64_t session_id,
                      uint64_t number) {
  const Waiting* one = at(connection, number);
  if (one == nullptr) return;
  if (one->lender.side == side && one->lender.session_id != session_id) return;
  (void)keeper_.drop(KeptKind::kLent, number);
  const auto here = waiting_.find(connection);
  here->second.erase(number);
  if (here->second.empty()) waiting_.erase(here);
}

void PipeLent::forget_all_of(uint64_t connection) {
  const auto here = waiting_.find(connection);
  if (here == waiting_.end()) return;
  for (const auto& [number, one] : here->second) (void)keeper_.drop(KeptKind::kLent, number);
  waiting_.erase(here);
}

}  // namespace heddle::broker
