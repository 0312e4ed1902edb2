// Options, rows and received messages of pipes between the wire and the broker's structs.
#pragma once

#include <grpcpp/grpcpp.h>
#include <heddle/status.h>

#include <string>
#include <vector>

#include "daemon/broker/broker.h"
#include "heddle/v1/pipe_service.pb.h"

namespace heddle::services {

// INVALID_ARGUMENT for an enumerator that is not known.
Status pipe_options_from(const v1::PipeOptions& wire, broker::PipeOptions* out);
void pipe_options_to(const broker::PipeOptions& options, v1::PipeOptions* wire);
void pipe_to(broker::Broker& broker, const broker::PipeInfo& info, v1::PipeInfo* wire);
void pipe_end_to(broker::Broker& broker, const shm::PipeEndInfo& end, v1::PipeEnd* wire);

// Views of the messages, or of `storage`. INVALID_ARGUMENT: one cannot be stored, or they come in
// both forms.
Status pipe_bodies_from(const google::protobuf::RepeatedPtrField<v1::Message>& messages,
                        std::vector<std::string>* storage, std::vector<objects::Body>* out);
Status pipe_bodies_from(const v1::PipeServiceAttachRequest& request,
                        std::vector<std::string>* storage, std::vector<objects::Body>* out);

// A response of Attach with what was received; the bodies are not copied.
grpc::ByteBuffer write_received(objects::PipeGot got);
// The messages of a response of Receive. INVALID_ARGUMENT as body_to.
Status received_to(objects::PipeGot got, v1::BodyAs as, v1::PipeServiceReceiveResponse* out);

}  // namespace heddle::services
