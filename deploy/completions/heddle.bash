# bash completion for heddle; made by `heddle completion bash`
_heddle() {
  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
  local path='' names=0 i flags='' values='' verbs='' noun=''
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    case ${COMP_WORDS[i]} in
      --) return ;;
      --runtime-dir|--address|--plane|--max-len|--max-bytes|--max-msg-bytes|--max-leases|--max-deliveries|--overflow|--eos|--on-producer-death|--lifetime|--mode|--group|--state|-n|--max|--kind|-t|--timeout|--fence|--ack|--lease|--body|--after|-P|--parallel|--capacity|--access|--count|--path|--prefix|--from|--to|--type|--if-version|--ttl|--least|--most|--early|--max-entries|--max-value-bytes|--history|--default-ttl|--eviction|--ttl-on-overwrite|--if-revision|--size|--at|--bytes|--seen|--on-death|--lock-delay|--session|--permits|--parties) ((i++)) ;;
      -*) ;;
      *)
        case "$path ${COMP_WORDS[i]}" in
          ' queue'|' queue create'|' queue ls'|' queue info'|' queue purge'|' queue kick'|' queue delete'|' queue shutdown'|' queue reopen'|' queue put'|' queue get'|' queue ack'|' queue nack'|' queue bury'|' queue extend'|' queue peek'|' queue browse'|' queue who'|' queue join'|' queue work'|' pipe'|' pipe create'|' pipe send'|' pipe recv'|' pipe ls'|' pipe info'|' pipe delete'|' dict'|' dict get'|' dict keys'|' dict items'|' dict watch'|' dict set'|' dict del'|' dict incr'|' dict append'|' dict touch'|' dict txn'|' dict edit'|' dict compute'|' dict dump'|' dict load'|' dict create'|' dict ls'|' dict info'|' dict clear'|' dict delete'|' list'|' list create'|' list ls'|' list info'|' list len'|' list delete'|' list get'|' list slice'|' list watch'|' list append'|' list set'|' list insert'|' list pop'|' list remove'|' list clear'|' block'|' block create'|' block ls'|' block info'|' block mend'|' block force'|' block delete'|' block read'|' block write'|' block watch'|' lock'|' lock run'|' lock elect'|' lock acquire'|' lock release'|' lock create'|' lock ls'|' lock info'|' lock delete'|' lock who'|' lock waiters'|' lock force-release'|' lock repair'|' lock graph'|' lock deadlocks'|' lock orders'|' sem'|' sem create'|' sem run'|' sem acquire'|' sem release'|' sem ls'|' sem info'|' sem delete'|' sem who'|' sem waiters'|' sem force-release'|' event'|' event wait'|' event set'|' event clear'|' event create'|' event ls'|' event info'|' event delete'|' event waiters'|' barrier'|' barrier create'|' barrier wait'|' barrier abort'|' barrier reset'|' barrier ls'|' barrier info'|' barrier delete'|' barrier waiters'|' ping'|' status'|' ls'|' session'|' session ls'|' version'|' completion') path="$path ${COMP_WORDS[i]}" ;;
          *) ((names++)) ;;
        esac
        ;;
    esac
  done
  case $path in
    '')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane --version'
      verbs='queue pipe dict list block lock sem event barrier ping status ls session version completion'
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' queue')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane'
      verbs='create ls info purge kick delete shutdown reopen put get ack nack bury extend peek browse who join work'
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' queue create')
      flags='--anonymous --max-len --max-bytes --max-msg-bytes --max-leases --max-deliveries --overflow --eos --on-producer-death --lifetime --mode --group --exclusive -h --help --json -q --quiet --runtime-dir --address --plane'
      case $before in
        --overflow) values='block reject drop_oldest' ;;
        --eos) values='manual last_producer' ;;
        --on-producer-death) values='wait close error' ;;
        --lifetime) values='kept attached' ;;
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' queue ls')
      flags='--names -h --help --json -q --quiet --runtime-dir --address --plane'
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' queue info')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane'
      noun=queue
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' queue purge')
      flags='--state -h --help --json -q --quiet --runtime-dir --address --plane'
      noun=queue
      case $before in
        --state) values='ready leased returned buried all' ;;
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' queue kick')
      flags='-n --max -h --help --json -q --quiet --runtime-dir --address --plane'
      noun=queue
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' queue delete')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane'
      noun=queue
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' queue shutdown')
      flags='--immediate -h --help --json -q --quiet --runtime-dir --address --plane'
      noun=queue
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' queue reopen')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane'
      noun=queue
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' queue put')
      flags='--lines --kind -t --timeout --fence --producer -h --help --json -q --quiet --runtime-dir --address --plane'
      noun=queue
      case $before in
        --kind) values='data text json json_text' ;;
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' queue get')
      flags='-t --timeout -n --max -f --follow --raw --ack --lease -h --help --json -q --quiet --runtime-dir --address --plane'
      noun=queue
      case $before in
        --ack) values='auto manual' ;;
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' queue ack')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane'
      noun=queue
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' queue nack')
      flags='--uncounted -h --help --json -q --quiet --runtime-dir --address --plane'
      noun=queue
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' queue bury')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane'
      noun=queue
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' queue extend')
      flags='--lease -h --help --json -q --quiet --runtime-dir --address --plane'
      noun=queue
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' queue peek')
      flags='--raw --body -h --help --json -q --quiet --runtime-dir --address --plane'
      noun=queue
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' queue browse')
      flags='--state --after -n --max --body -h --help --json -q --quiet --runtime-dir --address --plane'
      noun=queue
      case $before in
        --state) values='ready leased returned buried all' ;;
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' queue who')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane'
      noun=queue
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' queue join')
      flags='-t --timeout -h --help --json -q --quiet --runtime-dir --address --plane'
      noun=queue
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' queue work')
      flags='-P --parallel -n --max --max-deliveries -t --timeout -h --help --json -q --quiet --runtime-dir --address --plane'
      noun=queue
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' pipe')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane'
      verbs='create send recv ls info delete'
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' pipe create')
      flags='--mode --one-way --resumable --capacity --max-msg-bytes --access --group -h --help --json -q --quiet --runtime-dir --address --plane'
      case $before in
        --mode) values='message bytes' ;;
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' pipe send')
      flags='--lines --progress -t --timeout -h --help --json -q --quiet --runtime-dir --address --plane'
      noun=pipe
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' pipe recv')
      flags='-n --count --progress -t --timeout -h --help --json -q --quiet --runtime-dir --address --plane'
      noun=pipe
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' pipe ls')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane'
      verbs='TEXT'
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' pipe info')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane'
      noun=pipe
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' pipe delete')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane'
      noun=pipe
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' dict')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane'
      verbs='get keys items watch set del incr append touch txn edit compute dump load create ls info clear delete'
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' dict get')
      flags='--path --raw -h --help --json -q --quiet --runtime-dir --address --plane'
      noun=dict
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' dict keys')
      flags='--prefix --from --to --unsorted --raw -h --help --json -q --quiet --runtime-dir --address --plane'
      noun=dict
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' dict items')
      flags='--prefix --from --to --unsorted -h --help --json -q --quiet --runtime-dir --address --plane'
      noun=dict
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' dict watch')
      flags='--from --prefix --snapshot --previous -n --max -t --timeout -h --help --json -q --quiet --runtime-dir --address --plane'
      noun=dict
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' dict set')
      flags='--type --path --merge --patch --if-version --if-absent --if-present --ttl --keep-ttl --persist --session --fence -h --help --json -q --quiet --runtime-dir --address --plane'
      noun=dict
      case $before in
        --type) values='text int double bool null json data' ;;
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' dict del')
      flags='--path --if-version --if-absent --if-present --fence -h --help --json -q --quiet --runtime-dir --address --plane'
      noun=dict
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' dict incr')
      flags='--path --least --most --ttl -h --help --json -q --quiet --runtime-dir --address --plane'
      noun=dict
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' dict append')
      flags='--type --if-version --if-absent --if-present -h --help --json -q --quiet --runtime-dir --address --plane'
      noun=dict
      case $before in
        --type) values='text data' ;;
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' dict touch')
      flags='--ttl --persist -h --help --json -q --quiet --runtime-dir --address --plane'
      noun=dict
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' dict txn')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane'
      noun=dict
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' dict edit')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane'
      noun=dict
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' dict compute')
      flags='--type --ttl --early --wait --lease --raw -t --timeout -h --help --json -q --quiet --runtime-dir --address --plane'
      noun=dict
      case $before in
        --type) values='text int double bool json data' ;;
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' dict dump')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane'
      noun=dict
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' dict load')
      flags='--clear --partial -h --help --json -q --quiet --runtime-dir --address --plane'
      noun=dict
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' dict create')
      flags='--max-entries --max-bytes --max-value-bytes --history --no-previous --default-ttl --eviction --ttl-on-overwrite --lifetime --mode --group --exclusive -h --help --json -q --quiet --runtime-dir --address --plane'
      case $before in
        --eviction) values='reject evict_oldest_write evict_lru evict_ttl_first' ;;
        --ttl-on-overwrite) values='clear keep default' ;;
        --lifetime) values='kept attached' ;;
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' dict ls')
      flags='--names -h --help --json -q --quiet --runtime-dir --address --plane'
      verbs='TEXT'
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' dict info')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane'
      noun=dict
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' dict clear')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane'
      noun=dict
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' dict delete')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane'
      noun=dict
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' list')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane'
      verbs='create ls info len delete get slice watch append set insert pop remove clear'
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' list create')
      flags='--max-len --max-bytes --max-value-bytes --lifetime --mode --group --exclusive -h --help --json -q --quiet --runtime-dir --address --plane'
      case $before in
        --lifetime) values='kept attached' ;;
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' list ls')
      flags='--names -h --help --json -q --quiet --runtime-dir --address --plane'
      verbs='TEXT'
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' list info')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane'
      noun=list
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' list len')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane'
      noun=list
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' list delete')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane'
      noun=list
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' list get')
      flags='--raw -h --help --json -q --quiet --runtime-dir --address --plane'
      noun=list
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' list slice')
      flags='--if-revision --raw -h --help --json -q --quiet --runtime-dir --address --plane'
      noun=list
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' list watch')
      flags='--from -n --max -t --timeout -h --help --json -q --quiet --runtime-dir --address --plane'
      noun=list
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' list append')
      flags='--type --if-revision -h --help --json -q --quiet --runtime-dir --address --plane'
      noun=list
      case $before in
        --type) values='text int double bool json data null' ;;
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' list set')
      flags='--type --if-revision -h --help --json -q --quiet --runtime-dir --address --plane'
      noun=list
      case $before in
        --type) values='text int double bool json data null' ;;
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' list insert')
      flags='--type --if-revision -h --help --json -q --quiet --runtime-dir --address --plane'
      noun=list
      case $before in
        --type) values='text int double bool json data null' ;;
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' list pop')
      flags='--raw --if-revision -h --help --json -q --quiet --runtime-dir --address --plane'
      noun=list
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' list remove')
      flags='--if-revision -h --help --json -q --quiet --runtime-dir --address --plane'
      noun=list
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' list clear')
      flags='--if-revision -h --help --json -q --quiet --runtime-dir --address --plane'
      noun=list
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' block')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane'
      verbs='create ls info mend force delete read write watch'
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' block create')
      flags='--size --lifetime --mode --group --exclusive -h --help --json -q --quiet --runtime-dir --address --plane'
      case $before in
        --lifetime) values='kept attached' ;;
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' block ls')
      flags='--names -h --help --json -q --quiet --runtime-dir --address --plane'
      verbs='TEXT'
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' block info')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane'
      noun=block
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' block mend')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane'
      noun=block
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' block force')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane'
      noun=block
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' block delete')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane'
      noun=block
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' block read')
      flags='--at --bytes -t --timeout -h --help --json -q --quiet --runtime-dir --address --plane'
      noun=block
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' block write')
      flags='--at --if-version -t --timeout -h --help --json -q --quiet --runtime-dir --address --plane'
      noun=block
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' block watch')
      flags='--seen -n --max -t --timeout -h --help --json -q --quiet --runtime-dir --address --plane'
      noun=block
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' lock')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane'
      verbs='run elect acquire release create ls info delete who waiters force-release repair graph deadlocks orders'
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' lock run')
      flags='-t --timeout --lifetime --shared -h --help --json -q --quiet --runtime-dir --address --plane'
      noun=lock
      case $before in
        --lifetime) values='kept attached' ;;
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' lock elect')
      flags='-t --timeout --lifetime -h --help --json -q --quiet --runtime-dir --address --plane'
      noun=lock
      case $before in
        --lifetime) values='kept attached' ;;
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' lock acquire')
      flags='-t --timeout --lifetime --shared --hold -h --help --json -q --quiet --runtime-dir --address --plane'
      noun=lock
      case $before in
        --lifetime) values='kept attached' ;;
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' lock release')
      flags='--any -h --help --json -q --quiet --runtime-dir --address --plane'
      noun=lock
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' lock create')
      flags='--kind --on-death --fair --lock-delay --mode --group --exclusive -h --help --json -q --quiet --runtime-dir --address --plane'
      case $before in
        --kind) values='mutex rlock rw' ;;
        --on-death) values='flag silent poison' ;;
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' lock ls')
      flags='--names -l --long -h --help --json -q --quiet --runtime-dir --address --plane'
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' lock info')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane'
      noun=lock
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' lock delete')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane'
      noun=lock
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' lock who')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane'
      noun=lock
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' lock waiters')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane'
      noun=lock
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' lock force-release')
      flags='--session -h --help --json -q --quiet --runtime-dir --address --plane'
      noun=lock
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' lock repair')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane'
      noun=lock
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' lock graph')
      flags='--dot -h --help --json -q --quiet --runtime-dir --address --plane'
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' lock deadlocks')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane'
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' lock orders')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane'
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' sem')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane'
      verbs='create run acquire release ls info delete who waiters force-release'
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' sem create')
      flags='-n --count --counting --max --mode --group --exclusive -h --help --json -q --quiet --runtime-dir --address --plane'
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' sem run')
      flags='-n --count --permits -t --timeout --lifetime -h --help --json -q --quiet --runtime-dir --address --plane'
      noun=sem
      case $before in
        --lifetime) values='kept attached' ;;
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' sem acquire')
      flags='-n --permits -t --timeout -h --help --json -q --quiet --runtime-dir --address --plane'
      noun=sem
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' sem release')
      flags='-n --permits -h --help --json -q --quiet --runtime-dir --address --plane'
      noun=sem
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' sem ls')
      flags='--names -l --long -h --help --json -q --quiet --runtime-dir --address --plane'
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' sem info')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane'
      noun=sem
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' sem delete')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane'
      noun=sem
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' sem who')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane'
      noun=sem
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' sem waiters')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane'
      noun=sem
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' sem force-release')
      flags='--session -h --help --json -q --quiet --runtime-dir --address --plane'
      noun=sem
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' event')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane'
      verbs='wait set clear create ls info delete waiters'
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' event wait')
      flags='-t --timeout -h --help --json -q --quiet --runtime-dir --address --plane'
      noun=event
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' event set')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane'
      noun=event
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' event clear')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane'
      noun=event
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' event create')
      flags='--mode --group --exclusive -h --help --json -q --quiet --runtime-dir --address --plane'
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' event ls')
      flags='--names -l --long -h --help --json -q --quiet --runtime-dir --address --plane'
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' event info')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane'
      noun=event
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' event delete')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane'
      noun=event
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' event waiters')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane'
      noun=event
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' barrier')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane'
      verbs='create wait abort reset ls info delete waiters'
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' barrier create')
      flags='-n --parties --mode --group --exclusive -h --help --json -q --quiet --runtime-dir --address --plane'
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' barrier wait')
      flags='-n --parties -t --timeout --lifetime -h --help --json -q --quiet --runtime-dir --address --plane'
      noun=barrier
      case $before in
        --lifetime) values='kept attached' ;;
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' barrier abort')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane'
      noun=barrier
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' barrier reset')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane'
      noun=barrier
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' barrier ls')
      flags='--names -l --long -h --help --json -q --quiet --runtime-dir --address --plane'
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' barrier info')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane'
      noun=barrier
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' barrier delete')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane'
      noun=barrier
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' barrier waiters')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane'
      noun=barrier
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' ping')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane'
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' status')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane'
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' ls')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane'
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' session')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane'
      verbs='ls'
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' session ls')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane'
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' version')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane'
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' completion')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane'
      verbs='bash zsh fish'
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
  esac
  if [[ -n $values ]]; then
    COMPREPLY=($(compgen -W "$values" -- "$word"))
  elif [[ $before == --runtime-dir ]]; then
    COMPREPLY=($(compgen -d -- "$word"))
  elif [[ $word == -* ]]; then
    COMPREPLY=($(compgen -W "$flags" -- "$word"))
  elif ((names == 0)) && [[ -n $verbs ]]; then
    COMPREPLY=($(compgen -W "$verbs" -- "$word"))
  elif [[ -n $noun ]] && ((names == 0)); then
    COMPREPLY=($(compgen -W "$(heddle $noun ls --names 2>/dev/null)" -- "$word"))
  fi
}
complete -F _heddle heddle
