// Puts a few jobs into the queue "jobs", creating it if need be.
#include <heddle/heddle.h>

#include <iostream>

int main() {
  auto client = heddle::Client::connect().value();  // value() throws heddle::Error
  auto jobs = client.create_queue("jobs", {.max_len = 1000, .open_existing = true}).value();
  auto registered = jobs.producer().value();  // Consumers can tell our end from our death.
  for (int i = 0; i < 3; ++i) {
    const auto id = jobs.put("resize picture-" + std::to_string(i)).value();  // Blocks while full.
    std::cout << "put " << id << '\n';
  }
}
