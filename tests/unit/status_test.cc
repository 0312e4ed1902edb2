#include <gtest/gtest.h>

#include <heddle/result.h>

#include <memory>
#include <set>

namespace heddle {
namespace {

TEST(ReasonTest, NamesAreUniqueAndFoundAgain) {
  std::set<std::string_view> names;
  for (const ReasonInfo& info : kReasons) {
    EXPECT_TRUE(names.insert(info.name).second) << info.name;
    EXPECT_EQ(reason_from_name(info.name), info.reason);
    EXPECT_FALSE(info.text.empty());
  }
  EXPECT_EQ(reason_from_name("NO_SUCH_REASON"), std::nullopt);
}

TEST(ReasonTest, OnlyTheFiveOrdinaryEndsAreOutcomes) {
  const std::set<Reason> ordinary = {Reason::kEmpty, Reason::kFull, Reason::kTimedOut,
                                     Reason::kClosed, Reason::kEndOfStream};
  for (const ReasonInfo& info : kReasons) {
    EXPECT_EQ(info.is_outcome, ordinary.count(info.reason) == 1) << info.name;
    EXPECT_EQ(info.exit_code == 0, info.reason == Reason::kOk) << info.name;
    EXPECT_EQ(info.errno_value == 0, info.reason == Reason::kOk) << info.name;
    EXPECT_EQ(info.code == Code::kOk, info.reason == Reason::kOk) << info.name;
  }
}

TEST(ReasonTest, NumberFromALaterVersionReadsAsInternal) {
  EXPECT_EQ(reason_info(static_cast<Reason>(250)).reason, Reason::kInternal);
  EXPECT_EQ(code_name(static_cast<Code>(99)), "UNKNOWN");
  EXPECT_EQ(code_name(Code::kUnauthenticated), "UNAUTHENTICATED");
  EXPECT_EQ(reason_from_code(Code::kDataLoss), Reason::kCorrupt);
}

TEST(StatusTest, OkFailureAndOutcomeAreThreeDifferentThings) {
  EXPECT_TRUE(Status().ok());
  EXPECT_FALSE(Status().failed());
  const Status empty = Reason::kEmpty;
  EXPECT_TRUE(!empty.ok() && empty.outcome() && !empty.failed());
  const Status denied = Reason::kDenied;
  EXPECT_TRUE(!denied.ok() && !denied.outcome() && denied.failed());
}

TEST(StatusTest, TextNamesObjectLimitAndActualValue) {
  const Status status = Status(Reason::kTooLarge, "cannot put the body")
                            .with_object("queue jobs")
                            .with_limit(16, 20);
  EXPECT_EQ(status.to_string(),
            "queue jobs: cannot put the body (limit 16, actual 20) [TOO_LARGE]");
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  EXPECT_EQ(Status(Reason::kEmpty).to_string(), "nothing there [EMPTY]");
  EXPECT_EQ(Status().to_string(), "ok");
}

TEST(StatusTest, CopyIsDeepAndForeignCodeWins) {
  Status copy;
  {
    const Status original = Status(Reason::kInternal, "odd").with_code(Code::kUnknown);
    copy = original;
  }
  EXPECT_EQ(copy.code(), Code::kUnknown);
  EXPECT_EQ(copy.message(), "odd");
  copy = Status(Reason::kFull);
  EXPECT_EQ(copy.code(), Code::kResourceExhausted);
}

TEST(StatusTest, ErrnoBecomesReasonAndText) {
  const Status status = Status::from_errno(ENOENT, "open /nowhere");
  EXPECT_EQ(status.reason(), Reason::kNotFound);
  EXPECT_EQ(status.message(), "open /nowhere: No such file or directory");
  EXPECT_EQ(Status::from_errno(EXDEV, "link").reason(), Reason::kInternal);
}

TEST(StatusTest, OrThrowThrowsWhatItSays) {
  Status().or_throw();
  try {
    Status(Reason::kFull).with_object("queue jobs").or_throw();
    FAIL() << "nothing thrown";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "queue jobs: no room [FULL]");
    EXPECT_EQ(error.status().reason(), Reason::kFull);
  }
}

Result<std::unique_ptr<int>> make(bool work) {
  if (!work) return Reason::kTimedOut;
  return std::make_unique<int>(7);
}

TEST(ResultTest, CarriesMoveOnlyValueOrReason) {
  auto good = make(true);
  ASSERT_TRUE(good);
  EXPECT_EQ(**good, 7);
  EXPECT_EQ(*std::move(good).value(), 7);
  auto bad = make(false);
  EXPECT_FALSE(bad);
  EXPECT_TRUE(bad.outcome());
  EXPECT_EQ(bad.reason(), Reason::kTimedOut);
  EXPECT_THROW(bad.value(), Error);
  EXPECT_THROW(*bad, Error);
  EXPECT_EQ(std::move(bad).value_or(nullptr), nullptr);
}

TEST(ResultTest, OkStatusWithoutValueIsADefect) {
  const Result<int> result = Status();
  EXPECT_FALSE(result.ok());
  EXPECT_EQ(result.reason(), Reason::kInternal);
}

TEST(ResultDeathTest, WithoutExceptionsValueAbortsWithTheText) {
  EXPECT_DEATH(internal::abort_with(Status(Reason::kDenied).with_object("dict settings")),
               "heddle: dict settings: permission denied \\[DENIED\\]");
}

}  // namespace
}  // namespace heddle
