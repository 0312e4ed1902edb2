#include "tests/support/watchdog.h"

#include <csignal>
#include <cstdlib>
#include <unistd.h>

namespace heddle::test {
namespace {

Watchdog* current = nullptr;
// What the signal handler may touch: set before the alarm is.
const char* volatile message_text = nullptr;
volatile size_t message_length = 0;

void bark(int) {
  if (message_text != nullptr) (void)!write(STDERR_FILENO, message_text, message_length);
  std::abort();
}

}  // namespace

Watchdog::Watchdog(std::string what, unsigned seconds)
    : message_("watchdog: " + what + " did not end in " + std::to_string(seconds) + " s\n"),
      seconds_(seconds),
      outer_(current) {
  current = this;
  arm();
}

Watchdog::~Watchdog() {
  alarm(0);
  current = outer_;
  if (outer_ != nullptr) outer_->arm();
}

void Watchdog::arm() {
  alarm(0);
  message_text = message_.data();
  message_length = message_.size();
  struct sigaction action {};
  action.sa_handler = bark;
  sigaction(SIGALRM, &action, nullptr);
  alarm(seconds_);
}

}  // namespace heddle::test
