// Lists and blocks between the messages of heddle.v1 and the broker.
#pragma once

#include <heddle/status.h>

#include "daemon/broker/broker.h"
#include "daemon/objects/list.h"
#include "heddle/v1/block_service.pb.h"
#include "heddle/v1/list_service.pb.h"

namespace heddle::services {

Status list_options_from(const v1::ListOptions& wire, broker::MemberOptions* out);
void list_info_to(const broker::MemberInfo& info, v1::ListInfo* wire);
// Takes the value of `row`.
void list_element_to(local::ListRow& row, v1::ListElement* wire);

Status block_options_from(const v1::BlockOptions& wire, broker::MemberOptions* out);
void block_info_to(const broker::MemberInfo& info, v1::BlockInfo* wire);

}  // namespace heddle::services
