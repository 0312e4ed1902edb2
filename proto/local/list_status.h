// The same for lists: what is no kOk becomes a Status with name, limit and actual value.
#pragma once

#include <heddle/status.h>

#include <cstdint>
#include <string_view>

#include "proto/shm/list.h"

namespace heddle::local {

struct ListFacts {
  std::string_view name;
  const shm::List* list = nullptr;
  int64_t index = 0;         // that was asked for
  uint64_t bytes = 0;        // of what was written
  uint64_t if_revision = 0;  // that was asked for
};

Status list_status(shm::Outcome outcome, const ListFacts& facts);
Status list_gone(std::string_view name);

}  // namespace heddle::local
