// What dicts are compared with: each a table of 12-byte keys and 64-byte values.
//
// A table is a class with
//   Table(const Options&, const std::vector<std::string>& keys)  in the parent, before the fork
//   open()                                     in the child that uses it; fills it
//   put(key), get(key, room)                   room: kValueBytes
//   flush()                                    what is in flight is answered
// Reads copy the value out, as Heddle's do.
#ifndef HEDDLE_TESTS_BENCH_DICT_PEERS_H_
#define HEDDLE_TESTS_BENCH_DICT_PEERS_H_

#include <cstring>
#include <string>
#include <unordered_map>
#include <vector>

#include "tests/bench/pair.h"

#if defined(HEDDLE_BENCH_BOOST)
#include <boost/interprocess/containers/map.hpp>
#include <boost/interprocess/containers/string.hpp>
#include <boost/interprocess/managed_shared_memory.hpp>
#include <boost/interprocess/sync/interprocess_sharable_mutex.hpp>
#include <boost/interprocess/sync/scoped_lock.hpp>
#include <boost/interprocess/sync/sharable_lock.hpp>
#endif
#if defined(HEDDLE_BENCH_LMDB)
#include <lmdb.h>
#include <sys/stat.h>
#endif
#if defined(HEDDLE_BENCH_REDIS)
#include <hiredis/hiredis.h>
#endif
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace heddle::bench {

inline constexpr size_t kKeyBytes = 12, kValueBytes = 64;
inline constexpr char kValue[kValueBytes] = "value";

class MapTable {
 public:
  MapTable(const Options&, const std::vector<std::string>& keys) : keys_(keys) {}
  void open() {
    for (const std::string& key : keys_) put(key);
  }
  void put(const std::string& key) { map_[key].assign(kValue, kValueBytes); }
  void get(const std::string& key, char* room) {
    std::memcpy(room, map_.find(key)->second.data(), kValueBytes);
    asm volatile("" : : "r"(room) : "memory");
  }
  void flush() {}

 private:
  const std::vector<std::string>& keys_;
  std::unordered_map<std::string, std::string> map_;
};

#if defined(HEDDLE_BENCH_BOOST)
// managed_shared_memory with a map under a sharable mutex.
class BoostTable {
  template <class T>
  using In =
      boost::interprocess::allocator<T,
                                     boost::interprocess::managed_shared_memory::segment_manager>;
  struct Key {
    char text[kKeyBytes];
    bool operator<(const Key& o) const { return std::memcmp(text, o.text, kKeyBytes) < 0; }
  };
  struct Value {
    char bytes[kValueBytes];
  };
  using Map = boost::interprocess::map<Key, Value, std::less<Key>, In<std::pair<const Key, Value>>>;

 public:
  BoostTable(const Options&, const std::vector<std::string>& keys)
      : keys_(keys),
        name_("heddle-bench-" + std::to_string(getpid())),
        memory_(boost::interprocess::create_only, name_.c_str(), keys.size() * 512 + (1 << 20)) {
    boost::interprocess::shared_memory_object::remove(name_.c_str());
    mutex_ = memory_.construct<boost::interprocess::interprocess_sharable_mutex>("mutex")();
    map_ = memory_.construct<Map>("map")(std::less<Key>(),
                                         memory_.get_allocator<std::pair<const Key, Value>>());
  }
  void open() {
    for (const std::string& key : keys_) put(key);
  }
  void put(const std::string& key) {
    boost::interprocess::scoped_lock lock(*mutex_);
    std::memcpy((*map_)[name(key)].bytes, kValue, kValueBytes);
  }
  void get(const std::string& key, char* room) {
    boost::interprocess::sharable_lock lock(*mutex_);
    std::memcpy(room, map_->find(name(key))->second.bytes, kValueBytes);
  }
  void flush() {}

 private:
  static Key name(const std::string& key) {
    Key k;
    std::memcpy(k.text, key.data(), kKeyBytes);
    return k;
  }
  const std::vector<std::string>& keys_;
  std::string name_;
  boost::interprocess::managed_shared_memory memory_;
  boost::interprocess::interprocess_sharable_mutex* mutex_;
  Map* map_;
};
#endif

#if defined(HEDDLE_BENCH_LMDB)
// A transaction an operation, on tmpfs, without waiting for any disk.
class LmdbTable {
 public:
  LmdbTable(const Options&, const std::vector<std::string>& keys) : keys_(keys) {
    char directory[] = "/dev/shm/heddle-bench-XXXXXX";
    if (mkdtemp(directory) == nullptr) skip("no tmpfs at /dev/shm");
    directory_ = directory;
  }
  ~LmdbTable() {
    for (const char* file : {"/data.mdb", "/lock.mdb"}) unlink((directory_ + file).c_str());
    rmdir(directory_.c_str());
  }
  void open() {
    check(mdb_env_create(&environment_));
    check(mdb_env_set_mapsize(environment_, size_t{1} << 30));
    check(mdb_env_open(environment_, directory_.c_str(), MDB_NOSYNC | MDB_NOMETASYNC | MDB_WRITEMAP,
                       0600));
    MDB_txn* t = begin(0);
    check(mdb_dbi_open(t, nullptr, 0, &table_));
    check(mdb_txn_commit(t));
    for (const std::string& key : keys_) put(key);
    reader_ = begin(MDB_RDONLY);
    mdb_txn_reset(reader_);
  }
  void put(const std::string& key) {
    MDB_txn* t = begin(0);
    MDB_val k = name(key), v{kValueBytes, const_cast<char*>(kValue)};
    check(mdb_put(t, table_, &k, &v, 0));
    check(mdb_txn_commit(t));
  }
  void get(const std::string& key, char* room) {
    check(mdb_txn_renew(reader_));
    MDB_val k = name(key), v;
    check(mdb_get(reader_, table_, &k, &v));
    std::memcpy(room, v.mv_data, kValueBytes);
    mdb_txn_reset(reader_);
  }
  void flush() {}

 private:
  static void check(int status) {
    if (status != 0) fail(std::string("lmdb: ") + mdb_strerror(status));
  }
  static MDB_val name(const std::string& key) { return {kKeyBytes, const_cast<char*>(key.data())}; }
  MDB_txn* begin(unsigned flags) {
    MDB_txn* t = nullptr;
    check(mdb_txn_begin(environment_, nullptr, flags, &t));
    return t;
  }
  const std::vector<std::string>& keys_;
  std::string directory_;
  MDB_env* environment_ = nullptr;
  MDB_dbi table_ = 0;
  MDB_txn* reader_ = nullptr;
};
#endif

#if defined(HEDDLE_BENCH_REDIS)
// GET and SET over a unix socket, `outstanding` of them in flight.
class RedisTable {
 public:
  RedisTable(const Options& options, const std::vector<std::string>& keys)
      : keys_(keys), socket_(options.socket), in_flight_max_(options.outstanding) {}
  void open() {
    context_ = redisConnectUnix(socket_.c_str());
    if (context_ == nullptr || context_->err != 0) fail("redis: no connection to " + socket_);
    for (const std::string& key : keys_) put(key);
    flush();
  }
  void put(const std::string& key) {
    redisAppendCommand(context_, "SET %b %b", key.data(), kKeyBytes, kValue, kValueBytes);
    sent(nullptr);
  }
  void get(const std::string& key, char* room) {
    redisAppendCommand(context_, "GET %b", key.data(), kKeyBytes);
    sent(room);
  }
  void flush() {
    for (; in_flight_ > 0; --in_flight_) {
      void* raw = nullptr;
      if (redisGetReply(context_, &raw) != REDIS_OK)
        fail(std::string("redis: ") + context_->errstr);
      auto* reply = static_cast<redisReply*>(raw);
      if (reply->type == REDIS_REPLY_STRING) {
        if (reply->len != kValueBytes) fail("redis: another value");
        std::memcpy(room_, reply->str, kValueBytes);
      } else if (reply->type != REDIS_REPLY_STATUS) {
        fail("redis: a key is not there");
      }
      freeReplyObject(reply);
    }
  }

 private:
  void sent(char* room) {
    room_ = room;
    if (++in_flight_ == in_flight_max_) flush();
  }
  const std::vector<std::string>& keys_;
  std::string socket_;
  unsigned in_flight_ = 0, in_flight_max_;
  char* room_ = nullptr;
  redisContext* context_ = nullptr;
};
#endif

// memcached's text protocol over a unix socket.
class MemcachedTable {
 public:
  MemcachedTable(const Options& options, const std::vector<std::string>& keys)
      : keys_(keys), socket_(options.socket) {}
  void open() {
    fd_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un to{};
    to.sun_family = AF_UNIX;
    socket_.copy(to.sun_path, sizeof to.sun_path - 1);
    if (connect(fd_, reinterpret_cast<sockaddr*>(&to), sizeof to) != 0) fail("memcached: connect");
    for (const std::string& key : keys_) put(key);
  }
  void put(const std::string& key) {
    const std::string name = word(key);
    char line[256];
    const int n = std::snprintf(line, sizeof line, "set %s 0 0 %zu\r\n", name.c_str(), kValueBytes);
    std::memcpy(line + n, kValue, kValueBytes);
    std::memcpy(line + n + kValueBytes, "\r\n", 2);
    ask(line, size_t(n) + kValueBytes + 2, "STORED\r\n");
  }
  void get(const std::string& key, char* room) {
    const std::string line = "get " + word(key) + "\r\n";
    const std::string_view reply = ask(line.data(), line.size(), "END\r\n");
    const size_t body = reply.find("\r\n");
    if (reply.size() < body + 2 + kValueBytes) fail("memcached: a key is not there");
    std::memcpy(room, reply.data() + body + 2, kValueBytes);
  }
  void flush() {}

 private:
  static std::string word(std::string key) {  // has no room for spaces
    for (char& c : key) c = c == ' ' ? '-' : c;
    return key;
  }
  std::string_view ask(const char* line, size_t bytes, std::string_view end) {
    if (write(fd_, line, bytes) != ssize_t(bytes)) fail("memcached: write");
    for (size_t n = 0; n < sizeof reply_;) {
      const ssize_t got = read(fd_, reply_ + n, sizeof reply_ - n);
      if (got <= 0) fail("memcached: read");
      n += size_t(got);
      const std::string_view reply(reply_, n);
      if (reply.ends_with(end)) return reply;
      if (reply.ends_with("ERROR\r\n")) break;
    }
    fail("memcached: " + std::string(line, bytes));
  }
  const std::vector<std::string>& keys_;
  std::string socket_;
  int fd_ = -1;
  char reply_[512];
};

}  // namespace heddle::bench

#endif  // HEDDLE_TESTS_BENCH_DICT_PEERS_H_
