// The suite is written once and typed over the planes; each plane's tests share one heddled, each
// test has queues of its own.
#ifndef HEDDLE_TESTS_CONFORMANCE_PLANES_H_
#define HEDDLE_TESTS_CONFORMANCE_PLANES_H_

#include <gtest/gtest.h>
#include <heddle/heddle.h>

#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>

#include "tests/support/daemon_fixture.h"
#include "tests/support/leak_check.h"

namespace heddle::test {

using namespace std::chrono_literals;

struct ShmPlane {
  static constexpr Plane kPlane = Plane::kShm;
};
struct GrpcPlane {
  static constexpr Plane kPlane = Plane::kGrpc;
};

struct PlaneNames {
  template <typename T>
  static std::string GetName(int) {
    return T::kPlane == Plane::kShm ? "shm" : "grpc";
  }
};

#ifdef HEDDLE_TEST_GRPC_PLANE
using Planes = testing::Types<ShmPlane, GrpcPlane>;
#else
using Planes = testing::Types<ShmPlane>;
#endif

template <typename T>
class ConformanceTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { start_daemon({}); }
  static void start_daemon(const Daemon::Options& options) {
    daemon_ = std::make_unique<Daemon>(options);
  }
  static void TearDownTestSuite() { daemon_.reset(); }

  void SetUp() override {
    if (T::kPlane == Plane::kGrpc) allow_leaks("gRPC keeps threads and descriptors");
  }

  static Daemon& daemon() { return *daemon_; }

  static Client connect() {
    return Client::connect({.runtime_dir = daemon_->runtime_dir(), .plane = T::kPlane}).value();
  }

  // A queue named after the running test.
  Queue create(const QueueOptions& options = {}) {
    return client().create_queue(queue_name(), options).value();
  }
  static std::string queue_name() {
    return std::string("test/") + testing::UnitTest::GetInstance()->current_test_info()->name();
  }
  Client& client() {
    if (!client_) client_ = connect();
    return client_;
  }
  void TearDown() override { client_ = Client(); }

 private:
  static inline std::unique_ptr<Daemon> daemon_;
  Client client_;
};

}  // namespace heddle::test

#endif  // HEDDLE_TESTS_CONFORMANCE_PLANES_H_
