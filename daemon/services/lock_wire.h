// Locks and their kin between the wire and the broker's structs.
#pragma once

#include <heddle/status.h>

#include <vector>

#include "daemon/broker/broker.h"
#include "heddle/v1/lock_service.pb.h"

namespace heddle::services {

// INVALID_ARGUMENT for an enumerator that is not known.
Status kind_from(v1::SyncKind wire, broker::ObjectKind* out);
Status mode_from(v1::LockMode wire, shm::LockMode* out);
Status options_from(const v1::LockOptions& wire, broker::LockOptions* out);
// INVALID_ARGUMENT from 1024 on.
Status thread_from(uint32_t wire, uint16_t* out);

void info_to(const broker::LockRef& ref, const objects::LockInfo& info, v1::LockInfo* wire);
void parties_to(const objects::LockInfo& info, const std::vector<objects::LockParty>& local,
                v1::LockInfo* wire);
void grant_to(const objects::LockReply& reply, v1::LockGrant* wire);

}  // namespace heddle::services
