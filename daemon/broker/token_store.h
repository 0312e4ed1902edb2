// Fencing tokens over a cold start. All memory is lost then, but the tokens that locks gave stand
// in other people's records, so a lock that is made anew has to go on above them.
//
// A file in the state directory holds a number that no token has passed. Tokens grow without the
// broker, so it is kept a block ahead of them: written anew long before they reach it. A clean stop
// with no local session left writes the exact number; after anything else the tokens leap by up to
// a block. 2^36 tokens are 38 minutes of one lock at 30 million grants a second, and half of that
// is what may pass while no broker runs.
#pragma once

#include <heddle/result.h>

#include <cstdint>
#include <string>

namespace heddle::broker {

// Broker thread only. Writing waits for the disk.
class TokenStore {
 public:
  static constexpr uint64_t kBlock = uint64_t{1} << 36;
  static constexpr uint64_t kStopBlock = uint64_t{1} << 31;  // clean stop, clients still there

  // Empty: nothing is kept.
  explicit TokenStore(const std::string& state_dir);

  // The number of the last run; 0 if there was none. CORRUPT names the file.
  Result<uint64_t> load();
  // No token so far is above `newest`: writes when half of the block is used up.
  void reserve(uint64_t newest);
  // The last word of a clean stop.
  void settle(uint64_t newest, bool exact);

 private:
  bool write(uint64_t mark);

  const std::string path_;
  uint64_t mark_ = 0;
  bool complained_ = false;
};

}  // namespace heddle::broker
