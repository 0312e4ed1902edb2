# bash completion for heddle; made by `heddle completion bash`
_heddle() {
  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
  local path='' names=0 i flags='' values='' verbs='' queues=0
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    case ${COMP_WORDS[i]} in
      --) return ;;
      --runtime-dir|--address|--plane|--max-len|--max-bytes|--max-msg-bytes|--max-leases|--max-deliveries|--overflow|--eos|--on-producer-death|--mode|--group|--state|-n|--max|--kind|-t|--timeout|--ack|--lease|--body|--after|-P|--parallel) ((i++)) ;;
      -*) ;;
      *)
        case "$path ${COMP_WORDS[i]}" in
          ' queue'|' queue create'|' queue ls'|' queue info'|' queue purge'|' queue kick'|' queue delete'|' queue shutdown'|' queue reopen'|' queue put'|' queue get'|' queue ack'|' queue nack'|' queue bury'|' queue extend'|' queue peek'|' queue browse'|' queue who'|' queue join'|' queue work'|' ping'|' status'|' ls'|' session'|' session ls'|' version'|' completion') path="$path ${COMP_WORDS[i]}" ;;
          *) ((names++)) ;;
        esac
        ;;
    esac
  done
  case $path in
    '')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane --version'
      verbs='queue ping status ls session version completion'
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
      flags='--max-len --max-bytes --max-msg-bytes --max-leases --max-deliveries --overflow --eos --on-producer-death --mode --group --exclusive -h --help --json -q --quiet --runtime-dir --address --plane'
      case $before in
        --overflow) values='block reject drop_oldest' ;;
        --eos) values='manual last_producer' ;;
        --on-producer-death) values='wait close error' ;;
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
      queues=1
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' queue purge')
      flags='--state -h --help --json -q --quiet --runtime-dir --address --plane'
      queues=1
      case $before in
        --state) values='ready leased returned buried all' ;;
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' queue kick')
      flags='-n --max -h --help --json -q --quiet --runtime-dir --address --plane'
      queues=1
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' queue delete')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane'
      queues=1
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' queue shutdown')
      flags='--immediate -h --help --json -q --quiet --runtime-dir --address --plane'
      queues=1
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' queue reopen')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane'
      queues=1
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' queue put')
      flags='--lines --kind -t --timeout --producer -h --help --json -q --quiet --runtime-dir --address --plane'
      queues=1
      case $before in
        --kind) values='data text json json_text' ;;
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' queue get')
      flags='-t --timeout -n --max -f --follow --raw --ack --lease -h --help --json -q --quiet --runtime-dir --address --plane'
      queues=1
      case $before in
        --ack) values='auto manual' ;;
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' queue ack')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane'
      queues=1
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' queue nack')
      flags='--uncounted -h --help --json -q --quiet --runtime-dir --address --plane'
      queues=1
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' queue bury')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane'
      queues=1
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' queue extend')
      flags='--lease -h --help --json -q --quiet --runtime-dir --address --plane'
      queues=1
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' queue peek')
      flags='--raw --body -h --help --json -q --quiet --runtime-dir --address --plane'
      queues=1
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' queue browse')
      flags='--state --after -n --max --body -h --help --json -q --quiet --runtime-dir --address --plane'
      queues=1
      case $before in
        --state) values='ready leased returned buried all' ;;
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' queue who')
      flags='-h --help --json -q --quiet --runtime-dir --address --plane'
      queues=1
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' queue join')
      flags='-t --timeout -h --help --json -q --quiet --runtime-dir --address --plane'
      queues=1
      case $before in
        --plane) values='auto shm grpc' ;;
      esac
      ;;
    ' queue work')
      flags='-P --parallel -n --max --max-deliveries -t --timeout -h --help --json -q --quiet --runtime-dir --address --plane'
      queues=1
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
  elif ((queues && names == 0)); then
    COMPREPLY=($(compgen -W "$(heddle queue ls --names 2>/dev/null)" -- "$word"))
  fi
}
complete -F _heddle heddle
