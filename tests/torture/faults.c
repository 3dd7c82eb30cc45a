/* Loaded before libc: lets the k-th call that concerns files under a folder fail, or end the process at it.
 *
 *   cc -shared -fPIC -O1 -o faults.so faults.c -ldl;  LD_PRELOAD=./faults.so python ...
 *
 * From Python through ctypes.CDLL(None): fault_arm(kinds, mode, k, error, folder), fault_disarm() -> calls seen,
 * fault_opened(i) -> path of the i-th file that was opened while armed. One thread is assumed.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OPEN = 1, WRITE = 2, SYNC = 4, RENAME = 8, CUT = 16, MAKE = 32 };
enum { COUNT, FAIL, KILL_BEFORE, KILL_AFTER, KILL_HALF };

static int armed, kinds, mode, failing;
static long seen, wanted;
static int error;
static char folder[4096], opened[256][1024];
static int n_opened;

void fault_arm(int which, int how, long k, int code, const char* under) {
  kinds = which, mode = how, wanted = k, error = code, seen = 0, n_opened = 0;
  snprintf(folder, sizeof folder, "%s", under);
  armed = 1;
}

long fault_disarm(void) {
  armed = 0;
  return seen;
}

const char* fault_opened(int i) { return i < n_opened ? opened[i] : NULL; }

static int under(const char* path) { return path && strncmp(path, folder, strlen(folder)) == 0; }

static int under_fd(int fd) {
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const ssize_t n = readlink(link, path, sizeof path - 1);
  if (n <= 0) return 0;
  path[n] = 0;
  return under(path);
}

/* 1 where this call is to fail; kills where this is the moment. */
static int struck(int kind, int concerned) {
  failing = 0;
  if (!armed || !(kinds & kind) || !concerned || ++seen != wanted) return 0;
  if (mode == KILL_BEFORE || (mode == KILL_HALF && kind != WRITE)) kill(getpid(), SIGKILL);
  failing = mode != COUNT && mode != FAIL;
  if (mode != FAIL) return 0;
  errno = error;
  return 1;
}

static void after(void) {
  if (failing && mode == KILL_AFTER) kill(getpid(), SIGKILL);
}

#define REAL(type, name, ...)                 \
  static type (*real)(__VA_ARGS__);           \
  if (!real) *(void**)&real = dlsym(RTLD_NEXT, name)

#define OPENS(name, symbol)                                                            \
  int name(const char* path, int flags, ...) {                                         \
    REAL(int, symbol, const char*, int, ...);                                          \
    va_list args;                                                                      \
    va_start(args, flags);                                                             \
    const int bits = flags & (O_CREAT | __O_TMPFILE) ? va_arg(args, int) : 0;          \
    va_end(args);                                                                      \
    if (armed && n_opened < 256) snprintf(opened[n_opened++], 1024, "%s", path);       \
    if (struck(OPEN, under(path))) return -1;                                          \
    const int fd = real(path, flags, bits);                                            \
    after();                                                                           \
    return fd;                                                                         \
  }
OPENS(open, "open")
OPENS(open64, "open64")

#define OPENS_AT(name, symbol)                                                         \
  int name(int at, const char* path, int flags, ...) {                                 \
    REAL(int, symbol, int, const char*, int, ...);                                     \
    va_list args;                                                                      \
    va_start(args, flags);                                                             \
    const int bits = flags & (O_CREAT | __O_TMPFILE) ? va_arg(args, int) : 0;          \
    va_end(args);                                                                      \
    if (armed && n_opened < 256) snprintf(opened[n_opened++], 1024, "%s", path);       \
    if (struck(OPEN, under(path))) return -1;                                          \
    const int fd = real(at, path, flags, bits);                                        \
    after();                                                                           \
    return fd;                                                                         \
  }
OPENS_AT(openat, "openat")
OPENS_AT(openat64, "openat64")

ssize_t write(int fd, const void* data, size_t n) {
  REAL(ssize_t, "write", int, const void*, size_t);
  if (struck(WRITE, armed && under_fd(fd))) return -1;
  if (failing && mode == KILL_HALF) {
    real(fd, data, n / 2);
    kill(getpid(), SIGKILL);
  }
  const ssize_t done = real(fd, data, n);
  after();
  return done;
}

#define PWRITES(name, symbol)                                                          \
  ssize_t name(int fd, const void* data, size_t n, off_t at) {                         \
    REAL(ssize_t, symbol, int, const void*, size_t, off_t);                            \
    if (struck(WRITE, armed && under_fd(fd))) return -1;                               \
    if (failing && mode == KILL_HALF) {                                                \
      real(fd, data, n / 2, at);                                                       \
      kill(getpid(), SIGKILL);                                                         \
    }                                                                                  \
    const ssize_t done = real(fd, data, n, at);                                        \
    after();                                                                           \
    return done;                                                                       \
  }
PWRITES(pwrite, "pwrite")
PWRITES(pwrite64, "pwrite64")

#define ON_FD(name, symbol, kind)                                                      \
  int name(int fd) {                                                                   \
    REAL(int, symbol, int);                                                            \
    if (struck(kind, armed && under_fd(fd))) return -1;                                \
    const int out = real(fd);                                                          \
    after();                                                                           \
    return out;                                                                        \
  }
ON_FD(fsync, "fsync", SYNC)
ON_FD(fdatasync, "fdatasync", SYNC)

#define CUTS(name, symbol)                                                             \
  int name(int fd, off_t size) {                                                       \
    REAL(int, symbol, int, off_t);                                                     \
    if (struck(CUT, armed && under_fd(fd))) return -1;                                 \
    const int out = real(fd, size);                                                    \
    after();                                                                           \
    return out;                                                                        \
  }
CUTS(ftruncate, "ftruncate")
CUTS(ftruncate64, "ftruncate64")

int rename(const char* from, const char* to) {
  REAL(int, "rename", const char*, const char*);
  if (struck(RENAME, under(from))) return -1;
  const int out = real(from, to);
  after();
  return out;
}

int renameat2(int a, const char* from, int b, const char* to, unsigned flags) {
  REAL(int, "renameat2", int, const char*, int, const char*, unsigned);
  if (struck(RENAME, under(from))) return -1;
  const int out = real(a, from, b, to, flags);
  after();
  return out;
}

int unlink(const char* path) {  /* a moment to be killed at, never made to fail: removal frees what is full */
  REAL(int, "unlink", const char*);
  if (mode != FAIL) struck(RENAME, under(path));
  const int out = real(path);
  after();
  return out;
}

int mkdir(const char* path, mode_t bits) {
  REAL(int, "mkdir", const char*, mode_t);
  if (struck(MAKE, under(path))) return -1;
  const int out = real(path, bits);
  after();
  return out;
}
