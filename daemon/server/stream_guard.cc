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

void look_at(uint64_t socket_id, uint64_t streams_max, std::vector<int>* out) {
  const Json answer = parse(grpc_channelz_get_socket(static_cast<intptr_t>(socket_id)));
  const auto socket = answer.find("socket");
  if (socket == answer.end() || !socket->contains("data")) return;
  const Json& data = (*socket)["data"];
  const uint64_t started = number(data, "streamsStarted");
  const uint64_t ended = number(data, "streamsSucceeded") + number(data, "streamsFailed");
  if (started <= ended + streams_max) return;
  const std::string name = (*socket)["ref"].value("name", "");
  const size_t at = name.rfind("fd:");
  if (at != std::string::npos) out->push_back(std::atoi(name.c_str() + at + 3));
}

}  // namespace

std::vector<int> StreamGuard::crowded(uint64_t streams_max) {
  std::vector<int> found;
  const uint64_t bytes = resident_bytes();
  if (bytes < looked_at_bytes_) looked_at_bytes_ = bytes;
  if (bytes - looked_at_bytes_ < kGrowthBytes) return found;
  looked_at_bytes_ = bytes;
  const Json servers = parse(grpc_channelz_get_servers(0));
  for (const Json& server : servers.value("server", Json::array())) {
    const auto id = static_cast<intptr_t>(number(server["ref"], "serverId"));
    for (intptr_t next = 0;;) {
      const Json page = parse(grpc_channelz_get_server_sockets(id, next, 500));
      for (const Json& socket : page.value("socketRef", Json::array())) {
        const uint64_t socket_id = number(socket, "socketId");
        look_at(socket_id, streams_max, &found);
        next = static_cast<intptr_t>(socket_id) + 1;
      }
      if (page.value("end", true) || !page.contains("socketRef")) break;
    }
  }
  return found;
}

}  // namespace heddle::server
