// The secret of each remote session that this broker has opened or resumed. After a restart of the
// broker a client resumes before it goes on.
#pragma once

#include <heddle/status.h>

#include <map>
#include <mutex>
#include <string>
#include <string_view>

#include "daemon/broker/broker.h"

namespace heddle::services {

class SessionTable {
 public:
  explicit SessionTable(broker::Broker& broker) : broker_(broker) {}

  void add(const broker::RemoteSession& session) {
    std::lock_guard lock(mutex_);
    sessions_[token_text(session.token)] = session.session_id;
  }
  void remove(const broker::ResumeToken& token) {
    std::lock_guard lock(mutex_);
    sessions_.erase(token_text(token));
  }
  // Puts the session into `caller`. SESSION_LOST if there is none of that token or it has ended;
  // also for a caller of another uid.
  Status enter(std::string_view token, objects::Caller* caller) {
    uint64_t session_id = 0;
    {
      std::lock_guard lock(mutex_);
      const auto found = sessions_.find(token);
      if (found != sessions_.end()) session_id = found->second;
    }
    if (session_id == 0) {
      return {Reason::kSessionLost,
              "the session of `heddle-session` is not open here; resume it or open a new one"};
    }
    return broker_.enter_session(*caller, session_id);
  }

  // 32 hexadecimal digits, and back.
  static std::string token_text(const broker::ResumeToken& token) {
    constexpr char kDigits[] = "0123456789abcdef";
    std::string text;
    for (const uint8_t byte : token) {
      text += kDigits[byte >> 4];
      text += kDigits[byte & 15];
    }
    return text;
  }
  static bool parse_token(std::string_view text, broker::ResumeToken* out) {
    if (text.size() != 2 * out->size()) return false;
    for (size_t i = 0; i < out->size(); ++i) {
      const int high = digit(text[2 * i]), low = digit(text[2 * i + 1]);
      if (high < 0 || low < 0) return false;
      (*out)[i] = static_cast<uint8_t>(high << 4 | low);
    }
    return true;
  }

 private:
  static int digit(char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
  }

  broker::Broker& broker_;
  std::mutex mutex_;
  std::map<std::string, uint64_t, std::less<>> sessions_;
};

}  // namespace heddle::services
