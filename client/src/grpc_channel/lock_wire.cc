#include "client/src/grpc_channel/lock_wire.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

namespace heddle::detail {
namespace {

using nlohmann::json;

constexpr double kExactMax = 9'007'199'254'740'992;  // 2^53

// The position of a known enumerator, the first one for another.
template <class Enum>
Enum from_wire(int wire, int count) {
  return static_cast<Enum>(wire >= 1 && wire <= count ? wire - 1 : 0);
}

json json_of(const google::protobuf::Struct& from);

json json_of(const google::protobuf::Value& from) {
  switch (from.kind_case()) {
    case google::protobuf::Value::kNumberValue: {
      const double number = from.number_value();
      const bool whole = std::trunc(number) == number && std::abs(number) <= kExactMax;
      return whole ? json(static_cast<std::int64_t>(number)) : json(number);
    }
    case google::protobuf::Value::kStringValue:
      return from.string_value();
    case google::protobuf::Value::kBoolValue:
      return from.bool_value();
    case google::protobuf::Value::kStructValue:
      return json_of(from.struct_value());
    case google::protobuf::Value::kListValue: {
      json list = json::array();
      for (const auto& one : from.list_value().values()) list.push_back(json_of(one));
      return list;
    }
    default:
      return nullptr;
  }
}

json json_of(const google::protobuf::Struct& from) {
  json object = json::object();
  for (const auto& [key, value] : from.fields()) object[key] = json_of(value);
  return object;
}

LockParty party_from(const v1::LockParty& wire, bool waits) {
  LockParty party;
  party.session = static_cast<std::uint16_t>(wire.peer().owner());
  party.thread = static_cast<std::uint16_t>(wire.thread());
  party.pid = wire.peer().pid();
  party.uid = wire.peer().uid();
  party.command = wire.peer().name();
  party.mode = from_wire<LockMode>(wire.mode(), 3);
  party.waits = waits;
  party.since = std::chrono::milliseconds(wire.has_age_ms() ? wire.age_ms() : -1);
  return party;
}

}  // namespace

void options_to(const LockSpec& spec, v1::LockOptions* wire) {
  const auto give = [](const auto& value, auto set) {
    if (value) set(*value);
  };
  give(spec.lock_kind, [wire](LockKind kind) {
    wire->set_lock_kind(static_cast<v1::LockOptions::LockKind>(static_cast<int>(kind) + 1));
  });
  give(spec.on_owner_death, [wire](OwnerDeath death) {
    wire->set_on_owner_death(static_cast<v1::LockOptions::OwnerDeath>(static_cast<int>(death) + 1));
  });
  give(spec.fair, [wire](Fairness fair) {
    wire->set_fair(static_cast<v1::LockOptions::Fairness>(static_cast<int>(fair) + 1));
  });
  give(spec.lifetime, [wire](Lifetime lifetime) {
    wire->set_lifetime(static_cast<v1::LockOptions::Lifetime>(static_cast<int>(lifetime) + 1));
  });
  give(spec.lock_delay, [wire](std::chrono::milliseconds delay) {
    // What does not fit is the largest there is; the broker refuses it by name.
    const auto fits = std::clamp<std::int64_t>(delay.count(), 0, UINT32_MAX);
    wire->set_lock_delay_ms(static_cast<std::uint32_t>(fits));
  });
  give(spec.count, [wire](std::uint32_t count) { wire->set_count(count); });
  give(spec.count_max, [wire](std::uint32_t count) { wire->set_count_max(count); });
  give(spec.counting, [wire](bool counting) { wire->set_counting(counting); });
  give(spec.mode, [wire](std::uint32_t mode) { wire->set_mode(mode); });
  if (!spec.group.empty()) wire->set_group(spec.group);
}

Grant grant_from(const v1::LockGrant& wire) {
  return {.token = wire.token(),
          .abandoned = wire.abandoned(),
          .previous_session = static_cast<std::uint16_t>(wire.previous().owner()),
          .previous_thread = static_cast<std::uint16_t>(wire.previous_thread()),
          .previous_pid = wire.previous().pid()};
}

LockInfo info_from(const v1::LockInfo& wire) {
  LockInfo info;
  const v1::LockOptions& options = wire.options();
  info.kind = from_wire<SyncKind>(wire.kind(), 5);
  info.lock_kind = from_wire<LockKind>(options.lock_kind(), 3);
  info.counting = options.counting();
  info.name = wire.name();
  info.object_id = wire.object_id();
  info.owner_uid = wire.uid();
  info.owner_gid = wire.gid();
  info.mode = options.mode();
  info.lifetime = from_wire<Lifetime>(options.lifetime(), 3);
  info.on_owner_death = from_wire<OwnerDeath>(options.on_owner_death(), 3);
  info.fair = from_wire<Fairness>(options.fair(), 2);
  info.lock_delay = std::chrono::milliseconds(options.lock_delay_ms());
  info.attached = wire.attached();
  info.token = wire.token();
  info.limit = options.counting() ? options.count_max() : options.count();
  info.free = wire.free();
  info.arrived = wire.arrived();
  info.set = wire.set();
  info.broken = wire.broken();
  info.poisoned = wire.poisoned();
  info.abandoned = wire.abandoned();
  for (const auto& party : wire.holders()) info.holders.push_back(party_from(party, false));
  for (const auto& party : wire.waiters()) info.waiters.push_back(party_from(party, true));
  return info;
}

LockGlance glance_from(const v1::LockInfo& wire) {
  const v1::LockOptions& options = wire.options();
  return {.locked = wire.locked(),
          .token = wire.token(),
          .limit = options.counting() ? options.count_max() : options.count(),
          .free = wire.free(),
          .arrived = wire.arrived(),
          .set = wire.set(),
          .broken = wire.broken()};
}

std::string json_from(const google::protobuf::Struct& report) {
  return json_of(report).dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace heddle::detail
