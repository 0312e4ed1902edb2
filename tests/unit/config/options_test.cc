#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>

#include "daemon/config/command_line.h"
#include "daemon/config/listen_address.h"
#include "daemon/config/load.h"
#include "daemon/config/option_table.h"
#include "daemon/config/options_json.h"
#include "daemon/os/files.h"
#include "tests/support/temp_dir.h"

namespace heddle::config {
namespace {

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

std::string json_error(const std::string& text) {
  Options options;
  return std::string(options_from_json(text, "f.json", &options).message());
}

TEST(OptionTable, DefaultsAreInsideTheirOwnRanges) {
  const Options defaults;
  Options options;
  for (const OptionRow& row : option_table()) {
    EXPECT_FALSE(row.help.empty()) << row.name;
    EXPECT_EQ(find_option(row.name), &row) << row.name << " stands twice";
    if (const auto* field = std::get_if<std::uint64_t Options::*>(&row.field)) {
      const Status status = set_number(row, defaults.**field, &options);
      EXPECT_TRUE(status.ok()) << status.to_string();
    }
  }
  EXPECT_TRUE(validate(defaults).ok());
}

TEST(OptionsJson, CommentsUnitsAndRoundTrip) {
  Options options;
  const Status status = options_from_json(R"(
    // a comment
    { "drain_ms": "2s", /* another */ "memory_max": "64MiB", "queue_max_len": 7,
      "listen": ["127.0.0.1:0", "[::1]:7420"], "log_level": "debug" })",
                                          "f.json", &options);
  ASSERT_TRUE(status.ok()) << status.to_string();
  EXPECT_EQ(options.drain_ms, 2000u);
  EXPECT_EQ(options.memory_max, 64u << 20);
  EXPECT_EQ(options.queue_max_len, 7u);
  EXPECT_EQ(options.listen.size(), 2u);
  Options again;
  ASSERT_TRUE(options_from_json(options_to_json(options), "again", &again).ok());
  EXPECT_EQ(again, options);
}

TEST(OptionsJson, UnknownKeyNamesTheLineAndTheNearest) {
  EXPECT_EQ(json_error("{\n  \"log_level\": \"info\",\n  \"drain_sm\": 5\n}"),
            "f.json:3: unknown key \"drain_sm\"; did you mean \"drain_ms\"?");
  EXPECT_TRUE(contains(json_error("{\"max_len\": 5}"), "f.json:1: unknown key \"max_len\"; did you "
                                                       "mean \"queue_max_len\"?"));
  EXPECT_TRUE(contains(json_error("{\"Runtime-Dir\": \"/x\"}"), "\"runtime_dir\""));
  EXPECT_TRUE(
      contains(json_error("// \"drain_sm\"\n/* \n */ {\"\\u0064rain_sm\": 1}"), "f.json:3:"));
}

TEST(OptionsJson, WrongTypeNamesBothTypes) {
  const std::string text = json_error("{\n\"drain_ms\": true}");
  EXPECT_TRUE(contains(text, "f.json:2: \"drain_ms\" must be a number of milliseconds")) << text;
  EXPECT_TRUE(contains(text, "it is true (boolean)")) << text;
  EXPECT_TRUE(contains(json_error("{\"listen\": \"127.0.0.1:1\"}"), "must be a list of texts"));
  EXPECT_TRUE(contains(json_error("{\"listen\": [1]}"), "must be a list of texts"));
  EXPECT_TRUE(contains(json_error("{\"runtime_dir\": 5}"), "must be a text; it is 5 (number)"));
  EXPECT_TRUE(contains(json_error("{\"sessions_max\": 1.5}"), "whole number"));
  EXPECT_TRUE(contains(json_error("{\"sessions_max\": -1}"), "whole number"));
  EXPECT_TRUE(contains(json_error("{\"sessions_max\": \"12\"}"), "whole number"));
  EXPECT_TRUE(contains(json_error("{\"log_level\": \"loud\"}"), "one of \"error\", \"warning\""));
}

TEST(OptionsJson, OutOfRangeNamesTheLimitsAndTheValue) {
  const std::string text = json_error("{\"drain_ms\": 99999999999}");
  EXPECT_TRUE(contains(text, "0 to 3600000")) << text;
  EXPECT_TRUE(contains(text, "it is 99999999999")) << text;
  EXPECT_TRUE(contains(json_error("{\"drain_ms\": \"2 days\"}"), "it is \"2 days\""));
  EXPECT_TRUE(contains(json_error("{\"memory_max\": \"99999999999999GiB\"}"), "memory_max"));
}

TEST(OptionsJson, BrokenTextIsNamedByLine) {
  EXPECT_TRUE(contains(json_error("{\n\n\"drain_ms\": }"), "f.json:3: syntax error"));
  EXPECT_TRUE(contains(json_error("[1]"), "must be a JSON object; it is array"));
  EXPECT_TRUE(contains(json_error(""), "f.json:1:"));
  EXPECT_TRUE(contains(json_error("{\"drain_ms\": 1,\n\"drain_ms\": 2}"),
                       "f.json:2: \"drain_ms\" is given twice; first in line 1"));
  const std::string deep = "{\"listen\": " + std::string(100'000, '[') + std::string(100'000, ']');
  EXPECT_TRUE(contains(json_error(deep + "}"), "f.json:1: nested too deep"));
}

TEST(ListenAddress, OnlyLoopbackWithoutTls) {
  EXPECT_EQ(parse_listen_address("127.0.0.1:7420").value().port, 7420);
  EXPECT_TRUE(parse_listen_address("[::1]:1").value().v6);
  for (const char* text : {"0.0.0.0:1", "[::]:1", "192.168.1.1:7420", "localhost:1", ":1",
                           "127.0.0.2:1", "::1:80"}) {
    const auto result = parse_listen_address(text);
    ASSERT_FALSE(result.ok()) << text;
    EXPECT_TRUE(contains(result.status().message(), "needs mutual TLS")) << text;
    EXPECT_TRUE(contains(result.status().message(), text));
  }
  for (const char* text : {"127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:1x", ""}) {
    const auto result = parse_listen_address(text);
    ASSERT_FALSE(result.ok()) << text;
    EXPECT_TRUE(contains(result.status().message(), "is written as")) << text;
  }
}

TEST(CommandLine, FlagsComeFromTheTable) {
  const auto parsed =
      parse_command_line({"--drain-ms", "5s", "--listen=127.0.0.1:1,[::1]:2", "--daemonize"});
  ASSERT_TRUE(parsed.ok()) << parsed.status().to_string();
  EXPECT_TRUE(parsed->daemonize);
  ASSERT_EQ(parsed->options.size(), 2u);
  Options options;
  for (const auto& [row, text] : parsed->options) {
    ASSERT_TRUE(set_from_text(*row, text, &options).ok());
  }
  EXPECT_EQ(options.drain_ms, 5000u);
  EXPECT_EQ(options.listen, (std::vector<std::string>{"127.0.0.1:1", "[::1]:2"}));
}

TEST(CommandLine, MistakesAreNamed) {
  const auto message = [](const std::vector<std::string>& arguments) {
    return std::string(parse_command_line(arguments).status().message());
  };
  EXPECT_TRUE(
      contains(message({"--drian-ms=1"}), "unknown flag --drian-ms; did you mean --drain-ms"));
  EXPECT_TRUE(contains(message({"--drain-ms"}), "--drain-ms needs a value"));
  EXPECT_TRUE(contains(message({"start"}), "unexpected argument \"start\""));
}

class LoadTest : public ::testing::Test {
 protected:
  LoadTest() {
    for (const char* name : {"HEDDLE_RUNTIME_DIR", "HEDDLE_STATE_DIR", "RUNTIME_DIRECTORY",
                             "STATE_DIRECTORY"}) {
      ::unsetenv(name);
    }
    write("{\"drain_ms\": 1, \"scan_ms\": 7}");
    line_.config_file = dir_.file("c.json");
  }
  void write(const std::string& text) {
    std::string why;
    ASSERT_TRUE(os::write_file_atomically(dir_.file("c.json"), text, 0600, &why)) << why;
  }
  void flag(const char* name, const char* value) {
    line_.options.emplace_back(find_option(name), value);
  }
  test::TempDir dir_;
  CommandLine line_;
};

TEST_F(LoadTest, FlagsBeatTheEnvironmentBeatsTheFileBeatsTheManager) {
  write("{\"runtime_dir\": \"/file\", \"drain_ms\": 1}");
  ::setenv("RUNTIME_DIRECTORY", "/manager:/other", 1);
  EXPECT_EQ(load_options(line_)->options.runtime_dir, "/file");
  ::setenv("HEDDLE_RUNTIME_DIR", "/variable", 1);
  EXPECT_EQ(load_options(line_)->options.runtime_dir, "/variable");
  flag("runtime_dir", "/flag");
  flag("drain_ms", "3");
  const auto loaded = load_options(line_);
  EXPECT_EQ(loaded->options.runtime_dir, "/flag");
  EXPECT_EQ(loaded->options.drain_ms, 3u);
  EXPECT_EQ(loaded->file, line_.config_file);
  ::unsetenv("HEDDLE_RUNTIME_DIR");
  line_.options.clear();
  write("{}");
  EXPECT_EQ(load_options(line_)->options.runtime_dir, "/manager");
  ::unsetenv("RUNTIME_DIRECTORY");
}

TEST_F(LoadTest, EveryMistakeIsAnError) {
  const auto message = [this] { return std::string(load_options(line_).status().message()); };
  flag("runtime_dir", "relative");
  EXPECT_TRUE(contains(message(), "absolute path; it is \"relative\"")) << message();
  line_.options.clear();
  flag("drain_ms", "x");
  EXPECT_TRUE(contains(message(), "--drain-ms: \"drain_ms\" must be")) << message();
  line_.options.clear();
  flag("connect_group", "no-such-group");
  EXPECT_TRUE(contains(message(), "\"no-such-group\", which does not exist")) << message();
  line_.options.clear();
  write("{\"queue_max_bytes\": 10}");
  EXPECT_TRUE(contains(message(), "is above \"queue_max_bytes\" (10)")) << message();
  EXPECT_TRUE(contains(message(), "c.json:1: ")) << message();
  write("{\n\n\"listen\": [\"0.0.0.0:1\"]}");
  EXPECT_TRUE(contains(message(), "c.json:3: \"listen\" has")) << message();
  flag("listen", "0.0.0.0:2");
  EXPECT_TRUE(contains(message(), "--listen: \"listen\" has")) << message();
  line_.options.clear();
  write("{\"queue_max_msg_bytes\": \"2GiB\", \"queue_max_bytes\": \"4GiB\"}");
  EXPECT_TRUE(contains(message(), "1 to 1073741824")) << message();
  line_.config_file = dir_.file("absent.json");
  EXPECT_TRUE(contains(message(), "absent.json")) << message();
  line_.config_file = dir_.path();  // a directory: it exists and cannot be read
  EXPECT_FALSE(load_options(line_).ok());
}

TEST_F(LoadTest, WhatGoesOverOnePlaneOnlyIsAWarning) {
  EXPECT_TRUE(load_options(line_)->warnings.empty());
  write("{\n\"queue_max_msg_bytes\": \"64MiB\"}");
  const auto loaded = load_options(line_);
  ASSERT_TRUE(loaded.ok()) << loaded.status().to_string();
  ASSERT_EQ(loaded->warnings.size(), 1u);
  EXPECT_TRUE(contains(loaded->warnings[0], "c.json:2: \"queue_max_msg_bytes\" (67108864)"))
      << loaded->warnings[0];
  flag("grpc_message_bytes_max", "64MiB");
  EXPECT_TRUE(load_options(line_)->warnings.empty());
}

TEST_F(LoadTest, MemoryMaxIsWorkedOutWhenNotGiven) {
  EXPECT_GT(load_options(line_)->options.memory_max, 1u << 20);
  flag("memory_max", "1MiB");
  EXPECT_EQ(load_options(line_)->options.memory_max, 1u << 20);
}

TEST_F(LoadTest, ReloadAppliesWhatMayChangeAndNamesTheRest) {
  const Options before = load_options(line_)->options;
  write("{\"drain_ms\": 9, \"listen\": [\"127.0.0.1:1\"], \"memory_max\": 4096}");
  std::vector<std::string> later;
  const auto after = reload_options(line_, before, &later);
  ASSERT_TRUE(after.ok()) << after.status().to_string();
  EXPECT_EQ(after->drain_ms, 9u);
  EXPECT_EQ(after->scan_ms, 50u);  // no longer in the file: the default again
  EXPECT_TRUE(after->listen.empty());
  EXPECT_EQ(later, std::vector<std::string>{"listen"});
  write("{\"drain_ms\": ");
  EXPECT_FALSE(reload_options(line_, before, &later).ok());
}

}  // namespace
}  // namespace heddle::config
