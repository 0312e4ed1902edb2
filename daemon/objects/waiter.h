// A call that may wait: what was asked, and how it ended.
#pragma once

#include <list>
#include <memory>
#include <vector>

#include "daemon/objects/queue.h"

namespace heddle::objects {

// Fields change under the queue's mutex until `finished`; then they belong to whoever runs it.
struct Waiter {
  Caller caller;
  int64_t deadline_ns = 0;
  bool finished = false;
  std::list<Wait>* list = nullptr;  // where it stands
  std::list<Wait>::iterator at;

  GetParams get;
  GetResult got;
  GetDone on_get;

  std::vector<Body> bodies;
  size_t next_body = 0;
  uint64_t record = 0;  // number of its request, if one is kept
  Fence fence;
  PutResult put;
  PutDone on_put;

  JoinParams join;
  int64_t joining_ns = 0;  // since when
  uint64_t serial = 0;     // of joins
  JoinResult joined;
  JoinDone on_join;

  void set_status(Status status) {
    if (on_get)
      got.status = std::move(status);
    else if (on_put)
      put.status = std::move(status);
    else
      joined.status = std::move(status);
  }
  void run() {
    if (on_get)
      on_get(std::move(got));
    else if (on_put)
      on_put(std::move(put));
    else if (on_join)
      on_join(std::move(joined));
  }
};

}  // namespace heddle::objects
