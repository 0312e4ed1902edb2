// Works through the queue "jobs" until nothing has come for two seconds.
#include <heddle/heddle.h>

#include <iostream>

int main() {
  using namespace std::chrono_literals;
  auto client = heddle::Client::connect().value();
  auto jobs = client.create_queue("jobs", {.max_len = 1000, .open_existing = true}).value();
  for (;;) {
    auto job = jobs.get_for(2s, {.ack = heddle::Ack::kManual});
    if (!job) {
      std::cout << "stopped: " << job.status().to_string() << '\n';
      return job.status().outcome() ? 0 : 1;
    }
    std::cout << job->id() << ": " << job->text() << '\n';
    job->ack().or_throw();  // Killed before this line, the job goes to somebody else.
  }
}
