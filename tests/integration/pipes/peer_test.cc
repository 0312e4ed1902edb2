// Who is at the other end of a pipe, as the kernel told the broker.
#include <heddle/heddle.h>
#include <heddle/reasons.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "tests/integration/attach_client.h"
#include "tests/support/daemon_fixture.h"

namespace heddle::test {
namespace {

class PipePeerTest : public DaemonFixture {
 protected:
  Client connect() {
    return Client::connect({.runtime_dir = runtime_dir(), .plane = Plane::kShm}).value();
  }
};

TEST_F(PipePeerTest, AnotherProcess) {
  Client client = connect();
  PipeEnd b = client.pipe_end("p", PipeSide::kB).value();
  EXPECT_TRUE(b.peer().value().empty()) << "nobody has come yet";
  const pid_t child = fork();
  if (child == 0) {
    PipeEnd a = connect().pipe_end("p", PipeSide::kA).value();
    const bool fine =
        a.send("here").ok() && a.peer()->size() == 1 && a.peer()->at(0).pid != getpid();
    (void)a.send(fine ? "fine" : "wrong");
    (void)a.receive();
    a.close();
    _exit(0);
  }
  EXPECT_EQ(b.receive()->text(), "here");
  EXPECT_EQ(b.receive()->text(), "fine");
  const std::vector<PipeUser> peer = b.peer().value();
  ASSERT_EQ(peer.size(), 1u);
  EXPECT_EQ(peer[0].pid, child);
  EXPECT_EQ(peer[0].uid, getuid());
  EXPECT_NE(peer[0].session, 0);
  EXPECT_FALSE(peer[0].command.empty());
  EXPECT_FALSE(peer[0].sending);
  daemon().kill_broker();
  EXPECT_EQ(b.peer()->at(0).pid, child) << "the next broker knows it as well";
  EXPECT_TRUE(b.send("go").ok());
  EXPECT_TRUE(b.receive().status().is(Reason::kEndOfStream));
  EXPECT_EQ(waitpid(child, nullptr, 0), child);
  EXPECT_TRUE(b.peer().value().empty()) << "it has left";
  ASSERT_TRUE(client.delete_pipe("p").ok());
  EXPECT_TRUE(b.peer().status().is(Reason::kClosed)) << b.peer().status().to_string();
  EXPECT_TRUE(PipeEnd().peer().status().is(Reason::kInvalidArgument));
}

TEST_F(PipePeerTest, AStrangerIsToldNothing) {
  Client client = connect();
  PipeEnd a = client.pipe_end("p", PipeSide::kA).value();
  PipeEnd b = client.pipe_end("p", PipeSide::kB).value();
  EXPECT_EQ(a.peer()->size(), 1u);
  const std::uint64_t id = client.pipe_info("p")->connections.at(0).id;
  AttachClient stranger(runtime_dir());
  ASSERT_TRUE(stranger.hello());
  for (const std::uint64_t asked : {id, id + 100}) {
    for (const char* side : {"0", "1"}) {
      const std::string ask = "{\"id\":" + std::to_string(asked) + ",\"side\":" + side + "}";
      EXPECT_EQ(stranger.call(local::CallMethod::kPipePeer, ask), "");
      EXPECT_EQ(stranger.failed().reason, static_cast<std::uint16_t>(Reason::kNotFound));
    }
  }
  for (const char* bad :
       {"", "[]", "{\"id\":1}", "{\"id\":-1,\"side\":0}", "{\"id\":1,\"side\":2}"}) {
    EXPECT_EQ(stranger.call(local::CallMethod::kPipePeer, bad), "") << bad;
    EXPECT_EQ(stranger.failed().reason, static_cast<std::uint16_t>(Reason::kInvalidArgument));
  }
}

}  // namespace
}  // namespace heddle::test
