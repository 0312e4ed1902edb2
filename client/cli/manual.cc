// heddle(1): the verbs as the parser knows them, and around them what a parser does not know.
#include <heddle/reasons.h>

#include <map>

#include "client/cli/command_tree.h"

namespace heddle::cli {

namespace {

constexpr char kHead[] = R"(.\" Made by `heddle manual`; do not edit.
.TH HEDDLE 1 "" "heddle" "User Commands"
.SH NAME
heddle \- queues, dicts, lists and locks that any process on this machine can share
.SH SYNOPSIS
.B heddle
.I NOUN VERB NAME
.RI [ OPTION ...]
.SH DESCRIPTION
.B heddle
is the shell's way to the broker of
.BR heddled (8).
Every verb is one call of the library: what a program can do, a script can do. A queue that one
process makes can be used by every other that may, in C++, C, a shell, or any language that speaks
gRPC.
.PP
Without
.B \-\-plane
the command uses shared memory where the daemon is on this machine, and gRPC elsewhere.
.SS Durations
A number with
.BR ms ", " s ", " m " or " h ;
a bare number is seconds. 0 does not wait. A timeout that is not given waits for ever.
.SS Bodies
A word on the command line is text, a stream (\-) is bytes, and
.B \-\-kind
says otherwise.
.B get
and
.B peek
write the body, and one newline after text and JSON;
.B \-\-raw
writes the body alone. What was put from a stream therefore comes out byte for byte.
.SS Values of dicts
A value is a text unless
.B \-\-type
says otherwise; a number that is to be counted with
.B incr
is an
.BR int .
.B \-\-json
shows every value so that
.B load
and
.B txn
can read it back: "value" with a "type", "json_text" for JSON as it was written, "data" in base64
for bytes and for what is not UTF-8. Each change has a revision, and
.B \-\-if\-version
takes the
.I mod_revision
of the entry that was read. With
.B \-\-path
a part of a JSON value is read or changed; of two who do so at once neither loses anything.
Elements of lists are values of the same types, and
.B \-\-if\-revision
takes the revision that a change told.
.SS Blocks
.B heddle block read
writes bytes as they are, all of one version, and
.B write
puts bytes in so that readers see all of them or none. A program may map a block and store into it
directly: nobody can tell by its version. Who is killed in a
.B write
leaves a torn range;
.B read
of any of it ends with 12 until a write has covered it or
.B mend
says that it is right.
.SS When a message is done
.B get
writes the message first and acknowledges it then: if it cannot be written, or the command is
killed before, the message goes back to its place and is delivered again. With
.B "\-\-ack manual"
the message stays leased when the command has ended; the lease is printed on a line before the
body and is for
.BR ack ", " nack ", " bury " and " extend .
Unless one of them comes in time, the message goes back, counted as a failed delivery. Such leases
are held by the daemon over gRPC, whatever the plane of other commands.
.PP
This is what
.B get
does. A gRPC call of
.I QueueService.Get
with
.I ACK_MODE_AUTO
is at most once: the message is gone when the reply has been written to the connection, and a caller
that cancels or dies before it has read that reply loses it.
.I ACK_MODE_MANUAL
does not.
.SS Locks
A lock is held by a process and goes with it, however it ends: nothing has to be cleaned up after a
kill. The next owner is told
.RB ( HEDDLE_LOCK_ABANDONED ,
a line on standard error) that the last one died at work. Each exclusive grant has a token larger
than all before; who is late has a smaller one. The daemon looks for circles of waits (through
joined queues and pipes too, as far as it knows who could move) and ends them at one of the waiters:
.B heddle lock deadlocks
shows them.
.SS JSON
With
.B \-\-json
every verb writes one JSON document, and
.B get
one line for each message:
.PP
.nf
{"id":1,"message":{"text":"hello","kind":"text"},"delivery_count":1}
.fi
.PP
A failure is a document on standard error:
.PP
.nf
{"error":{"reason":"NOT_FOUND","code":"NOT_FOUND","message":"...",
          "object":"queue jobs","limit":null,"actual":null}}
.fi
.SH COMMANDS
)";

constexpr char kTail[] = R"(.SH ENVIRONMENT
.TP
.B HEDDLE_ADDRESS
gRPC address, as
.BR \-\-address .
.TP
.B HEDDLE_RUNTIME_DIR
Directory of the daemon's sockets, as
.BR \-\-runtime\-dir .
Without both:
.IR $XDG_RUNTIME_DIR/heddle ,
then
.IR /run/heddle .
.TP
.B HEDDLE_PLANE
.BR auto ", " shm " or " grpc ,
as
.BR \-\-plane .
.TP
.B NO_COLOR
No colour, on a terminal either.
.SH SEE ALSO
.BR heddled (8),
.BR heddled.json (5)
)";

// Hyphens that are typed, backslashes, and a dot that starts a line.
std::string roff(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '-')
      out += "\\-";
    else if (c == '\\')
      out += "\\e";
    else if (c == '.' && (out.empty() || out.back() == '\n'))
      out += "\\&.";
    else if (c == '\'' && (out.empty() || out.back() == '\n'))
      out += "\\&'";
    else
      out += c;
  }
  return out;
}

std::string option_text(const OptionFacts& option) {
  std::string out = ".TP\n";
  std::string flags;
  for (const std::string& flag : option.flags) {
    flags += (flags.empty() ? "" : "\\fR, ") + std::string("\\fB") + roff(flag);
  }
  out += flags + "\\fR";
  if (!option.value.empty()) out += " \\fI" + roff(option.value) + "\\fR";
  return out + "\n" + roff(option.description) + ".\n";
}

std::string verb_text(const VerbFacts& facts) {
  std::string out = ".SS heddle " + roff(facts.path) + (facts.usage.empty() ? "" : " ") +
                    roff(facts.usage) + "\n" + roff(facts.summary) + ".\n";
  for (const OptionFacts& option : facts.options) {
    if (!option.everywhere) out += option_text(option);
  }
  if (!facts.footer.empty()) out += ".PP\n.nf\n" + roff(facts.footer) + "\n.fi\n";
  return out;
}

// From the table of reasons, so that no status is told twice in two ways.
std::string exit_status() {
  std::map<int, std::string> reasons;
  for (const ReasonInfo& info : kReasons) {
    if (info.exit_code == 0) continue;
    std::string& text = reasons[info.exit_code];
    text += (text.empty() ? "" : ", ") + std::string(info.name);
  }
  std::string out = ".SH EXIT STATUS\n.TP\n0\nDone.\n";
  reasons[1] = "Any other failure: " + reasons[1];
  reasons[2] = "Wrong usage: " + reasons[2];
  reasons[3] = "Partly done: some lines put, some leases settled, some messages buried";
  reasons[124] = "heddle lock run, lock elect, sem run: not acquired in time";
  reasons[125] = "heddle lock run, lock elect, sem run: any other failure of their own";
  reasons[126] = "The command after -- cannot be run";
  reasons[127] = "The command after -- is not there";
  for (const auto& [code, text] : reasons) {
    out += ".TP\n" + std::to_string(code) + "\n" + roff(text) + ".\n";
  }
  return out;
}

}  // namespace

std::string manual_page(const CLI::App& root) {
  std::string out = kHead;
  std::string everywhere;
  for (const VerbFacts& facts : facts_of(root)) {
    if (facts.path.empty()) {
      for (const OptionFacts& option : facts.options) everywhere += option_text(option);
    }
    if (facts.verbs.empty()) out += verb_text(facts);
  }
  return out + ".SH OPTIONS OF EVERY COMMAND\n" + everywhere + exit_status() + kTail;
}

}  // namespace heddle::cli
