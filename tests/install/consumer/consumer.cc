// Puts and gets through an installed libheddle.so, and catches its exception type across it.
#include <heddle/heddle.h>
#include <heddle/name.h>

#include <iostream>

int main() try {
  if (heddle::check_object_name("/bad").reason() != heddle::Reason::kInvalidName) return 2;
  auto client = heddle::Client::connect().value();
  auto queue = client.create_queue("installed").value();
  queue.put("hello from C++").value();
  std::cout << queue.get().value().text() << std::endl;
  client.queue("no-such-queue").value();
  return 3;
} catch (const heddle::Error& error) {
  std::cout << error.what() << std::endl;
  return error.status().reason() == heddle::Reason::kNotFound ? 0 : 1;
}
