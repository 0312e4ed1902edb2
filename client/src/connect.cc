#include "client/src/connect.h"

#include <dlfcn.h>
#include <sys/stat.h>

#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

namespace heddle::detail {

namespace {

// One place where a daemon may be: a directory with sockets, or a gRPC address.
struct Place {
  std::string dir;
  std::string address;
  const char* source;  // Why it is tried.
  // A place that somebody named is the only one; the usual ones are tried in turn.
  bool named = true;
};

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

bool exists(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0;
}

std::vector<Place> places_to_try(const ConnectOptions& options) {
  if (!options.address.empty()) return {{{}, options.address, "address"}};
  if (!options.runtime_dir.empty()) return {{options.runtime_dir, {}, "runtime_dir"}};
  if (auto address = environment("HEDDLE_ADDRESS"); !address.empty()) {
    return {{{}, address, "HEDDLE_ADDRESS"}};
  }
  if (auto dir = environment("HEDDLE_RUNTIME_DIR"); !dir.empty()) {
    return {{dir, {}, "HEDDLE_RUNTIME_DIR"}};
  }
  std::vector<Place> places;
  if (auto base = environment("XDG_RUNTIME_DIR"); !base.empty()) {
    const std::string dir = base + "/heddle";
    if (exists(dir + "/local.sock") || exists(dir + "/grpc.sock")) {
      places.push_back({dir, {}, "XDG_RUNTIME_DIR", false});
    }
  }
  places.push_back({"/run/heddle", {}, "default", false});
  return places;
}

Result<Plane> plane_of(const ConnectOptions& options) {
  if (options.plane != Plane::kAuto) return options.plane;
  const std::string forced = environment("HEDDLE_PLANE");
  if (forced.empty() || forced == "auto") return Plane::kAuto;
  if (forced == "shm") return Plane::kShm;
  if (forced == "grpc") return Plane::kGrpc;
  return Status(Reason::kInvalidArgument,
                "HEDDLE_PLANE is '" + forced + "'; it may be auto, shm or grpc");
}

// Whether gRPC may serve where the shared-memory plane could not.
bool worth_another_plane(const Status& status) {
  return status.is(Reason::kDaemonUnreachable) || status.is(Reason::kUnsupported);
}

void note(std::string& tried, const std::string& where, const char* source, const Status& status) {
  if (!tried.empty()) tried += "; ";
  tried += where + " (" + source + "): " + std::string(status.message());
}

using Attempt = Result<std::shared_ptr<Channel>>;

Attempt try_place(const Place& place, Plane plane, const ConnectOptions& options,
                  std::string& tried) {
  if (!place.address.empty()) {
    if (plane == Plane::kShm) {
      return Status(Reason::kInvalidArgument, "the address " + place.address +
                                                  " is reached over gRPC, but the shared-memory "
                                                  "plane was asked for");
    }
    auto channel = connect_grpc(place.address, options);
    if (!channel) note(tried, place.address, place.source, channel.status());
    return channel;
  }
  if (plane != Plane::kGrpc) {
    auto channel = connect_shm(place.dir, options);
    if (channel) return channel;
    note(tried, place.dir + "/local.sock", place.source, channel.status());
    if (plane == Plane::kShm || !worth_another_plane(channel.status())) return channel;
  }
  const std::string socket = place.dir + "/grpc.sock";
  Attempt channel = exists(socket)
                        ? connect_grpc("unix:" + socket, options)
                        : Attempt(Status(Reason::kDaemonUnreachable, "no such socket"));
  if (!channel) note(tried, socket, place.source, channel.status());
  return channel;
}

}  // namespace

Result<std::shared_ptr<Channel>> connect_channel(const ConnectOptions& options) {
  auto plane = plane_of(options);
  if (!plane) return plane.status();
  std::string tried;
  for (const Place& place : places_to_try(options)) {
    auto channel = try_place(place, *plane, options, tried);
    if (channel) return channel;
    if (!channel.status().is(Reason::kDaemonUnreachable)) return channel.status();
  }
  return Status(Reason::kDaemonUnreachable,
                "no daemon answers; tried " + tried +
                    ". Start one with `heddled --daemonize`, or name its directory in "
                    "HEDDLE_RUNTIME_DIR");
}

Result<std::shared_ptr<Channel>> connect_grpc(const std::string& target,
                                              const ConnectOptions& options) {
  // Never unloaded: gRPC does not survive dlclose.
  static void* const library = [] {
    Dl_info self{};
    if (::dladdr(reinterpret_cast<const void*>(&connect_channel), &self) != 0 &&
        self.dli_fname != nullptr) {
      std::string path = self.dli_fname;
      path = path.substr(0, path.rfind('/') + 1) + kGrpcLibrary;
      if (path.find('/') != std::string::npos) {
        if (void* beside = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) return beside;
      }
    }
    return ::dlopen(kGrpcLibrary, RTLD_NOW | RTLD_LOCAL);
  }();
  if (library == nullptr) {
    return Status(Reason::kUnsupported, std::string("the gRPC plane needs ") + kGrpcLibrary +
                                            " beside libheddle.so, and it cannot be loaded; "
                                            "install it or use the shared-memory plane");
  }
  static const auto factory =
      reinterpret_cast<GrpcFactory>(::dlsym(library, kGrpcFactorySymbol));
  if (factory == nullptr) {
    return Status(Reason::kVersionMismatch,
                  std::string(kGrpcLibrary) + " has no " + kGrpcFactorySymbol +
                      ": it belongs to another version of libheddle.so");
  }
  Result<std::shared_ptr<Channel>> channel = Reason::kInternal;
  factory(target.c_str(), options, &channel);
  return channel;
}

}  // namespace heddle::detail
