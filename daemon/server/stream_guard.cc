#include "daemon/server/stream_guard.h"

#include <grpc/grpc.h>
#include <grpc/support/alloc.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>

namespace heddle::server {
namespace {

using Json = nlohmann::json;

constexpr uint64_t kGrowthBytes = 16 << 20;
constexpr int64_t kGapMax = 20'000;  // connections that came and went between two looks

uint64_t resident_bytes() {
  unsigned long long size = 0, resident = 0;
  std::FILE* file = std::fopen("/proc/self/statm", "re");
  if (file == nullptr) return UINT64_MAX;  // no descriptor left: look
  const int read = std::fscanf(file, "%llu %llu", &size, &resident);
  std::fclose(file);
  return read == 2 ? resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE)) : UINT64_MAX;
}

Json parse(char* text) {
  if (text == nullptr) return {};
  Json json = Json::parse(text, nullptr, false);
  gpr_free(text);
  return json.is_discarded() ? Json() : json;
}

// channelz writes 64-bit numbers as strings.
uint64_t number(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end()) return 0;
  if (found->is_number()) return found->get<uint64_t>();
  return found->is_string() ? std::strtoull(found->get<std::string>().c_str(), nullptr, 10) : 0;
}

// False: there is no such socket (any more).
bool look_at(int64_t socket_id, uint64_t streams_max, std::vector<int>* out) {
  const Json answer = parse(grpc_channelz_get_socket(static_cast<intptr_t>(socket_id)));
  const auto socket = answer.find("socket");
  if (socket == answer.end()) return false;
  if (!socket->contains("data")) return true;
  const Json& data = (*socket)["data"];
  const uint64_t started = number(data, "streamsStarted");
  const uint64_t ended = number(data, "streamsSucceeded") + number(data, "streamsFailed");
  if (started <= ended + streams_max) return true;
  const std::string name = (*socket)["ref"].value("name", "");
  const size_t at = name.rfind("fd:");
  if (at != std::string::npos) out->push_back(std::atoi(name.c_str() + at + 3));
  return true;
}

}  // namespace

std::vector<int> StreamGuard::crowded(uint64_t streams_max) {
  std::vector<int> found;
  const uint64_t bytes = resident_bytes();
  if (bytes < looked_at_bytes_) looked_at_bytes_ = bytes;
  if (bytes - looked_at_bytes_ < kGrowthBytes) return found;
  looked_at_bytes_ = bytes;
  // A server does not list the sockets that it was given, so they are looked for by their numbers,
  // which rise by one with each.
  for (int64_t misses = 0; misses < kGapMax; ++next_id_, ++misses) {
    if (look_at(next_id_, streams_max, &found)) {
      ids_.push_back(next_id_);
      misses = 0;
    }
  }
  next_id_ -= kGapMax;
  std::erase_if(ids_, [&](int64_t id) { return !look_at(id, streams_max, &found); });
  return found;
}

}  // namespace heddle::server
