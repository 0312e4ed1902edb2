// A stream of replies about one object of a family, each sent when there is something to tell. One
// reply is under way at a time, and what is next is looked for when it has been written: a slow
// caller costs nothing.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "daemon/objects/followed.h"
#include "daemon/services/call.h"

namespace heddle::services {

template <class Response>
class WatchStream : public grpc::ServerWriteReactor<Response>,
                    public std::enable_shared_from_this<WatchStream<Response>> {
 public:
  // Finds the object, then streams until it is gone or the caller has enough.
  static WatchStream* begin(std::shared_ptr<WatchStream> stream, Env& env,
                            grpc::CallbackServerContext* context, broker::ObjectKind kind,
                            const std::string& name) {
    WatchStream* const self = stream.get();
    self->self_ = std::move(stream);
    self->start(env, *context, kind, name);
    return self;
  }

  // A callback of the object may still have it for a moment.
  void OnDone() override {
    if (object_) object_->unwatch(watching_.load());
    self_.reset();
  }
  void OnCancel() override { finish(Reason::kInterrupted); }
  void OnWriteDone(bool ok) override { ok ? step() : finish(Reason::kInterrupted); }

 protected:
  // The object is found.
  virtual void started(objects::Followed& object) = 0;
  // The next reply; *ready: it is one. OK and not ready: look again, after waiting for wanted() if
  // that is not 0.
  virtual Status fill(Response* response, bool* ready) = 0;
  // The number that the object has to reach before there may be another reply.
  virtual uint64_t wanted() const = 0;

 private:
  void start(Env& env, grpc::CallbackServerContext& context, broker::ObjectKind kind,
             const std::string& name) {
    Status status = identify(env, context, &caller_, &admission_);
    if (status.ok()) {
      const auto ref = env.broker.find_member(caller_, kind, name, broker::Need::kRead);
      if (ref.ok()) object_ = std::static_pointer_cast<objects::Followed>(ref->member);
      status = ref.status();
    }
    if (!status.ok()) return finish(status);
    started(*object_);
    // The caller hears at once that it is being served.
    this->StartSendInitialMetadata();
    step();
  }

  // One reply, or a wait: by one thread at a time, for each of the two ends in the next call.
  void step() {
    for (;;) {
      response_.Clear();
      bool ready = false;
      const Status status = fill(&response_, &ready);
      if (!status.ok()) return finish(status);
      if (ready) {
        std::lock_guard lock(mutex_);
        if (!finished_) this->StartWrite(&response_);
        return;
      }
      if (wanted() != 0 && !there_already()) return;
    }
  }

  // False: step() is called when it is there, or there is nothing more to do.
  bool there_already() {
    {
      std::lock_guard lock(mutex_);
      if (finished_) return false;
    }
    const uint64_t number = object_->watch(wanted(), [weak = this->weak_from_this()] {
      if (const auto self = weak.lock()) self->step();
    });
    if (number != 0) watching_.store(number);
    return number == 0;
  }

  void finish(const Status& status) {
    {
      std::lock_guard lock(mutex_);
      if (finished_) return;
      finished_ = true;
    }
    this->Finish(to_grpc(status));
  }

  Caller caller_;
  std::unique_ptr<Admission> admission_;
  std::shared_ptr<objects::Followed> object_;
  Response response_;
  std::atomic<uint64_t> watching_{0};
  std::mutex mutex_;
  bool finished_ = false;
  std::shared_ptr<WatchStream> self_;  // until gRPC is done with it
};

// The number of an object, each time it is another one: Response has `revision` or `version`.
template <class Response, class Set>
class NumberStream final : public WatchStream<Response> {
 public:
  // From `from` on; 0: as it is now.
  NumberStream(uint64_t from, Set set) : from_(from), set_(set) {}

 protected:
  void started(objects::Followed& object) override { object_ = &object; }
  Status fill(Response* response, bool* ready) override {
    if (Status bad = object_->usable(); !bad.ok()) return bad;
    const uint64_t now = object_->followed();
    *ready = now >= from_;
    if (*ready) {
      set_(response, now);
      from_ = now + 1;
    }
    return {};
  }
  uint64_t wanted() const override { return from_; }

 private:
  objects::Followed* object_ = nullptr;  // WatchStream keeps it
  uint64_t from_;
  const Set set_;
};

}  // namespace heddle::services
