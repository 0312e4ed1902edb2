// What the table of pipes keeps of a pipe and of each of its connections. Included by the .cc files
// of the table.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "daemon/broker/pipe_table.h"
#include "proto/shm/pipe_map.h"

namespace heddle::broker {

// The mapping that the rings need, beside the one that Segment has.
struct PipeTable::Connection {
  uint64_t id = 0;
  uint32_t slot = 0;
  ObjectEntry entry{};
  std::shared_ptr<Segment> segment;
  MemoryCharge charge;
  shm::PipeOptions options;
  void* base = nullptr;
  shm::Pipe ends[2];
  std::weak_ptr<objects::Pipe> remote;  // while a remote caller has it

  ~Connection() { shm::unmap_pipe(base, options); }
  bool named() const { return entry.pipe.role == static_cast<uint8_t>(local::PipeRole::kEnd); }
  shm::Pipe& end(shm::PipeSide side) { return ends[static_cast<int>(side)]; }
  bool map() {
    base = shm::map_pipe(segment->fd(), options);
    if (base == nullptr) return false;
    return shm::Pipe::attach(base, options, shm::PipeSide::kA, &ends[0]) == shm::Outcome::kOk &&
           shm::Pipe::attach(base, options, shm::PipeSide::kB, &ends[1]) == shm::Outcome::kOk;
  }
  bool format() {
    base = shm::map_pipe(segment->fd(), options);
    if (base == nullptr) return false;
    shm::pipe_format(base, options, id);
    shm::unmap_pipe(base, options);
    return map();
  }
};

struct PipeTable::Pipe {
  uint64_t id = 0;
  uint32_t slot = 0;
  ObjectEntry entry{};
  std::string name;
  std::shared_ptr<Segment> segment;
  MemoryCharge charge;
  std::vector<ConnectionRef> connections;            // oldest first
  std::unordered_map<uint64_t, uint32_t> listeners;  // by session
  std::vector<Watch> watches;

  shm::PipeHall& hall() const { return *static_cast<shm::PipeHall*>(segment->base()); }
};

}  // namespace heddle::broker
