// Fields of attach packets: optional values with their `given` bit, texts with their final NUL.
#ifndef HEDDLE_CLIENT_SRC_SHM_CHANNEL_WIRE_FIELDS_H_
#define HEDDLE_CLIENT_SRC_SHM_CHANNEL_WIRE_FIELDS_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>

namespace heddle::detail {

// Wire: one of the option structs of proto/local/attach.h.
template <typename Wire, typename From, typename To>
void give(Wire& wire, const std::optional<From>& value, To& field, std::uint32_t bit) {
  if (!value) return;
  field = static_cast<To>(*value);
  wire.given |= bit;
}

// False if the text does not fit its field with the final NUL. The field must be zeroed.
template <std::size_t N>
bool copy_text(char (&to)[N], std::string_view from) {
  if (from.size() >= N) return false;
  std::memcpy(to, from.data(), from.size());
  return true;
}

}  // namespace heddle::detail

#endif  // HEDDLE_CLIENT_SRC_SHM_CHANNEL_WIRE_FIELDS_H_
