// What is read and written by hand is what protobuf reads and writes.
#include "daemon/services/batch_wire.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace heddle::services {
namespace {

using Request = v1::QueueServiceProduceRequest;
using Response = v1::QueueServiceConsumeResponse;

grpc::ByteBuffer bytes_of(const std::string& text, size_t slice_bytes) {
  std::vector<grpc::Slice> slices;
  for (size_t at = 0; at < text.size(); at += slice_bytes) {
    slices.emplace_back(text.substr(at, slice_bytes));
  }
  return {slices.data(), slices.size()};
}

Request request_of(std::initializer_list<std::string> bodies) {
  Request request;
  request.set_name("jobs");
  for (const std::string& body : bodies) request.add_messages()->set_data(body);
  return request;
}

std::vector<std::string> bodies_of(ProduceBatch& batch, std::vector<int>* kinds = nullptr) {
  std::vector<objects::Body> bodies;
  EXPECT_TRUE(batch.bodies(&bodies).ok());
  std::vector<std::string> texts;
  for (const auto& body : bodies) {
    texts.emplace_back(body.bytes);
    if (kinds != nullptr) kinds->push_back(body.kind);
  }
  return texts;
}

TEST(ProduceBatch, ReadsWhatProtobufWrote) {
  Request request = request_of({"a", "", std::string(300, 'b'), std::string(70'000, 'c')});
  request.set_timeout_ms(-5);
  request.set_want_ids(true);
  request.add_messages()->set_text("h\xc3\xa9");
  request.mutable_messages(0)->set_kind(v1::BODY_KIND_TEXT);
  const std::string wire = request.SerializeAsString();
  for (const size_t slice_bytes : {wire.size(), size_t{1000}, size_t{1}}) {
    ProduceBatch batch;
    ASSERT_TRUE(batch.read(bytes_of(wire, slice_bytes)).ok());
    EXPECT_EQ(batch.name(), "jobs");
    EXPECT_EQ(batch.timeout_ms(), -5);
    EXPECT_TRUE(batch.want_ids());
    std::vector<int> kinds;
    EXPECT_EQ(bodies_of(batch, &kinds),
              (std::vector<std::string>{"a", "", std::string(300, 'b'), std::string(70'000, 'c'),
                                        "h\xc3\xa9"}));
    EXPECT_EQ(kinds, (std::vector<int>{1, 0, 0, 0, 1}));
  }
}

TEST(ProduceBatch, LeavesNothingOfTheRequestBefore) {
  ProduceBatch batch;
  Request request = request_of({"{}"});
  request.set_timeout_ms(1);
  request.mutable_messages(0)->set_json_text("{}");
  ASSERT_TRUE(batch.read(bytes_of(request.SerializeAsString(), 1 << 20)).ok());
  std::vector<int> kinds;
  EXPECT_EQ(bodies_of(batch, &kinds), (std::vector<std::string>{"{}"}));
  EXPECT_EQ(kinds, (std::vector<int>{3}));
  Request next;
  next.add_messages()->set_data("x");
  ASSERT_TRUE(batch.read(bytes_of(next.SerializeAsString(), 1 << 20)).ok());
  EXPECT_EQ(batch.name(), "");
  EXPECT_FALSE(batch.timeout_ms().has_value());
  EXPECT_EQ(bodies_of(batch), (std::vector<std::string>{"x"}));
}

TEST(ProduceBatch, WhatIsNotPlainIsReadAsUsual) {
  Request request = request_of({"x"});
  request.GetReflection()->MutableUnknownFields(&request)->AddVarint(99, 7);
  request.add_messages()->mutable_json()->set_number_value(2);
  ProduceBatch batch;
  ASSERT_TRUE(batch.read(bytes_of(request.SerializeAsString(), 1 << 20)).ok());
  EXPECT_EQ(bodies_of(batch), (std::vector<std::string>{"x", "2"}));
}

TEST(ProduceBatch, EveryCutAndEveryBitIsReadAsProtobufDoes) {
  Request request = request_of({"abc", std::string(130, 'd')});
  request.add_messages()->set_text("text");
  request.set_timeout_ms(70'000);
  const std::string whole = request.SerializeAsString();
  const auto check = [](const std::string& wire) {
    Request expected;
    const bool valid = expected.ParseFromString(wire);
    ProduceBatch batch;
    ASSERT_EQ(batch.read(bytes_of(wire, 1 << 20)).ok(), valid);
    if (!valid) return;
    EXPECT_EQ(batch.name(), expected.name());
    std::vector<objects::Body> bodies;
    if (!batch.bodies(&bodies).ok()) return;
    ASSERT_EQ(bodies.size(), static_cast<size_t>(expected.messages_size()));
    for (size_t i = 0; i < bodies.size(); ++i) {
      const auto& message = expected.messages(static_cast<int>(i));
      const std::string& body = message.has_text()        ? message.text()
                                : message.has_json_text() ? message.json_text()
                                                          : message.data();
      if (!message.has_json()) {
        EXPECT_EQ(bodies[i].bytes, body);
      }
    }
  };
  for (size_t cut = 0; cut < whole.size(); ++cut) check(whole.substr(0, cut));
  for (size_t bit = 0; bit < whole.size() * 8; ++bit) {
    std::string wire = whole;
    wire[bit / 8] = static_cast<char>(wire[bit / 8] ^ (1 << bit % 8));
    check(wire);
  }
}

objects::Delivery delivery_of(uint64_t id, uint8_t kind) {
  objects::Delivery delivery;
  delivery.id = id;
  delivery.kind = kind;
  delivery.count = 200;
  return delivery;
}

TEST(ConsumeWriter, WritesWhatProtobufReads) {
  const std::string bodies[] = {"", "text", "\xff\x00\x01", std::string(20'000, 'x'), "{\"a\":1}"};
  for (const auto as : {v1::BODY_AS_AUTO, v1::BODY_AS_DATA}) {
    for (const bool lease : {false, true}) {
      ConsumeWriter writer(5, 20'100);
      for (uint64_t i = 0; i < 5; ++i) {
        const auto delivery = delivery_of(uint64_t{1} << 12 * i, i == 4 ? 2 : 0);
        ASSERT_TRUE(writer.add(delivery, bodies[i], as, lease).ok());
      }
      Response rest, read;
      rest.set_outcome(v1::OUTCOME_OK);
      ASSERT_TRUE(parse(writer.finish(rest), &read).ok());
      EXPECT_EQ(read.outcome(), v1::OUTCOME_OK);
      ASSERT_EQ(read.deliveries_size(), 5);
      for (int i = 0; i < 5; ++i) {
        const auto& delivery = read.deliveries(i);
        EXPECT_EQ(delivery.id(), uint64_t{1} << 12 * i);
        EXPECT_EQ(delivery.delivery_count(), 200u);
        EXPECT_EQ(delivery.lease().size(), lease ? 32u : 0u);
        EXPECT_EQ(delivery.message().kind(), i == 4 ? v1::BODY_KIND_JSON : v1::BODY_KIND_DATA);
        if (as == v1::BODY_AS_DATA) {
          EXPECT_EQ(delivery.message().data(), bodies[i]);
        }
      }
      if (as != v1::BODY_AS_AUTO) continue;
      EXPECT_EQ(read.deliveries(1).message().text(), "text");
      EXPECT_EQ(read.deliveries(2).message().data(), bodies[2]);
      EXPECT_EQ(read.deliveries(4).message().json().struct_value().fields().at("a").number_value(),
                1);
    }
  }
}

TEST(ConsumeWriter, SaysWhichBodyDoesNotFit) {
  ConsumeWriter writer(1, 1);
  const Status status = writer.add(delivery_of(7, 0), "\xff", v1::BODY_AS_TEXT, false);
  EXPECT_TRUE(status.is(Reason::kInvalidArgument));
  EXPECT_EQ(status.object(), "message 7");
}

}  // namespace
}  // namespace heddle::services
