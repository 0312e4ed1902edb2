// Ten processes sell the last ticket. `ticket_seller RECORD` does it under a lock: one sells it.
// `ticket_seller RECORD unlocked`: many do. `ticket_seller RECORD killed`: under the lock, and the
// first seller is killed in the office, so the next one is told.
#include <heddle/heddle.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <iostream>
#include <string>
#include <thread>

namespace {

using namespace std::chrono_literals;
constexpr unsigned kSellers = 10;

int tickets_left(const std::string& record) {
  int left = 0;
  std::ifstream(record) >> left;
  return left;
}

// True if this one sold the ticket.
bool sell(const std::string& record, const std::string& how, unsigned seller) {
  auto client = heddle::Client::connect().value();
  auto office = client.lock("ticket/office").value();
  auto opening = client.barrier("ticket/opening", {.parties = kSellers}).value();
  heddle::LockGuard guard;
  const bool dies = how == "killed" && seller == 0;
  if (dies) guard = office.guard().value();
  opening.arrive(10s).value();
  if (!dies && how != "unlocked") guard = office.guard().value();
  if (guard.grant().abandoned) {
    // The record is written by one write at the very end, so it is whole; else: mend it here.
    std::cout << "seller " << seller
              << ": session " + std::to_string(guard.grant().previous_session)
              << " died in the office\n";
  }
  const int left = tickets_left(record);
  std::this_thread::sleep_for(20ms);  // The customer looks for the money.
  if (dies) ::raise(SIGKILL);
  if (left == 0) return false;
  std::ofstream(record) << left - 1 << std::flush;
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::cerr << "usage: ticket_seller RECORD [unlocked|killed]\n";
    return 2;
  }
  const std::string record = argv[1], how = argc > 2 ? argv[2] : "";
  std::ofstream(record) << 1 << std::flush;
  for (unsigned seller = 0; seller < kSellers; ++seller) {
    if (::fork() != 0) continue;
    const bool sold = sell(record, how, seller);
    std::cout << std::flush;
    ::_exit(sold ? 0 : 1);
  }
  int sold = 0, killed = 0, status = 0;
  while (::wait(&status) > 0) {
    sold += WIFEXITED(status) && WEXITSTATUS(status) == 0;
    killed += WIFSIGNALED(status);
  }
  std::cout << sold << " sold the last ticket, " << killed << " killed, " << tickets_left(record)
            << " left\n";
}
