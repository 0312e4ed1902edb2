#include "tests/crash/history/recorder.h"

#include <sys/mman.h>
#include <time.h>

#include <algorithm>
#include <cstdlib>

namespace heddle::history {

int64_t now_ns() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

Archive::Archive(size_t records_max)
    : chunks_max_(records_max / kPerChunk + 1), bytes_(4096 + chunks_max_ * sizeof(Chunk)) {
  void* memory = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) std::abort();
  header_ = static_cast<Header*>(memory);
  chunks_ = reinterpret_cast<Chunk*>(static_cast<char*>(memory) + 4096);
}

Archive::~Archive() { munmap(header_, bytes_); }

bool Archive::full() const { return header_->chunks_used.load() >= chunks_max_; }

std::vector<Record> Archive::read() const {
  std::vector<Record> all;
  const size_t chunks = std::min<size_t>(header_->chunks_used.load(), chunks_max_);
  for (size_t i = 0; i < chunks; ++i) {
    const uint32_t used = chunks_[i].used.load();
    for (uint32_t k = 0; k < used; ++k) {
      Record record = chunks_[i].records[k];
      if (record.return_ns == 0) {  // killed while it wrote the rest
        record.end = End::kNever;
        record.token = 0;
        record.abandoned = false;
      }
      all.push_back(record);
    }
  }
  return all;
}

Record* Recorder::call(uint16_t object, Op op, Mode mode, uint32_t n) {
  if (chunk_ == nullptr || chunk_->used.load() == Archive::kPerChunk) {
    const uint64_t next = archive_.header_->chunks_used.fetch_add(1);
    if (next >= archive_.chunks_max_) return nullptr;
    chunk_ = &archive_.chunks_[next];
  }
  const uint32_t place = chunk_->used.load();
  Record& record = chunk_->records[place];
  record.process = process_;
  record.object = object;
  record.op = op;
  record.mode = mode;
  record.n = n;
  record.call_ns = now_ns();
  chunk_->used.store(place + 1);
  return &record;
}

void Recorder::end(Record& record, End end, uint64_t token, bool abandoned) {
  const int64_t returned_ns = now_ns();
  record.token = token;
  record.abandoned = abandoned;
  record.end = end;
  std::atomic_ref(record.return_ns).store(returned_ns);
}

}  // namespace heddle::history
