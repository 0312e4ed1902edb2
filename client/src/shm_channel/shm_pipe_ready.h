// A descriptor that is readable while receiving from an end would not wait: for event loops.
//
// An eventfd, and a thread that sleeps on the words of the segment where a blocked receiver would
// sleep. No broker is on the way. The thread is in one of two states:
//
//   LOOKING  the eventfd is silent; it looks into the ring and sleeps by the protocol of
//            proto/shm/wake.h
//   RAISED   the eventfd is readable; it sleeps until somebody finds the end empty
//
// Both transitions happen under mutex_, and each begins with what it depends on:
//
//   raise    (the thread, after it has seen something)  lock; look once more; if there is
//            something: write the eventfd, RAISED; unlock
//   clear    (a receiver of this handle, after it has found nothing)  lock; if RAISED: read the
//            eventfd, LOOKING, wake the thread; unlock
//
// Why nothing is ever there with the descriptor silent: silent means LOOKING, and a thread that
// looks is woken like any receiver: it sets SLEEPERS before its last look, a sender loads the word
// after its commit. Interleavings of a message m with a clear:
//   m before the receiver's look     the receiver takes it, or finds it in its next try
//   m after that look, thread RAISED the clear sets it LOOKING, and it begins with a look: sees m
//   m after that look, LOOKING       nothing is cleared; the thread sees m, now or woken for it
//   the thread saw m, which a receiver took before the raise   the look under the lock finds
//            nothing: not raised, it goes on looking
//   raised for m, which a receiver has just taken   that receiver finds nothing in its next try
//            and clears
// Why a try that found nothing leaves it silent: let e be its look and c its clear. A raise before
// c is undone by c. A raise after c contains a look after e, so something has come since.
// Another process that shares the end may take m first: then it is readable for nothing, and the
// next try clears it.
//
// A sleeper that eats the wake for a message and does not take it would keep another receiver of
// the same end asleep: the thread passes each wake on (Pipe::watch).
//
// In the middle of a large message the receiver's word is BUSY by this very session, and what comes
// next is for this handle alone: clear() says so, and the thread then looks as the holder.
//
// The ends of the stream, a deletion, damage and a lost session raise it for good: no try returns
// EMPTY any more.
#ifndef HEDDLE_CLIENT_SRC_SHM_CHANNEL_SHM_PIPE_READY_H_
#define HEDDLE_CLIENT_SRC_SHM_CHANNEL_SHM_PIPE_READY_H_

#include <pthread.h>

#include <atomic>
#include <memory>
#include <mutex>

#include "client/src/shm_channel/session.h"
#include "proto/local/fd.h"
#include "proto/shm/pipe.h"

namespace heddle::detail {

class PipeReady {
 public:
  // `pipe` and `session` must outlive it. `in_message`: its receiver is in the middle of a large
  // message.
  static Result<std::unique_ptr<PipeReady>> start(shm::Pipe pipe, Session& session,
                                                  bool in_message);
  // Ends the thread at once. In a forked child there is none: the inherited descriptor is closed.
  ~PipeReady();
  PipeReady(const PipeReady&) = delete;

  int fd() const { return fd_.get(); }
  // A receiver has found nothing. Threads: the one that receives.
  void clear(bool in_message);

 private:
  PipeReady(shm::Pipe pipe, Session& session, bool in_message);
  void run();
  // False: it is to end.
  bool look(bool* there);
  void raise();

  const std::uint64_t generation_;  // Of the process.
  shm::Pipe pipe_;
  Session& session_;
  const local::Fd fd_;
  pthread_t thread_{};
  bool started_ = false;
  shm::PipeActor watcher_;  // The thread's.
  std::atomic<bool> in_message_;
  std::atomic<bool> stop_{false};
  std::atomic<std::uint32_t> clears_{0};  // Stepped by clear(); the thread sleeps on it.
  std::mutex mutex_;
  bool raised_ = false;  // Guarded by mutex_, like the count of the eventfd.
};

}  // namespace heddle::detail

#endif  // HEDDLE_CLIENT_SRC_SHM_CHANNEL_SHM_PIPE_READY_H_
