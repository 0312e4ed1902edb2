// The locks of the broker, in the order in which one thread may take them. Taking one that stands
// before a held one is a defect. Callbacks (of waiting callers, timers, ended sessions) and calls
// to clients run with none of them held.
//
//   0  PipeTable::mutex_     names and connections of pipes
//      FamilyTable::mutex_   names of dicts
//   1  Core::registry_       names, objects, attachments, quotas; create and delete hold it while
//                            they wait for the supervisor's answer
//   2  LockTable::mutex_     names and lines of locks; create and delete hold it likewise
//   3  objects::Queue::mutex_, objects::Lock::mutex_, objects::Pipe::mutex_,
//      objects::Dict::fence_mutex_
//                            one object: its waiting callers and leases
//   4  SessionTable::mutex_  owner numbers, sessions
//      MemoryGrants::mutex_  what each queue was granted
//   5  Catalog::mutex_       the catalog's records
//   6  Keeper::mutex_        one request to the supervisor at a time
//   7  Loop::mutex_          timers and posted work
//   Leaves beside it: Core::waiting_mutex_, LockTable::waiting_mutex_, PipeTable::leaf_mutex_,
//   FamilyTable::leaf_mutex_, objects::Dict::actors_mutex_, objects::Dict::watch_mutex_,
//   DeadlockDetector::mutex_, MemoryLedger::mutex_.
//
// Threads
//   broker thread  Loop::run: attach socket, pidfds, doorbell, timers, reaper. Owns the attach
//                  connections and the watch lists, which have no lock.
//   gRPC threads   call Broker and objects::Queue; what touches a watch list is posted to the loop.
#pragma once
