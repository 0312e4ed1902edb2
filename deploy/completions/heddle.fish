# fish completion for heddle; made by `heddle completion fish`
function __heddle_at
    # Whether the words so far, options left out, are exactly these.
    set -l words (commandline -opc | string match -v -- '-*')
    test "$words[2..-1]" = "$argv"
end
function __heddle_in
    # Whether the words so far begin with these.
    set -l words (commandline -opc | string match -v -- '-*')
    string match -q -- "$argv *" "$words[2..-1] "
end
complete -c heddle -f
complete -c heddle -n '__heddle_at ' -a queue
complete -c heddle -n '__heddle_at ' -a ping
complete -c heddle -n '__heddle_at ' -a status
complete -c heddle -n '__heddle_at ' -a ls
complete -c heddle -n '__heddle_at ' -a session
complete -c heddle -n '__heddle_at ' -a version
complete -c heddle -n '__heddle_at ' -a completion
complete -c heddle -s h -l help -d 'Show this help'
complete -c heddle -l json -d 'JSON on stdout, and for errors on stderr'
complete -c heddle -s q -l quiet -d 'No remarks and no progress; failures are still told'
complete -c heddle -l runtime-dir -x -d 'Directory of the daemon'\''s sockets'
complete -c heddle -l address -x -d 'gRPC address, host:port or unix:/path'
complete -c heddle -l plane -x -a 'auto shm grpc' -d 'How to reach the daemon'
complete -c heddle -l version -d 'Show the version'
complete -c heddle -n '__heddle_at queue' -a create
complete -c heddle -n '__heddle_at queue' -a ls
complete -c heddle -n '__heddle_at queue' -a info
complete -c heddle -n '__heddle_at queue' -a purge
complete -c heddle -n '__heddle_at queue' -a kick
complete -c heddle -n '__heddle_at queue' -a delete
complete -c heddle -n '__heddle_at queue' -a shutdown
complete -c heddle -n '__heddle_at queue' -a reopen
complete -c heddle -n '__heddle_at queue' -a put
complete -c heddle -n '__heddle_at queue' -a get
complete -c heddle -n '__heddle_at queue' -a ack
complete -c heddle -n '__heddle_at queue' -a nack
complete -c heddle -n '__heddle_at queue' -a bury
complete -c heddle -n '__heddle_at queue' -a extend
complete -c heddle -n '__heddle_at queue' -a peek
complete -c heddle -n '__heddle_at queue' -a browse
complete -c heddle -n '__heddle_at queue' -a who
complete -c heddle -n '__heddle_at queue' -a join
complete -c heddle -n '__heddle_at queue' -a work
complete -c heddle -n '__heddle_in queue create' -l max-len -x -d 'Messages it holds, leased ones left out (default 1000000)'
complete -c heddle -n '__heddle_in queue create' -l max-bytes -x -d 'Bytes of all messages (256M)'
complete -c heddle -n '__heddle_in queue create' -l max-msg-bytes -x -d 'Bytes of one message (16M)'
complete -c heddle -n '__heddle_in queue create' -l max-leases -x -d 'Messages under lease at once (65536)'
complete -c heddle -n '__heddle_in queue create' -l max-deliveries -x -d 'Failed deliveries after which a message is buried; 0 = no limit (0)'
complete -c heddle -n '__heddle_in queue create' -l overflow -x -a 'block reject drop_oldest' -d 'What put does when it is full (block)'
complete -c heddle -n '__heddle_in queue create' -l eos -x -a 'manual last_producer' -d 'When the stream ends (manual: by shutdown only)'
complete -c heddle -n '__heddle_in queue create' -l on-producer-death -x -a 'wait close error' -d 'What the death of a registered producer does (wait: nothing)'
complete -c heddle -n '__heddle_in queue create' -l mode -x -d 'Permission bits, octal; r shows, w puts and takes (0600)'
complete -c heddle -n '__heddle_in queue create' -l group -x -d 'Group it belongs to (yours)'
complete -c heddle -n '__heddle_in queue create' -l exclusive -d 'Fail with status 13 if the name is taken'
complete -c heddle -n '__heddle_in queue ls' -l names -d 'Names alone, one a line'
complete -c heddle -n '__heddle_at queue info' -a '(heddle queue ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_at queue purge' -a '(heddle queue ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_in queue purge' -l state -x -a 'ready leased returned buried all' -d 'Which ones (ready,returned)'
complete -c heddle -n '__heddle_at queue kick' -a '(heddle queue ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_in queue kick' -s n -l max -x -d 'At most so many, the oldest first (all)'
complete -c heddle -n '__heddle_at queue delete' -a '(heddle queue ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_at queue shutdown' -a '(heddle queue ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_in queue shutdown' -l immediate -d 'Throw away what is in it instead of draining'
complete -c heddle -n '__heddle_at queue reopen' -a '(heddle queue ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_at queue put' -a '(heddle queue ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_in queue put' -l lines -d 'Each line of stdin is a message (text)'
complete -c heddle -n '__heddle_in queue put' -l kind -x -a 'data text json json_text' -d 'What the body is (a word is text, stdin is data)'
complete -c heddle -n '__heddle_in queue put' -s t -l timeout -x -d 'Wait so long for room; 0 does not wait (for ever)'
complete -c heddle -n '__heddle_in queue put' -l producer -d 'Register as a producer: consumers can tell the end from a death'
complete -c heddle -n '__heddle_at queue get' -a '(heddle queue ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_in queue get' -s t -l timeout -x -d 'Wait so long for a message; 0 does not wait (for ever)'
complete -c heddle -n '__heddle_in queue get' -s n -l max -x -d 'Up to so many: waits for the first, takes what is there (1)'
complete -c heddle -n '__heddle_in queue get' -s f -l follow -d 'Go on until the stream ends, or nothing came for --timeout'
complete -c heddle -n '__heddle_in queue get' -l raw -d 'Bodies alone; else text and JSON get a newline each'
complete -c heddle -n '__heddle_in queue get' -l ack -x -a 'auto manual' -d 'auto: done once written. manual: leased, for heddle queue ack'
complete -c heddle -n '__heddle_in queue get' -l lease -x -d 'How long a manual lease lasts (60s)'
complete -c heddle -n '__heddle_at queue ack' -a '(heddle queue ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_at queue nack' -a '(heddle queue ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_in queue nack' -l uncounted -d 'Not a failed delivery: max_deliveries ignores it'
complete -c heddle -n '__heddle_at queue bury' -a '(heddle queue ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_at queue extend' -a '(heddle queue ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_in queue extend' -l lease -x -d 'From now on (60s)'
complete -c heddle -n '__heddle_at queue peek' -a '(heddle queue ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_in queue peek' -l raw -d 'The body alone, without a newline'
complete -c heddle -n '__heddle_in queue peek' -l body -x -d 'At most so many bytes of it (all)'
complete -c heddle -n '__heddle_at queue browse' -a '(heddle queue ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_in queue browse' -l state -x -a 'ready leased returned buried all' -d 'Only these states (all)'
complete -c heddle -n '__heddle_in queue browse' -l after -x -d 'Only messages after this id'
complete -c heddle -n '__heddle_in queue browse' -s n -l max -x -d 'At most so many (100)'
complete -c heddle -n '__heddle_in queue browse' -l body -x -d 'Show so many bytes of each body'
complete -c heddle -n '__heddle_at queue who' -a '(heddle queue ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_at queue join' -a '(heddle queue ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_in queue join' -s t -l timeout -x -d 'Wait so long, then tell who holds what (for ever)'
complete -c heddle -n '__heddle_at queue work' -a '(heddle queue ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_in queue work' -s P -l parallel -x -d 'Commands at once (1)'
complete -c heddle -n '__heddle_in queue work' -s n -l max -x -d 'Stop after so many messages (never)'
complete -c heddle -n '__heddle_in queue work' -l max-deliveries -x -d 'Failed deliveries after which a message is buried; 0 = no limit (5)'
complete -c heddle -n '__heddle_in queue work' -s t -l timeout -x -d 'Stop when nothing came for so long (never)'
complete -c heddle -n '__heddle_at session' -a ls
complete -c heddle -n '__heddle_at completion' -a bash
complete -c heddle -n '__heddle_at completion' -a zsh
complete -c heddle -n '__heddle_at completion' -a fish
