// The hall of a named pipe: a page where those wait who listen for connections and those who wait
// for a listener. The broker writes it, everybody may sleep on it; what is true is in the broker.
//
// A caller loads the sequence, asks the broker, and if there is nothing sleeps on that very
// sequence: what happens between the two makes the sleep end at once. The broker steps a sequence
// after what it announces, then wakes all.
#pragma once

#include <climits>
#include <new>

#include "proto/shm/futex.h"
#include "proto/shm/segment_header.h"

namespace heddle::shm {

inline constexpr uint64_t kPipeHallBytes = 4096;

struct PipeHall {
  SegmentHeader segment;
  alignas(64) std::atomic<uint32_t> arrivals;    // stepped when a connection waits to be accepted
  alignas(64) std::atomic<uint32_t> listenings;  // stepped when somebody begins to listen
};
static_assert(sizeof(PipeHall) <= kPipeHallBytes);

inline void pipe_hall_format(void* base, uint64_t object_id) {
  auto& hall = *new (base) PipeHall{};
  hall.segment = {kSegmentMagic, 1, SegmentKind::kPipe, object_id, kPipeHallBytes, {}};
}

inline void announce(std::atomic<uint32_t>& sequence) {
  sequence.fetch_add(1);
  futex_wake(&sequence, INT_MAX);
}

}  // namespace heddle::shm
