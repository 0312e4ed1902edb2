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
complete -c heddle -n '__heddle_at ' -a pipe
complete -c heddle -n '__heddle_at ' -a dict
complete -c heddle -n '__heddle_at ' -a list
complete -c heddle -n '__heddle_at ' -a block
complete -c heddle -n '__heddle_at ' -a lock
complete -c heddle -n '__heddle_at ' -a sem
complete -c heddle -n '__heddle_at ' -a event
complete -c heddle -n '__heddle_at ' -a barrier
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
complete -c heddle -n '__heddle_in queue create' -l anonymous -d 'Print a name that the broker chooses; goes when nobody has it open'
complete -c heddle -n '__heddle_in queue create' -l max-len -x -d 'Messages it holds, leased ones left out (default 1000000)'
complete -c heddle -n '__heddle_in queue create' -l max-bytes -x -d 'Bytes of all messages (256M)'
complete -c heddle -n '__heddle_in queue create' -l max-msg-bytes -x -d 'Bytes of one message (16M)'
complete -c heddle -n '__heddle_in queue create' -l max-leases -x -d 'Messages under lease at once (65536)'
complete -c heddle -n '__heddle_in queue create' -l max-deliveries -x -d 'Failed deliveries after which a message is buried; 0 = no limit (0)'
complete -c heddle -n '__heddle_in queue create' -l overflow -x -a 'block reject drop_oldest' -d 'What put does when it is full (block)'
complete -c heddle -n '__heddle_in queue create' -l eos -x -a 'manual last_producer' -d 'When the stream ends (manual: by shutdown only)'
complete -c heddle -n '__heddle_in queue create' -l on-producer-death -x -a 'wait close error' -d 'What the death of a registered producer does (wait: nothing)'
complete -c heddle -n '__heddle_in queue create' -l lifetime -x -a 'kept attached' -d 'Until deleted, or until nobody has it open (kept)'
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
complete -c heddle -n '__heddle_in queue put' -l fence -x -d 'Only while TOKEN is the newest of LOCK that was granted or shown here'
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
complete -c heddle -n '__heddle_in queue work' -l max-deliveries -x -d 'Failed deliveries until it is buried; 0 = by the queue'\''s limit (5)'
complete -c heddle -n '__heddle_in queue work' -s t -l timeout -x -d 'Stop when nothing came for so long (never)'
complete -c heddle -n '__heddle_at pipe' -a create
complete -c heddle -n '__heddle_at pipe' -a send
complete -c heddle -n '__heddle_at pipe' -a recv
complete -c heddle -n '__heddle_at pipe' -a ls
complete -c heddle -n '__heddle_at pipe' -a info
complete -c heddle -n '__heddle_at pipe' -a delete
complete -c heddle -n '__heddle_in pipe create' -l mode -x -a 'message bytes' -d 'Whole messages, or a stream without borders (message)'
complete -c heddle -n '__heddle_in pipe create' -l one-way -d 'From end a to end b only'
complete -c heddle -n '__heddle_in pipe create' -l resumable -d 'An end whose process was killed waits for the next one'
complete -c heddle -n '__heddle_in pipe create' -l capacity -x -d 'Bytes of each ring, a power of two (64K)'
complete -c heddle -n '__heddle_in pipe create' -l max-msg-bytes -x -d 'Largest message; may be larger than the ring (16M)'
complete -c heddle -n '__heddle_in pipe create' -l access -x -d 'Permission bits, like 0660 (0600)'
complete -c heddle -n '__heddle_in pipe create' -l group -x -d 'Owning group; you must be in it'
complete -c heddle -n '__heddle_at pipe send' -a '(heddle pipe ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_in pipe send' -l lines -d 'A pipe of messages: each line is one'
complete -c heddle -n '__heddle_in pipe send' -l progress -d 'How much and how fast, on a terminal'
complete -c heddle -n '__heddle_in pipe send' -s t -l timeout -x -d 'Give up when there was no room for so long'
complete -c heddle -n '__heddle_at pipe recv' -a '(heddle pipe ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_in pipe recv' -s n -l count -x -d 'A pipe of messages: so many at most (all)'
complete -c heddle -n '__heddle_in pipe recv' -l progress -d 'How much and how fast, on a terminal'
complete -c heddle -n '__heddle_in pipe recv' -s t -l timeout -x -d 'Give up when nothing came for so long'
complete -c heddle -n '__heddle_at pipe ls' -a TEXT
complete -c heddle -n '__heddle_at pipe info' -a '(heddle pipe ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_at pipe delete' -a '(heddle pipe ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_at dict' -a get
complete -c heddle -n '__heddle_at dict' -a keys
complete -c heddle -n '__heddle_at dict' -a items
complete -c heddle -n '__heddle_at dict' -a watch
complete -c heddle -n '__heddle_at dict' -a set
complete -c heddle -n '__heddle_at dict' -a del
complete -c heddle -n '__heddle_at dict' -a incr
complete -c heddle -n '__heddle_at dict' -a append
complete -c heddle -n '__heddle_at dict' -a touch
complete -c heddle -n '__heddle_at dict' -a txn
complete -c heddle -n '__heddle_at dict' -a edit
complete -c heddle -n '__heddle_at dict' -a compute
complete -c heddle -n '__heddle_at dict' -a dump
complete -c heddle -n '__heddle_at dict' -a load
complete -c heddle -n '__heddle_at dict' -a create
complete -c heddle -n '__heddle_at dict' -a ls
complete -c heddle -n '__heddle_at dict' -a info
complete -c heddle -n '__heddle_at dict' -a clear
complete -c heddle -n '__heddle_at dict' -a delete
complete -c heddle -n '__heddle_at dict get' -a '(heddle dict ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_in dict get' -l path -x -d 'Part of a JSON value: a pointer like /a/b/0'
complete -c heddle -n '__heddle_in dict get' -l raw -d 'The value alone, without a newline'
complete -c heddle -n '__heddle_at dict keys' -a '(heddle dict ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_in dict keys' -l prefix -x -d 'Only keys that begin with it'
complete -c heddle -n '__heddle_in dict keys' -l from -x -d 'Only keys from this one on, by bytes'
complete -c heddle -n '__heddle_in dict keys' -l to -x -d 'Only keys below this one'
complete -c heddle -n '__heddle_in dict keys' -l unsorted -d 'As they come, without keeping all of them first'
complete -c heddle -n '__heddle_in dict keys' -l raw -d 'As they are, each with a NUL behind it'
complete -c heddle -n '__heddle_at dict items' -a '(heddle dict ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_in dict items' -l prefix -x -d 'Only keys that begin with it'
complete -c heddle -n '__heddle_in dict items' -l from -x -d 'Only keys from this one on, by bytes'
complete -c heddle -n '__heddle_in dict items' -l to -x -d 'Only keys below this one'
complete -c heddle -n '__heddle_in dict items' -l unsorted -d 'As they come, without keeping all of them first'
complete -c heddle -n '__heddle_at dict watch' -a '(heddle dict ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_in dict watch' -l from -x -d 'Begin with this change (the next one)'
complete -c heddle -n '__heddle_in dict watch' -l prefix -x -d 'Only keys that begin with it'
complete -c heddle -n '__heddle_in dict watch' -l snapshot -d 'First all entries as they are'
complete -c heddle -n '__heddle_in dict watch' -l previous -d 'With --json: what was there before'
complete -c heddle -n '__heddle_in dict watch' -s n -l max -x -d 'End after so many'
complete -c heddle -n '__heddle_in dict watch' -s t -l timeout -x -d 'End with 5 when nothing has changed for so long'
complete -c heddle -n '__heddle_at dict set' -a '(heddle dict ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_in dict set' -l type -x -a 'text int double bool null json data' -d 'What it is (text)'
complete -c heddle -n '__heddle_in dict set' -l path -x -d 'Part of a JSON value: a pointer like /a/b/0'
complete -c heddle -n '__heddle_in dict set' -l merge -d 'VALUE is a merge patch (RFC 7396)'
complete -c heddle -n '__heddle_in dict set' -l patch -d 'VALUE is a list of operations (RFC 6902)'
complete -c heddle -n '__heddle_in dict set' -l if-version -x -d 'Only if its mod_revision is this one; 0: only if it is absent'
complete -c heddle -n '__heddle_in dict set' -l if-absent -d 'Only if it is not there'
complete -c heddle -n '__heddle_in dict set' -l if-present -d 'Only if it is there'
complete -c heddle -n '__heddle_in dict set' -l ttl -x -d 'It is gone after so long'
complete -c heddle -n '__heddle_in dict set' -l keep-ttl -d 'Its expiry stays as it is'
complete -c heddle -n '__heddle_in dict set' -l persist -d 'It has no expiry'
complete -c heddle -n '__heddle_in dict set' -l session -d 'It goes when this command ends'
complete -c heddle -n '__heddle_in dict set' -l fence -x -d 'Refused once somebody else has been granted the lock (LOCK:TOKEN)'
complete -c heddle -n '__heddle_at dict del' -a '(heddle dict ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_in dict del' -l path -x -d 'Part of a JSON value: a pointer like /a/b/0'
complete -c heddle -n '__heddle_in dict del' -l if-version -x -d 'Only if its mod_revision is this one; 0: only if it is absent'
complete -c heddle -n '__heddle_in dict del' -l if-absent -d 'Only if it is not there'
complete -c heddle -n '__heddle_in dict del' -l if-present -d 'Only if it is there'
complete -c heddle -n '__heddle_in dict del' -l fence -x -d 'Refused once somebody else has been granted the lock (LOCK:TOKEN)'
complete -c heddle -n '__heddle_at dict incr' -a '(heddle dict ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_in dict incr' -l path -x -d 'Part of a JSON value: a pointer like /a/b/0'
complete -c heddle -n '__heddle_in dict incr' -l least -x -d 'Refused below it'
complete -c heddle -n '__heddle_in dict incr' -l most -x -d 'Refused above it'
complete -c heddle -n '__heddle_in dict incr' -l ttl -x -d 'It is gone after so long (as it was)'
complete -c heddle -n '__heddle_at dict append' -a '(heddle dict ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_in dict append' -l type -x -a 'text data' -d 'What it is (text)'
complete -c heddle -n '__heddle_in dict append' -l if-version -x -d 'Only if its mod_revision is this one; 0: only if it is absent'
complete -c heddle -n '__heddle_in dict append' -l if-absent -d 'Only if it is not there'
complete -c heddle -n '__heddle_in dict append' -l if-present -d 'Only if it is there'
complete -c heddle -n '__heddle_at dict touch' -a '(heddle dict ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_in dict touch' -l ttl -x -d 'It is gone after so long'
complete -c heddle -n '__heddle_in dict touch' -l persist -d 'It has no expiry'
complete -c heddle -n '__heddle_at dict txn' -a '(heddle dict ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_at dict edit' -a '(heddle dict ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_at dict compute' -a '(heddle dict ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_in dict compute' -l type -x -a 'text int double bool json data' -d 'What the command writes (text)'
complete -c heddle -n '__heddle_in dict compute' -l ttl -x -d 'The value is gone after so long (as the dict says)'
complete -c heddle -n '__heddle_in dict compute' -l early -x -d 'With no more left it is computed anew (0)'
complete -c heddle -n '__heddle_in dict compute' -l wait -d 'For the new value, rather than the old one'
complete -c heddle -n '__heddle_in dict compute' -l lease -x -d 'How long the command has (5m)'
complete -c heddle -n '__heddle_in dict compute' -l raw -d 'Without a newline at the end'
complete -c heddle -n '__heddle_in dict compute' -s t -l timeout -x -d 'How long to wait for somebody else (for ever)'
complete -c heddle -n '__heddle_at dict dump' -a '(heddle dict ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_at dict load' -a '(heddle dict ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_in dict load' -l clear -d 'First erase what is there'
complete -c heddle -n '__heddle_in dict load' -l partial -d 'Lines without a last one are fine'
complete -c heddle -n '__heddle_in dict create' -l max-entries -x -d 'Entries at most (1000000)'
complete -c heddle -n '__heddle_in dict create' -l max-bytes -x -d 'Bytes of all keys and values (256M)'
complete -c heddle -n '__heddle_in dict create' -l max-value-bytes -x -d 'Bytes of one value (16M)'
complete -c heddle -n '__heddle_in dict create' -l history -x -d 'Changes that can be read back (1024)'
complete -c heddle -n '__heddle_in dict create' -l no-previous -d 'Changes do not tell what they replaced: less memory'
complete -c heddle -n '__heddle_in dict create' -l default-ttl -x -d 'Entries are gone after so long, unless a write says otherwise'
complete -c heddle -n '__heddle_in dict create' -l eviction -x -a 'reject evict_oldest_write evict_lru evict_ttl_first' -d 'At a limit: refuse, or which entry goes (reject)'
complete -c heddle -n '__heddle_in dict create' -l ttl-on-overwrite -x -a 'clear keep default' -d 'What becomes of an expiry when its entry is written again (clear)'
complete -c heddle -n '__heddle_in dict create' -l lifetime -x -a 'kept attached' -d 'Until deleted, or until nobody has it open (kept)'
complete -c heddle -n '__heddle_in dict create' -l mode -x -d 'Permission bits, like 0660: r reads, w writes (0600)'
complete -c heddle -n '__heddle_in dict create' -l group -x -d 'Owning group; you must be in it'
complete -c heddle -n '__heddle_in dict create' -l exclusive -d 'Fail if it is there'
complete -c heddle -n '__heddle_at dict ls' -a TEXT
complete -c heddle -n '__heddle_in dict ls' -l names -d 'Names alone, a line each'
complete -c heddle -n '__heddle_at dict info' -a '(heddle dict ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_at dict clear' -a '(heddle dict ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_at dict delete' -a '(heddle dict ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_at list' -a create
complete -c heddle -n '__heddle_at list' -a ls
complete -c heddle -n '__heddle_at list' -a info
complete -c heddle -n '__heddle_at list' -a len
complete -c heddle -n '__heddle_at list' -a delete
complete -c heddle -n '__heddle_at list' -a get
complete -c heddle -n '__heddle_at list' -a slice
complete -c heddle -n '__heddle_at list' -a watch
complete -c heddle -n '__heddle_at list' -a append
complete -c heddle -n '__heddle_at list' -a set
complete -c heddle -n '__heddle_at list' -a insert
complete -c heddle -n '__heddle_at list' -a pop
complete -c heddle -n '__heddle_at list' -a remove
complete -c heddle -n '__heddle_at list' -a clear
complete -c heddle -n '__heddle_in list create' -l max-len -x -d 'Elements at most (1000000)'
complete -c heddle -n '__heddle_in list create' -l max-bytes -x -d 'Bytes of all values (256M)'
complete -c heddle -n '__heddle_in list create' -l max-value-bytes -x -d 'Bytes of one value (16M)'
complete -c heddle -n '__heddle_in list create' -l lifetime -x -a 'kept attached' -d 'Until deleted, or until nobody has it open (kept)'
complete -c heddle -n '__heddle_in list create' -l mode -x -d 'Permission bits, like 0660: r reads, w writes (0600)'
complete -c heddle -n '__heddle_in list create' -l group -x -d 'Owning group; you must be in it'
complete -c heddle -n '__heddle_in list create' -l exclusive -d 'Fail if it is there'
complete -c heddle -n '__heddle_at list ls' -a TEXT
complete -c heddle -n '__heddle_in list ls' -l names -d 'Names alone, a line each'
complete -c heddle -n '__heddle_at list info' -a '(heddle list ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_at list len' -a '(heddle list ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_at list delete' -a '(heddle list ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_at list get' -a '(heddle list ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_in list get' -l raw -d 'The value alone, without a newline'
complete -c heddle -n '__heddle_at list slice' -a '(heddle list ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_in list slice' -l if-revision -x -d 'Only if the list has this revision'
complete -c heddle -n '__heddle_in list slice' -l raw -d 'As they are, each with a NUL behind it'
complete -c heddle -n '__heddle_at list watch' -a '(heddle list ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_in list watch' -l from -x -d 'Wait for this revision first (the next one)'
complete -c heddle -n '__heddle_in list watch' -s n -l max -x -d 'End after so many'
complete -c heddle -n '__heddle_in list watch' -s t -l timeout -x -d 'End with 5 when nothing has changed for so long'
complete -c heddle -n '__heddle_at list append' -a '(heddle list ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_in list append' -l type -x -a 'text int double bool json data null' -d 'What the value is (text)'
complete -c heddle -n '__heddle_in list append' -l if-revision -x -d 'Only if the list has this revision'
complete -c heddle -n '__heddle_at list set' -a '(heddle list ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_in list set' -l type -x -a 'text int double bool json data null' -d 'What the value is (text)'
complete -c heddle -n '__heddle_in list set' -l if-revision -x -d 'Only if the list has this revision'
complete -c heddle -n '__heddle_at list insert' -a '(heddle list ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_in list insert' -l type -x -a 'text int double bool json data null' -d 'What the value is (text)'
complete -c heddle -n '__heddle_in list insert' -l if-revision -x -d 'Only if the list has this revision'
complete -c heddle -n '__heddle_at list pop' -a '(heddle list ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_in list pop' -l raw -d 'The value alone, without a newline'
complete -c heddle -n '__heddle_in list pop' -l if-revision -x -d 'Only if the list has this revision'
complete -c heddle -n '__heddle_at list remove' -a '(heddle list ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_in list remove' -l if-revision -x -d 'Only if the list has this revision'
complete -c heddle -n '__heddle_at list clear' -a '(heddle list ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_in list clear' -l if-revision -x -d 'Only if the list has this revision'
complete -c heddle -n '__heddle_at block' -a create
complete -c heddle -n '__heddle_at block' -a ls
complete -c heddle -n '__heddle_at block' -a info
complete -c heddle -n '__heddle_at block' -a mend
complete -c heddle -n '__heddle_at block' -a force
complete -c heddle -n '__heddle_at block' -a delete
complete -c heddle -n '__heddle_at block' -a read
complete -c heddle -n '__heddle_at block' -a write
complete -c heddle -n '__heddle_at block' -a watch
complete -c heddle -n '__heddle_in block create' -l size -x -d 'Bytes, up to 64G; needed to make one'
complete -c heddle -n '__heddle_in block create' -l lifetime -x -a 'kept attached' -d 'Until deleted, or until nobody has it open (kept)'
complete -c heddle -n '__heddle_in block create' -l mode -x -d 'Permission bits, like 0660: r reads, w writes (0600)'
complete -c heddle -n '__heddle_in block create' -l group -x -d 'Owning group; you must be in it'
complete -c heddle -n '__heddle_in block create' -l exclusive -d 'Fail if it is there'
complete -c heddle -n '__heddle_at block ls' -a TEXT
complete -c heddle -n '__heddle_in block ls' -l names -d 'Names alone, a line each'
complete -c heddle -n '__heddle_at block info' -a '(heddle block ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_at block mend' -a '(heddle block ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_at block force' -a '(heddle block ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_at block delete' -a '(heddle block ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_at block read' -a '(heddle block ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_in block read' -l at -x -d 'From this byte on (0)'
complete -c heddle -n '__heddle_in block read' -l bytes -x -d 'So many (all from there on)'
complete -c heddle -n '__heddle_in block read' -s t -l timeout -x -d 'End with 5 when it is written for so long'
complete -c heddle -n '__heddle_at block write' -a '(heddle block ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_in block write' -l at -x -d 'From this byte on (0)'
complete -c heddle -n '__heddle_in block write' -l if-version -x -d 'Only if it has this version'
complete -c heddle -n '__heddle_in block write' -s t -l timeout -x -d 'End with 5 when somebody else writes for so long'
complete -c heddle -n '__heddle_at block watch' -a '(heddle block ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_in block watch' -l seen -x -d 'Wait for another version than this (than the one it has)'
complete -c heddle -n '__heddle_in block watch' -s n -l max -x -d 'End after so many'
complete -c heddle -n '__heddle_in block watch' -s t -l timeout -x -d 'End with 5 when nothing has changed for so long'
complete -c heddle -n '__heddle_at lock' -a run
complete -c heddle -n '__heddle_at lock' -a elect
complete -c heddle -n '__heddle_at lock' -a acquire
complete -c heddle -n '__heddle_at lock' -a release
complete -c heddle -n '__heddle_at lock' -a create
complete -c heddle -n '__heddle_at lock' -a ls
complete -c heddle -n '__heddle_at lock' -a info
complete -c heddle -n '__heddle_at lock' -a delete
complete -c heddle -n '__heddle_at lock' -a who
complete -c heddle -n '__heddle_at lock' -a waiters
complete -c heddle -n '__heddle_at lock' -a force-release
complete -c heddle -n '__heddle_at lock' -a repair
complete -c heddle -n '__heddle_at lock' -a graph
complete -c heddle -n '__heddle_at lock' -a deadlocks
complete -c heddle -n '__heddle_at lock' -a orders
complete -c heddle -n '__heddle_at lock run' -a '(heddle lock ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_in lock run' -s t -l timeout -x -d 'How long to wait for it (for ever)'
complete -c heddle -n '__heddle_in lock run' -l lifetime -x -a 'kept attached' -d 'When it is made: until deleted, or until nobody has it open (kept)'
complete -c heddle -n '__heddle_in lock run' -l shared -d 'Beside other shared holders; a lock of kind rw'
complete -c heddle -n '__heddle_at lock elect' -a '(heddle lock ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_in lock elect' -s t -l timeout -x -d 'How long to wait for it (for ever)'
complete -c heddle -n '__heddle_in lock elect' -l lifetime -x -a 'kept attached' -d 'When it is made: until deleted, or until nobody has it open (kept)'
complete -c heddle -n '__heddle_at lock acquire' -a '(heddle lock ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_in lock acquire' -s t -l timeout -x -d 'How long to wait for it (for ever)'
complete -c heddle -n '__heddle_in lock acquire' -l lifetime -x -a 'kept attached' -d 'When it is made: until deleted, or until nobody has it open (kept)'
complete -c heddle -n '__heddle_in lock acquire' -l shared -d 'Beside other shared holders; a lock of kind rw'
complete -c heddle -n '__heddle_in lock acquire' -l hold -d 'Hold it until stdin closes or a signal comes'
complete -c heddle -n '__heddle_at lock release' -a '(heddle lock ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_in lock release' -l any -d 'Whoever holds it'
complete -c heddle -n '__heddle_in lock create' -l kind -x -a 'mutex rlock rw' -d 'rlock: its holder may acquire it again; rw: shared too (mutex)'
complete -c heddle -n '__heddle_in lock create' -l on-death -x -a 'flag silent poison' -d 'The next owner is told, is not, or there is none until repair (flag)'
complete -c heddle -n '__heddle_in lock create' -l fair -d 'Strictly in the order of arrival; slower'
complete -c heddle -n '__heddle_in lock create' -l lock-delay -x -d 'How long it stays locked after a remote holder is lost (15s)'
complete -c heddle -n '__heddle_in lock create' -l mode -x -d 'Permission bits, octal; r shows, w acquires (0600)'
complete -c heddle -n '__heddle_in lock create' -l group -x -d 'Group it belongs to (yours)'
complete -c heddle -n '__heddle_in lock create' -l exclusive -d 'Fail with status 13 if the name is taken'
complete -c heddle -n '__heddle_in lock ls' -l names -d 'Names alone, one a line'
complete -c heddle -n '__heddle_in lock ls' -s l -l long -d 'Also its state; asks about each'
complete -c heddle -n '__heddle_at lock info' -a '(heddle lock ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_at lock delete' -a '(heddle lock ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_at lock who' -a '(heddle lock ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_at lock waiters' -a '(heddle lock ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_at lock force-release' -a '(heddle lock ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_in lock force-release' -l session -x -d 'Only from this one, as who and session ls number them (all)'
complete -c heddle -n '__heddle_at lock repair' -a '(heddle lock ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_in lock graph' -l dot -d 'For graphviz'
complete -c heddle -n '__heddle_at sem' -a create
complete -c heddle -n '__heddle_at sem' -a run
complete -c heddle -n '__heddle_at sem' -a acquire
complete -c heddle -n '__heddle_at sem' -a release
complete -c heddle -n '__heddle_at sem' -a ls
complete -c heddle -n '__heddle_at sem' -a info
complete -c heddle -n '__heddle_at sem' -a delete
complete -c heddle -n '__heddle_at sem' -a who
complete -c heddle -n '__heddle_at sem' -a waiters
complete -c heddle -n '__heddle_at sem' -a force-release
complete -c heddle -n '__heddle_in sem create' -s n -l count -x -d 'Permits there are at first'
complete -c heddle -n '__heddle_in sem create' -l counting -d 'Permits belong to nobody: they do not come back with a process'
complete -c heddle -n '__heddle_in sem create' -l max -x -d 'Of a counting one: a release beyond is refused (no limit)'
complete -c heddle -n '__heddle_in sem create' -l mode -x -d 'Permission bits, octal; r shows, w acquires (0600)'
complete -c heddle -n '__heddle_in sem create' -l group -x -d 'Group it belongs to (yours)'
complete -c heddle -n '__heddle_in sem create' -l exclusive -d 'Fail with status 13 if the name is taken'
complete -c heddle -n '__heddle_at sem run' -a '(heddle sem ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_in sem run' -s n -l count -x -d 'Permits there are (as it was made)'
complete -c heddle -n '__heddle_in sem run' -l permits -x -d 'Permits to hold (1)'
complete -c heddle -n '__heddle_in sem run' -s t -l timeout -x -d 'How long to wait for them (for ever)'
complete -c heddle -n '__heddle_in sem run' -l lifetime -x -a 'kept attached' -d 'When it is made: until deleted, or until nobody has it open (kept)'
complete -c heddle -n '__heddle_at sem acquire' -a '(heddle sem ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_in sem acquire' -s n -l permits -x -d 'How many (1)'
complete -c heddle -n '__heddle_in sem acquire' -s t -l timeout -x -d 'How long to wait for them (for ever)'
complete -c heddle -n '__heddle_at sem release' -a '(heddle sem ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_in sem release' -s n -l permits -x -d 'How many (1)'
complete -c heddle -n '__heddle_in sem ls' -l names -d 'Names alone, one a line'
complete -c heddle -n '__heddle_in sem ls' -s l -l long -d 'Also its state; asks about each'
complete -c heddle -n '__heddle_at sem info' -a '(heddle sem ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_at sem delete' -a '(heddle sem ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_at sem who' -a '(heddle sem ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_at sem waiters' -a '(heddle sem ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_at sem force-release' -a '(heddle sem ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_in sem force-release' -l session -x -d 'Only from this one, as who and session ls number them (all)'
complete -c heddle -n '__heddle_at event' -a wait
complete -c heddle -n '__heddle_at event' -a set
complete -c heddle -n '__heddle_at event' -a clear
complete -c heddle -n '__heddle_at event' -a create
complete -c heddle -n '__heddle_at event' -a ls
complete -c heddle -n '__heddle_at event' -a info
complete -c heddle -n '__heddle_at event' -a delete
complete -c heddle -n '__heddle_at event' -a waiters
complete -c heddle -n '__heddle_at event wait' -a '(heddle event ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_in event wait' -s t -l timeout -x -d 'How long to wait (for ever); status 5 when it has passed'
complete -c heddle -n '__heddle_at event set' -a '(heddle event ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_at event clear' -a '(heddle event ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_in event create' -l mode -x -d 'Permission bits, octal; r shows, w acquires (0600)'
complete -c heddle -n '__heddle_in event create' -l group -x -d 'Group it belongs to (yours)'
complete -c heddle -n '__heddle_in event create' -l exclusive -d 'Fail with status 13 if the name is taken'
complete -c heddle -n '__heddle_in event ls' -l names -d 'Names alone, one a line'
complete -c heddle -n '__heddle_in event ls' -s l -l long -d 'Also its state; asks about each'
complete -c heddle -n '__heddle_at event info' -a '(heddle event ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_at event delete' -a '(heddle event ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_at event waiters' -a '(heddle event ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_at barrier' -a create
complete -c heddle -n '__heddle_at barrier' -a wait
complete -c heddle -n '__heddle_at barrier' -a abort
complete -c heddle -n '__heddle_at barrier' -a reset
complete -c heddle -n '__heddle_at barrier' -a ls
complete -c heddle -n '__heddle_at barrier' -a info
complete -c heddle -n '__heddle_at barrier' -a delete
complete -c heddle -n '__heddle_at barrier' -a waiters
complete -c heddle -n '__heddle_in barrier create' -s n -l parties -x -d 'How many have to arrive'
complete -c heddle -n '__heddle_in barrier create' -l mode -x -d 'Permission bits, octal; r shows, w acquires (0600)'
complete -c heddle -n '__heddle_in barrier create' -l group -x -d 'Group it belongs to (yours)'
complete -c heddle -n '__heddle_in barrier create' -l exclusive -d 'Fail with status 13 if the name is taken'
complete -c heddle -n '__heddle_at barrier wait' -a '(heddle barrier ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_in barrier wait' -s n -l parties -x -d 'How many have to arrive (as it was made)'
complete -c heddle -n '__heddle_in barrier wait' -s t -l timeout -x -d 'How long to wait (for ever); then it breaks for all'
complete -c heddle -n '__heddle_in barrier wait' -l lifetime -x -a 'kept attached' -d 'When it is made: until deleted, or until nobody has it open (kept)'
complete -c heddle -n '__heddle_at barrier abort' -a '(heddle barrier ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_at barrier reset' -a '(heddle barrier ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_in barrier ls' -l names -d 'Names alone, one a line'
complete -c heddle -n '__heddle_in barrier ls' -s l -l long -d 'Also its state; asks about each'
complete -c heddle -n '__heddle_at barrier info' -a '(heddle barrier ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_at barrier delete' -a '(heddle barrier ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_at barrier waiters' -a '(heddle barrier ls --names 2>/dev/null)'
complete -c heddle -n '__heddle_at session' -a ls
complete -c heddle -n '__heddle_at completion' -a bash
complete -c heddle -n '__heddle_at completion' -a zsh
complete -c heddle -n '__heddle_at completion' -a fish
