// The structs of locks against their messages.
#pragma once

#include <google/protobuf/struct.pb.h>

#include <string>

#include "client/src/lock_channel.h"
#include "heddle/v1/lock_service.pb.h"

namespace heddle::detail {

inline v1::SyncKind kind_to(SyncKind kind) {
  return static_cast<v1::SyncKind>(static_cast<int>(kind) + 1);
}
inline v1::LockMode mode_to(LockMode mode) {
  return static_cast<v1::LockMode>(static_cast<int>(mode) + 1);
}

void options_to(const LockSpec& spec, v1::LockOptions* wire);
Grant grant_from(const v1::LockGrant& wire);
LockInfo info_from(const v1::LockInfo& wire);
LockGlance glance_from(const v1::LockInfo& wire);
// The JSON text of a report: the lite runtime has no printer of its own.
std::string json_from(const google::protobuf::Struct& report);

}  // namespace heddle::detail
