// What a change of a list has in hand while it is made. Included by the .cc files that write.
#pragma once

#include "proto/shm/list.h"

namespace heddle::shm {

struct List::Attempt {
  uint64_t x = 0;     // the new record, or 0
  uint64_t root = 0;  // that it is made from
  Head head{};        // the list as it is, then as it will be
  uint64_t gone[kListRetired];
  uint32_t gone_n = 0;
  uint64_t garbage = 0;  // top of the tree that goes as a whole
  uint32_t garbage_height = 0;
  uint64_t x_bytes = 0;
  uint64_t removed = 0;  // record that is no longer in the list
  View old{};            // of it
  bool exhausted = false;
  uint32_t damage = 0;
};

struct List::Path {
  Step step[kListHeightMax];
  uint32_t n = 0;
  uint32_t height;  // of the last one
};

}  // namespace heddle::shm
