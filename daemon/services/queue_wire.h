// Queue options, rows and deliveries between the wire and the broker's structs.
#pragma once

#include <heddle/status.h>

#include <string>
#include <vector>

#include "daemon/broker/broker.h"
#include "heddle/v1/queue_service.pb.h"

namespace heddle::services {

// INVALID_ARGUMENT for an enumerator that is not known.
Status options_from(const v1::QueueOptions& wire, broker::QueueOptions* out);
void options_to(const broker::QueueOptions& options, v1::QueueOptions* wire);
void info_to(const broker::ObjectInfo& info, v1::QueueInfo* wire);
void peer_to(const objects::OwnerInfo& owner, v1::Peer* wire);
void holders_to(const std::vector<objects::Holder>& holders,
                google::protobuf::RepeatedPtrField<v1::QueueUser>* wire);
// Moves the body. INVALID_ARGUMENT as body_to, naming the message.
Status delivery_to(objects::Delivery& delivery, v1::BodyAs as, bool show_lease,
                   v1::Delivery* wire);
void row_to(objects::BrowseItem& item, uint64_t body_bytes_max, v1::BodyAs as,
            v1::BrowseRow* wire);
// 0 states means `otherwise`. INVALID_ARGUMENT for a state that is not known.
Status states_from(const google::protobuf::RepeatedField<int>& states, unsigned otherwise,
                   unsigned* mask);
// Page tokens of browse are ids in decimal. INVALID_ARGUMENT for anything else.
Status page_from(const std::string& token, uint64_t* after_id);

}  // namespace heddle::services
